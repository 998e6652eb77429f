package io.holdfast.vm;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.vm.spec.VmSpec;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** How many successors fit at once: whichever of them are there together. */
class SuccessorMemoryTest {
  private static final long GIB = 1L << 30;

  private static VmSpec spec(long memory) {
    return new VmSpec(
        "vm", memory, 1, "pc-q35-7.2", "max", "tcg", "", List.of(), List.of(), Optional.empty());
  }

  @Test
  void theLargestOnesCount() {
    List<VmSpec> promises = List.of(spec(GIB), spec(512 * GIB), spec(GIB));
    long large = Memory.forSuccessor(spec(512 * GIB));
    long small = Memory.forSuccessor(spec(GIB));
    assertThat(large).isGreaterThan(GIB);
    assertThat(Memory.fitting(promises, large + 2 * small)).isEqualTo(3);
    assertThat(Memory.fitting(promises, large + 2 * small - 1)).isEqualTo(2);
    assertThat(Memory.fitting(promises, large)).isEqualTo(1);
    assertThat(Memory.fitting(promises, large - 1)).as("the small ones alone would fit").isZero();
    assertThat(Memory.fitting(List.of(), 0)).isZero();
  }

  @Test
  void theRefusalSaysWhatWouldFit() {
    List<VmSpec> promises = List.of(spec(GIB), spec(GIB), spec(GIB));
    long two = 2 * Memory.forSuccessor(spec(GIB));
    Obstacle obstacle = Memory.obstacle(promises, 3, Memory.fitting(promises, two), two);
    assertThat(obstacle.what()).isEqualTo("host memory");
    assertThat(obstacle.why())
        .isEqualTo(
            "3 successors at once need about 774 MiB beside the guests' RAM, and 516 MiB are available");
    assertThat(obstacle.advice()).isEqualTo("Update fewer at once: --parallel 2 fits.");
    assertThat(Memory.obstacle(promises, 3, 0, 0).advice())
        .isEqualTo("Free memory, or move a guest away first.");
  }
}
