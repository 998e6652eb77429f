package io.holdfast.kho.build;

import static io.holdfast.kho.memory.MemoryRange.PAGE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtTree;
import io.holdfast.kho.Defect;
import io.holdfast.kho.DefectException;
import io.holdfast.kho.Format;
import io.holdfast.kho.Handover;
import io.holdfast.kho.KexecMetadata;
import io.holdfast.kho.LuoState;
import io.holdfast.kho.Memfd;
import io.holdfast.kho.Owner;
import io.holdfast.kho.Ownership;
import io.holdfast.kho.StartingPoint;
import io.holdfast.kho.StateTree;
import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.MemoryException;
import io.holdfast.kho.memory.PhysicalMemory;
import io.holdfast.promise.Promise;
import java.io.ByteArrayOutputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Handovers that were written are read, and broken ones are found to be. */
final class HandoverTest {
  /** Another one each night: tools/nightly. */
  private static final long FIRST_SEED = Long.getLong("holdfast.seed", 0);

  private static final int SEEDS = 12;

  @Test
  @Promise("handovers")
  void whatWasWrittenIsRead() {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      Example example = new Example(seed);
      StartingPoint start = example.outgoing.finish();
      assertThat(Handover.verify(example.arena, start).defects()).isEmpty();
      Handover read = Handover.read(example.arena, start);
      assertThat(read.map()).isEqualTo(example.outgoing.map());
      assertThat(read.metadata()).contains(new KexecMetadata("7.3.4-holdfast", 2));
      assertThat(read.state().format()).isEqualTo(Format.KHO_V4);
      LuoState luo = read.luo().orElseThrow();
      assertThat(luo.updates()).isEqualTo(3);
      assertThat(luo.sessions())
          .extracting(LuoState.Session::name)
          .containsExactly("empty", "web", "db", "cache");
      assertThat(luo.objects())
          .containsExactly(new LuoState.FileBoundObject("iommu-v1", 0x1234, 2));
      Map<String, Map<Long, byte[]>> contents = new LinkedHashMap<>();
      for (LuoState.Session session : luo.sessions()) {
        for (LuoState.PreservedFile file : session.files()) {
          if (file.state() instanceof Memfd memfd) {
            assertThat(memfd.position()).isEqualTo(42);
            assertThat(memfd.seals()).isEqualTo(1);
            contents
                .computeIfAbsent(session.name(), _ -> new LinkedHashMap<>())
                .put(file.token(), content(read, memfd));
          } else {
            assertThat(file.handler()).isEqualTo("eventpoll-v1");
          }
        }
      }
      assertThat(contents.keySet()).isEqualTo(example.contents.keySet());
      contents.forEach(
          (session, files) -> {
            Map<Long, byte[]> written = example.contents.getOrDefault(session, Map.of());
            assertThat(files.keySet()).isEqualTo(written.keySet());
            files.forEach(
                (token, bytes) ->
                    assertThat(Arrays.equals(bytes, written.get(token)))
                        .as(session + " " + token)
                        .isTrue());
          });
      assertThat(luo.sessions().get(1).files()).hasSize(133);
      assertThat(read.regions()).extracting(each -> each.name()).containsExactly("log");
      StateTree.SubTree own = read.state().subTrees().getLast();
      assertThat(own.name()).isEqualTo("example");
      assertThat(own.size()).isGreaterThan(PAGE);
      FdtTree tree = FdtBlob.of(example.arena.at(own.address(), own.size())).tree();
      assertThat(tree.root().children()).hasSize(300);
    }
  }

  private static byte[] content(Handover handover, Memfd memfd) {
    ByteArrayOutputStream content = new ByteArrayOutputStream();
    memfd.content(
        handover.memory(),
        handover.map(),
        (_, bytes) -> content.writeBytes(bytes.toArray(ValueLayout.JAVA_BYTE)));
    return content.toByteArray();
  }

  @Test
  @Promise("handovers")
  void allPreservedMemoryHasItsOwner() {
    Example example = new Example(1);
    Handover read = Handover.read(example.arena, example.outgoing.finish());
    Ownership ownership = read.ownership();
    assertThat(ownership.unknown()).isZero();
    assertThat(ownership.shares().stream().mapToLong(Ownership.Share::pages).sum())
        .isEqualTo(read.map().pages());
    long size = 700L * PAGE;
    assertThat(ownership.shares())
        .filteredOn(each -> each.owner().equals(new Owner.Content("cache", 1000)))
        .singleElement()
        .extracting(Ownership.Share::size)
        .isEqualTo(size);
  }

  @Test
  @Promise("handovers")
  void cancellingReopensAndGivesEverythingBack() {
    Example example = new Example(2);
    int taken = example.arena.taken();
    long pages = example.outgoing.map().pages();
    for (int i = 0; i < 3; i++) {
      StartingPoint start = example.outgoing.finish();
      assertThat(example.outgoing.finish()).isEqualTo(start);
      assertThat(example.outgoing.map().isFinal()).isTrue();
      String message = "the handover is finalized";
      assertThatThrownBy(() -> example.outgoing.add("more", new byte[1]))
          .hasMessageContaining(message);
      assertThatThrownBy(() -> example.outgoing.remove("example")).hasMessageContaining(message);
      assertThat(Handover.verify(example.arena, start).defects()).isEmpty();
      example.outgoing.cancel();
      assertThat(example.arena.taken()).isEqualTo(taken);
      assertThat(example.outgoing.map().pages()).isEqualTo(pages);
      // Sub-trees come and go while it is active.
      if (i == 0) {
        example.outgoing.remove("example");
      } else {
        example.outgoing.add("more" + i, new byte[] {1, 2, 3});
      }
    }
    Handover read = Handover.read(example.arena, example.outgoing.finish());
    assertThat(read.state().subTrees())
        .extracting(StateTree.SubTree::name)
        .containsExactly("kexec-metadata", "LUO", "memblock", "more1", "more2");
  }

  @Test
  @Promise("handovers")
  void aHandoverThatDoesNotFitIsActiveAsBefore() {
    Example example = new Example(3);
    assertThatThrownBy(
            () -> {
              while (true) {
                var _ = example.arena.take(0);
              }
            })
        .isInstanceOf(MemoryException.class);
    int taken = example.arena.taken();
    long pages = example.outgoing.map().pages();
    assertThatThrownBy(example.outgoing::finish).isInstanceOf(MemoryException.class);
    assertThat(example.arena.taken()).isEqualTo(taken);
    assertThat(example.outgoing.map().pages()).isEqualTo(pages);
    example.outgoing.remove("example");
  }

  /** A finished example that is read from copies. */
  private static final class Template {
    static final Example EXAMPLE = new Example(4);
    static final StartingPoint START = EXAMPLE.outgoing.finish();

    static PhysicalMemory copy() {
      byte[] bytes = EXAMPLE.arena.at(Example.BASE, Example.ARENA).toArray(ValueLayout.JAVA_BYTE);
      return new MemoryArena(Example.BASE, MemorySegment.ofArray(bytes), List.of());
    }
  }

  @ParameterizedTest
  @EnumSource
  @Promise("handovers")
  void everyDamageIsFound(Damage damage) {
    PhysicalMemory memory = Template.copy();
    assertThat(damage.inflict(Handover.read(memory, Template.START))).isTrue();
    List<Defect> defects = Handover.verify(memory, Template.START).defects();
    assertThat(defects).extracting(Defect::rule).contains(damage.rule());
    assertThat(defects)
        .allSatisfy(
            each -> {
              assertThat(each.where()).isNotBlank();
              assertThat(each.found()).isNotBlank();
              assertThat(each.expected()).isNotBlank();
            });
    if (damage == Damage.MAP_OUTSIDE || damage == Damage.MAP_UNALIGNED) {
      // A map that can't be read is one defect, not one of all that should be in it.
      assertThat(defects).hasSize(1);
    }
    assertThatThrownBy(() -> Handover.read(memory, Template.START))
        .isInstanceOf(DefectException.class)
        .hasMessage(defects.getFirst().toString());
  }

  @Test
  @Promise("handovers")
  void changedWordsAreDefectsOrHarmlessAndNothingElse() {
    // Where lists, nodes and descriptions are: what the handover itself was written to.
    List<Long> pages = writtenPages();
    int found = 0;
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 250; seed++) {
      Random random = new Random(seed);
      PhysicalMemory memory = Template.copy();
      for (int i = 0; i < 1 + seed % 4; i++) {
        long at = pages.get(random.nextInt(pages.size())) + random.nextInt(PAGE / 8) * 8L;
        long value =
            switch (random.nextInt(4)) {
              case 0 -> random.nextLong() >>> random.nextInt(64);
              case 1 -> Example.BASE + random.nextInt(6000) * (long) PAGE;
              case 2 -> pages.get(random.nextInt(pages.size()));
              default ->
                  memory.at(at, 8).get(ValueLayout.JAVA_LONG_UNALIGNED, 0)
                      ^ (1L << random.nextInt(64));
            };
        memory.at(at, 8).set(ValueLayout.JAVA_LONG_UNALIGNED, 0, value);
      }
      boolean clean = Handover.verify(memory, Template.START).clean();
      found += clean ? 0 : 1;
      try {
        assertThat(Handover.read(memory, Template.START)).isNotNull();
        assertThat(clean).as("seed " + seed).isTrue();
      } catch (DefectException e) {
        assertThat(clean).as("seed " + seed).isFalse();
      }
    }
    assertThat(found).isGreaterThan(50);
  }

  private static List<Long> writtenPages() {
    // The state tree is written last but for the map's nodes, and what it points to before it.
    List<Long> pages = new ArrayList<>();
    for (int i = -70; i < 12; i++) {
      long page = Template.START.stateTree() + i * (long) PAGE;
      if (Template.EXAMPLE.arena.contains(page, PAGE)) {
        pages.add(page);
      }
    }
    return pages;
  }
}
