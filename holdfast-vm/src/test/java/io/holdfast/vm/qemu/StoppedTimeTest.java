package io.holdfast.vm.qemu;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.qemu.StoppedTime.Clocks;
import io.holdfast.vm.qemu.StoppedTime.Measured;
import io.holdfast.vm.qemu.StoppedTime.Unknown;
import java.time.Duration;
import org.junit.jupiter.api.Test;

/** What QEMU's timestamps tell, and when they are not believed. */
@Promise("pauses")
final class StoppedTimeTest {
  private static final long DAY = 1_795_430_400L;
  private static final long MILLI = 1_000_000;

  private static JsonObject at(long seconds, long micros) {
    return JsonObject.of(
        "event", "X", "timestamp", JsonObject.of("seconds", seconds, "microseconds", micros));
  }

  /**
   * The clocks at a number of nanoseconds after the day's begin, with a wall clock that was set.
   */
  private static Clocks clocks(long nanos, long set) {
    return new Clocks(DAY * 1_000_000_000 + nanos + set, 5_000 + nanos, 2_000);
  }

  private static String reason(StoppedTime time) {
    assertThat(time).isInstanceOf(Unknown.class);
    return ((Unknown) time).reason();
  }

  @Test
  void isTheDifferenceOfTheTimestampsHoweverLateTheyAreRead() {
    assertThat(
            StoppedTime.between(
                clocks(990 * MILLI, 0),
                at(DAY, 993_250),
                at(DAY + 1, 10_750),
                clocks(3_000 * MILLI, 0)))
        .isEqualTo(new Measured(Duration.ofNanos(17_500_000)));
  }

  @Test
  void isUnknownIfTheWallClockWasSetForward() {
    assertThat(
            reason(
                StoppedTime.between(
                    clocks(0, 0),
                    at(DAY, 1_000),
                    at(DAY + 60, 9_000),
                    clocks(10 * MILLI, 60_000 * MILLI))))
        .isEqualTo("the host's wall clock was set by about 60000 ms while the guest was stopped");
  }

  /** The timestamps look good, but would flatter. */
  @Test
  void isUnknownIfTheWallClockWasSetBackByLessThanTheStop() {
    assertThat(
            reason(
                StoppedTime.between(
                    clocks(0, 0), at(DAY, 1_000), at(DAY, 3_000), clocks(20 * MILLI, -15 * MILLI))))
        .contains("set by about -15 ms");
  }

  @Test
  void isUnknownIfTheTimestampsContradictTheMonotonicClock() {
    assertThat(
            reason(
                StoppedTime.between(
                    clocks(0, 0), at(DAY, 9_000), at(DAY, 1_000), clocks(10 * MILLI, 0))))
        .isEqualTo("QEMU's timestamps are -8 ms apart, which cannot be: the controller saw 10 ms");
    assertThat(
            reason(
                StoppedTime.between(
                    clocks(0, 0), at(DAY, 1_000), at(DAY + 5, 0), clocks(10 * MILLI, 0))))
        .contains("4999 ms apart");
  }

  @Test
  void toleratesASlewedWallClockAndReadingsThatArePreempted() {
    JsonObject stop = at(DAY, 1_000);
    JsonObject resume = at(DAY, 9_000);
    assertThat(StoppedTime.between(clocks(0, 0), stop, resume, clocks(4_000 * MILLI, 2 * MILLI)))
        .isEqualTo(new Measured(Duration.ofMillis(8)));
    Clocks preempted = new Clocks(DAY * 1_000_000_000 + 50 * MILLI, 5_000, 50 * MILLI);
    assertThat(StoppedTime.between(preempted, stop, resume, clocks(60 * MILLI, 0)))
        .isEqualTo(new Measured(Duration.ofMillis(8)));
  }

  @Test
  void isUnknownWithoutTimestamps() {
    JsonObject none = JsonObject.of("event", "X");
    for (JsonObject stop : new JsonObject[] {none, at(-1, -1)}) {
      assertThat(
              reason(
                  StoppedTime.between(clocks(0, 0), stop, at(DAY, 9_000), clocks(10 * MILLI, 0))))
          .isEqualTo("QEMU could not read the host's wall clock");
    }
  }

  @Test
  void readsBothClocksAtOneMoment() {
    Clocks first = Clocks.read();
    Clocks second = Clocks.read();
    assertThat(second.monotonic()).isGreaterThanOrEqualTo(first.monotonic());
    assertThat(first.apart()).isNotNegative();
    assertThat(first.wall()).isGreaterThan(DAY / 2 * 1_000_000_000);
  }
}
