package io.holdfast.kexec.manifest;

import io.holdfast.linux.Linux;
import java.time.Instant;

/**
 * One moment on several clocks. The monotonic one starts anew with each kernel, and the time of day
 * is read from a battery's clock with whole seconds; the processor's counter goes on.
 *
 * @param real nanoseconds since 1970
 * @param monotonic {@link System#nanoTime}
 * @param counter the time stamp counter; 0 where there is none
 * @param hertz how fast that counts; 0 if not known
 */
public record Clock(long real, long monotonic, long counter, long hertz) {
  private static final long SECOND = 1_000_000_000L;

  /** Now, without knowing how fast the counter counts. */
  public static Clock now(Linux linux) {
    Instant now = Instant.now();
    return new Clock(
        now.getEpochSecond() * SECOND + now.getNano(),
        System.nanoTime(),
        linux.timeStampCounter().orElse(0),
        0);
  }

  /** The same moment, with how fast the counter has counted since {@code earlier}. */
  public Clock since(Clock earlier) {
    long nanos = monotonic - earlier.monotonic;
    long counts = counter - earlier.counter;
    return nanos > 0 && counts > 0
        ? new Clock(real, monotonic, counter, (long) ((double) counts / nanos * SECOND))
        : this;
  }

  /**
   * How long after {@code departed}, a moment of the previous kernel's, this is, in nanoseconds: by
   * the counter, else by the time of day.
   */
  public long after(Clock departed) {
    long counts = counter - departed.counter;
    if (departed.hertz > 0 && counts > 0) {
      return (long) ((double) counts / departed.hertz * SECOND);
    }
    return Math.max(0, real - departed.real);
  }

  /** What takes the previous kernel's {@link System#nanoTime} to this one's. */
  public long shift(Clock departed) {
    return monotonic - after(departed) - departed.monotonic;
  }
}
