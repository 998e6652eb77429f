package io.holdfast.vm.device.disk;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Which locks of others keep a successor from its images. */
@Promise("plan-refuses-first")
class ImageLocksTest {
  @Test
  void readsALockAsTheKernelPrintsIt() {
    assertThat(ImageLocks.parse("1: OFDLCK ADVISORY  READ -1 fd:01:3949 100 101"))
        .containsExactly(new ImageLocks.Lock("fd:01:3949", false, 100, 101));
    assertThat(ImageLocks.parse("17: POSIX  ADVISORY  WRITE 4711 00:2a:7 0 EOF"))
        .containsExactly(new ImageLocks.Lock("00:2a:7", true, 0, Long.MAX_VALUE));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "2: FLOCK  ADVISORY  WRITE 4711 fd:01:3949 0 EOF",
        "2: -> POSIX  ADVISORY  WRITE 4711 fd:01:3949 0 EOF",
        "3: LEASE  ACTIVE    READ 4711 fd:01:3949 0 EOF",
        ""
      })
  void leavesOutWhatIsNoLockOfFcntl(String line) {
    assertThat(ImageLocks.parse(line)).isEmpty();
  }

  /** A QEMU that reads and writes, and lets nobody else write. */
  @ParameterizedTest
  @CsvSource({
    "false, 0, 9223372036854775807, true",
    "false, 200, 200, true",
    "true, 200, 200, true",
    "false, 101, 101, true",
    "true, 100, 100, true",
    "false, 100, 100, false",
    "false, 201, 201, true",
    "false, 202, 299, false",
    "true, 0, 99, false",
  })
  void tellsWhatKeepsASuccessorFromItsImage(
      boolean write, long start, long end, boolean conflicts) {
    assertThat(
            new ImageLocks.Lock("fd:01:3949", write, start, end)
                .conflicts(Set.of(100L, 101L, 201L)))
        .isEqualTo(conflicts);
  }
}
