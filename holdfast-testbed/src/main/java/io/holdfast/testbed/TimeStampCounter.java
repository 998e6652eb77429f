package io.holdfast.testbed;

import io.holdfast.linux.Linux;
import java.util.OptionalLong;

/**
 * How fast the time stamp counter of this machine counts, which is the emulated one's, too. A
 * kernel finds out by itself when it boots; where its machine is starved it is wrong by a
 * thousandth, learns better two seconds later, and KVM, which still has the first figure, then
 * starts guests with this machine's counter in place of their own (7.3, set_tsc_khz(): "user
 * requested TSC rate below hardware speed"). So it is told.
 *
 * <p>Nor does it compare the processors' counters: 7.3 does that without interrupts, and as long as
 * its clock is the tick of the processor that compares, one that does not answer is waited for
 * without end ({@code kernel/time/clocksource.c}, watchdog_wait_seq()).
 */
public final class TimeStampCounter {
  private static final long SAMPLE_MILLIS = 200;
  private static final int READINGS = 1000;
  private static final OptionalLong KILOHERTZ = measure();

  private TimeStampCounter() {}

  /** What a testbed kernel's command line says of it; nothing where there is no such counter. */
  static String words() {
    String rate = rate();
    return rate.isEmpty() ? "" : " tsc=nowatchdog" + rate;
  }

  /**
   * The word that tells a kernel the rate, after a space; nothing where there is no such counter.
   */
  public static String rate() {
    return KILOHERTZ.isPresent() ? " tsc_early_khz=" + KILOHERTZ.getAsLong() : "";
  }

  /** The counter, and the time at which it was read, in nanoseconds. */
  private record Reading(long counter, long nanos) {}

  private static OptionalLong measure() {
    if (Linux.system().timeStampCounter().isEmpty()) {
      return OptionalLong.empty();
    }
    Reading first = read();
    Inside.sleep(SAMPLE_MILLIS);
    Reading last = read();
    double perMilli = (last.counter() - first.counter()) * 1e6 / (last.nanos() - first.nanos());
    return OptionalLong.of(Math.round(perMilli));
  }

  /**
   * Of several readings the one that took least: a kernel that is told a wrong rate is worse off.
   */
  private static Reading read() {
    Reading best = new Reading(0, 0);
    long least = Long.MAX_VALUE;
    for (int i = 0; i < READINGS; i++) {
      long before = System.nanoTime();
      long counter = Linux.system().timeStampCounter().orElse(0);
      long took = System.nanoTime() - before;
      if (took < least) {
        least = took;
        best = new Reading(counter, before + took / 2);
      }
    }
    return best;
  }
}
