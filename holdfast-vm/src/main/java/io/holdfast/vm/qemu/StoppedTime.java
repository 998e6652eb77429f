package io.holdfast.vm.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.time.Duration;
import java.time.Instant;

/**
 * How long QEMU had a guest stopped, by the timestamps of its events STOP and RESUME.
 *
 * <p>Two QEMU processes take them from one wall clock, in microseconds, so whoever reads the events
 * late reads the same times. A wall clock may be set between both events; the monotonic clock of
 * this process tells that.
 */
public sealed interface StoppedTime {
  /** By QEMU's timestamps. */
  record Measured(Duration length) implements StoppedTime {}

  /**
   * QEMU's timestamps cannot be used.
   *
   * @param reason for people
   */
  record Unknown(String reason) implements StoppedTime {}

  /**
   * Both clocks of the host at one moment, in nanoseconds.
   *
   * @param wall since 1970
   * @param monotonic of {@link System#nanoTime}
   * @param apart the most that may lie between both readings
   */
  record Clocks(long wall, long monotonic, long apart) {
    private static final int TRIES = 3;

    /** Reads both; again if the thread was preempted meanwhile. */
    public static Clocks read() {
      Clocks best = once();
      for (int i = 1; i < TRIES && best.apart() > NEAR; i++) {
        Clocks next = once();
        best = next.apart() < best.apart() ? next : best;
      }
      return best;
    }

    private static Clocks once() {
      long before = System.nanoTime();
      Instant now = Instant.now();
      long apart = System.nanoTime() - before;
      return new Clocks(now.getEpochSecond() * 1_000_000_000 + now.getNano(), before, apart);
    }
  }

  /** Readings of the clocks that are as near to one another as can be expected, in nanoseconds. */
  long NEAR = 100_000;

  /** What a difference of the clocks may be that is no step, in nanoseconds. */
  long TOLERANCE = 1_000_000;

  /** A wall clock that is slewed runs at most this part of a second faster or slower. */
  long SLEW = 1000;

  /**
   * Compares two events.
   *
   * @param before the clocks before QEMU was told to stop the guest
   * @param stop QEMU's event
   * @param resume the event of the QEMU that let the guest run
   * @param after the clocks after {@code resume} was read
   */
  static StoppedTime between(Clocks before, JsonObject stop, JsonObject resume, Clocks after) {
    long stopped = micros(stop);
    long resumed = micros(resume);
    if (stopped < 0 || resumed < 0) {
      return new Unknown("QEMU could not read the host's wall clock");
    }
    long length = (resumed - stopped) * 1000;
    long elapsed = after.monotonic() - before.monotonic();
    long step = after.wall() - before.wall() - elapsed;
    long tolerance = TOLERANCE + elapsed / SLEW + before.apart() + after.apart();
    if (Math.abs(step) > tolerance) {
      return new Unknown(
          "the host's wall clock was set by about "
              + step / 1_000_000
              + " ms while the guest was stopped");
    }
    if (length < 0 || length > elapsed + tolerance) {
      return new Unknown(
          "QEMU's timestamps are "
              + length / 1_000_000
              + " ms apart, which cannot be: the controller saw "
              + elapsed / 1_000_000
              + " ms");
    }
    return new Measured(Duration.ofNanos(length));
  }

  /** QEMU's docs/interop/qmp-spec: both members are -1 if QEMU could not read the clock. */
  private static long micros(JsonObject event) {
    JsonObject timestamp = event.optionalObject("timestamp").orElse(JsonObject.empty());
    long seconds = timestamp.optionalNumber("seconds").orElse(-1);
    long micros = timestamp.optionalNumber("microseconds").orElse(-1);
    return seconds < 0 || micros < 0 ? -1 : seconds * 1_000_000 + micros;
  }
}
