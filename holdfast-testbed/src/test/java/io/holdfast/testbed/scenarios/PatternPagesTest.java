package io.holdfast.testbed.scenarios;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** A guest's memory as guest/README.md describes it, made here and then spoiled. */
class PatternPagesTest {
  private static final long PAGE = 4096;
  private static final int PAGES = 3;
  private static final long BOOT = 0x1234;

  /** Page 0 has been rewritten twice since the first generation, the others once. */
  private static final long REWRITES = PAGES + 1;

  private final Arena arena = Arena.ofConfined();
  private final MemorySegment memory = arena.allocate(8 * PAGE, PAGE);
  private final Heartbeat heart = new Heartbeat(PAGE, 1, BOOT, 2, 3, 4, REWRITES, PAGES, 0, 0);

  private void set(long at, long value) {
    memory.set(ValueLayout.JAVA_LONG, at, value);
  }

  /** Writes a page of the pattern. */
  private void page(long place, long index, long generation) {
    long at = place * PAGE;
    set(at, Guest.magic(4));
    set(at + 8, BOOT);
    set(at + 16, index);
    set(at + 24, generation);
    long seed = Guest.mix(Guest.mix(Guest.mix(BOOT) ^ index) ^ generation);
    for (int word = 4; word < 511; word++) {
      set(at + word * 8L, Guest.word(seed, word));
    }
    set(at + 511 * 8, generation);
  }

  @BeforeEach
  void write() {
    set(PAGE + Heartbeat.REWRITES, REWRITES);
    page(2, 0, 3);
    page(7, 1, 2);
    page(4, 2, 2);
  }

  @AfterEach
  void free() {
    arena.close();
  }

  @Test
  void findsEveryPageRight() {
    PatternPages seen = PatternPages.of(memory, heart);
    assertThat(seen.faults()).isEmpty();
    assertThat(seen.right()).isEqualTo(PAGES);
    assertThat(seen.rewrites()).isEqualTo(REWRITES);
  }

  @Test
  void findsAFlippedBit() {
    long at = 4 * PAGE + 300 * 8;
    set(at, memory.get(ValueLayout.JAVA_LONG, at) ^ 4);
    assertThat(PatternPages.of(memory, heart).faults())
        .containsExactly("page 2 has a wrong word 300");
  }

  @Test
  void findsMemoryThatWentBack() {
    page(2, 0, 2);
    assertThat(PatternPages.of(memory, heart).faults())
        .containsExactly("page 0 is of generation 2 to 2 where it should be 3");
  }

  @Test
  void findsAMissingPageAndADoubleOne() {
    page(7, 2, 2);
    assertThat(PatternPages.of(memory, heart).faults())
        .containsExactly("page 2 is there twice", "page 1 is missing");
  }

  @Test
  void findsATornPageThatIsNeverCompleted() {
    set(7 * PAGE + 24, 3);
    assertThat(PatternPages.of(memory, heart).faults())
        .containsExactly("page 1 was rewritten whenever it was read");
  }
}
