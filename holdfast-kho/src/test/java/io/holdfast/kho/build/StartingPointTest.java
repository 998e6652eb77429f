package io.holdfast.kho.build;

import static io.holdfast.kho.memory.MemoryRange.PAGE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.kho.Handover;
import io.holdfast.kho.KexecMetadata;
import io.holdfast.kho.PreservedMap;
import io.holdfast.kho.StartingPoint;
import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.promise.Promise;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The starting point is found by what a kernel has in memory, laid out by hand. */
final class StartingPointTest {
  private static final long BASE = 0x8000_0000L;
  private static final List<MemoryRange> SCRATCH =
      List.of(
          new MemoryRange(BASE + (2 << 20), 1 << 20), new MemoryRange(BASE + (5 << 20), 2 << 20));

  private final MemoryArena arena =
      new MemoryArena(BASE, MemorySegment.ofArray(new byte[8 << 20]), SCRATCH);

  private long tree(int kexecs) {
    Outgoing outgoing = new Outgoing(arena, new PreservedMap(SCRATCH));
    if (kexecs > 0) {
      outgoing.add(new KexecMetadata("7.3.4", kexecs));
    }
    return outgoing.finish().stateTree();
  }

  private void words(long address, long... words) {
    for (int i = 0; i < words.length; i++) {
      arena.at(address + i * 8L, 8).set(ValueLayout.JAVA_LONG_UNALIGNED, 0, words[i]);
    }
  }

  /** What setup_kho() writes, for a table at this address. */
  private void setupData(long tree, long table) {
    words(arena.take(0) + 0x110, 0, (32L << 32) | 10, tree, PAGE, table, 48);
  }

  private void table(long address) {
    words(
        address,
        SCRATCH.get(0).address(),
        SCRATCH.get(0).size(),
        SCRATCH.get(0).end(),
        0,
        SCRATCH.get(1).address(),
        SCRATCH.get(1).size());
  }

  private StartingPoint found() {
    return StartingPoint.find(arena).orElseThrow();
  }

  @Test
  @Promise("handovers")
  void throughWhatIsToBeToldAndTheImagesList() {
    long tree = tree(1);
    long destination = SCRATCH.get(1).address() + 7 * PAGE;
    setupData(tree, destination);
    long table = arena.take(0);
    table(table);
    words(arena.take(0) + 8, 0x1234_0000 | 1, BASE | 8, destination | 1, table | 8, 4);
    assertThat(found().stateTree()).isEqualTo(tree);
    assertThat(found().scratch()).contains(SCRATCH);
    assertThat(Handover.verify(arena, found()).defects()).isEmpty();
  }

  @Test
  @Promise("handovers")
  void alsoWhereTheListGoesOnOnAnotherPage() {
    long tree = tree(1);
    long destination = SCRATCH.get(0).address();
    setupData(tree, destination);
    long table = arena.take(0);
    table(table);
    long next = arena.take(0);
    words(next, table | 8, 4);
    words(arena.take(0) + PAGE - 16, destination | 1, next | 2);
    assertThat(found().scratch()).contains(SCRATCH);
  }

  @Test
  @Promise("handovers")
  void alsoInAKernelThatHasJustBooted() {
    long tree = tree(1);
    long destination = SCRATCH.get(0).address();
    setupData(tree, destination);
    table(destination);
    assertThat(found().scratch()).contains(SCRATCH);
  }

  @Test
  @Promise("handovers")
  void aTableThatCanBeNoneIsNotTaken() {
    long tree = tree(1);
    long destination = SCRATCH.get(0).address();
    setupData(tree, destination);
    long table = arena.take(0);
    words(table, BASE, 5000, 0, 0, 0, 0);
    words(arena.take(0), destination | 1, table | 8, 4);
    assertThat(found().stateTree()).isEqualTo(tree);
    assertThat(found().scratch()).isEmpty();
    assertThat(found().how()).contains("table of scratch areas was not found");
  }

  @Test
  @Promise("handovers")
  void byContentWhereNoKernelIsLoaded() {
    assertThat(StartingPoint.find(arena)).isEmpty();
    long tree = tree(1);
    assertThat(found().stateTree()).isEqualTo(tree);
    assertThat(found().scratch()).isEmpty();
    assertThat(found().how()).contains("scratch areas are not known");
  }

  @Test
  @Promise("handovers")
  void ofSeveralTheOneOfTheLatestKernel() {
    long first = tree(2);
    long second = tree(3);
    assertThat(found().stateTree()).isEqualTo(second);
    setupData(first, SCRATCH.get(0).address());
    setupData(second, SCRATCH.get(0).address() + PAGE);
    // Copies of one structure are one.
    setupData(second, SCRATCH.get(0).address() + PAGE);
    assertThat(found().stateTree()).isEqualTo(second);
    assertThat(found().how()).contains("through setup_data");
  }

  @Test
  @Promise("handovers")
  void severalOfWhichNothingSaysTheLatestAreRefused() {
    long first = tree(2);
    long second = tree(2);
    assertThatThrownBy(() -> StartingPoint.find(arena))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("0x" + Long.toHexString(first))
        .hasMessageContaining("0x" + Long.toHexString(second));
  }
}
