package io.holdfast.kexec.manifest;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import org.junit.jupiter.api.Test;

/** One time axis over the kexec. */
@Promise("kernel-update")
final class ClockTest {
  private static final long SECOND = 1_000_000_000L;

  @Test
  void theCounterTellsHowLongItTook() {
    Clock begun = new Clock(0, 0, 1_000, 0);
    // 2 GHz: in 3 s it counted 6e9.
    Clock departed = new Clock(0, 3 * SECOND, 6_000_001_000L, 0).since(begun);
    assertThat(departed.hertz()).isEqualTo(2_000_000_000L);
    // The next kernel's clock says 1 s; the counter says that 5 s have passed. The time of day is a
    // second off.
    Clock arrived = new Clock(4 * SECOND, SECOND, 16_000_001_000L, 0);
    assertThat(arrived.after(departed)).isEqualTo(5 * SECOND);
    // What was at 3 s there is 4 s before the start of the clock here.
    assertThat(departed.monotonic() + arrived.shift(departed)).isEqualTo(-4 * SECOND);
  }

  @Test
  void withoutACounterTheTimeOfDayDoes() {
    Clock departed = new Clock(100 * SECOND, 3 * SECOND, 0, 0);
    assertThat(new Clock(107 * SECOND, SECOND, 0, 0).after(departed)).isEqualTo(7 * SECOND);
    assertThat(new Clock(99 * SECOND, SECOND, 0, 0).after(departed))
        .as("set back meanwhile")
        .isZero();
  }

  /** A machine that was started anew, or a counter that was. */
  @Test
  void aCounterThatWentBackIsNotBelieved() {
    Clock departed = new Clock(100 * SECOND, 3 * SECOND, 5_000, 2_000_000_000L);
    assertThat(new Clock(101 * SECOND, SECOND, 4_000, 0).after(departed)).isEqualTo(SECOND);
  }

  @Test
  void nowIsNow() {
    Clock first = Clock.now(Linux.system());
    Clock second = Clock.now(Linux.system()).since(first);
    assertThat(second.monotonic()).isGreaterThanOrEqualTo(first.monotonic());
    assertThat(second.counter()).isGreaterThan(first.counter());
  }
}
