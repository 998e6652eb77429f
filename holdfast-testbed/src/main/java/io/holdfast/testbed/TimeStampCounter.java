package io.holdfast.testbed;

import io.holdfast.linux.Linux;
import java.util.OptionalLong;

/**
 * How fast the time stamp counter of this machine counts, which is the emulated one's, too. A
 * kernel finds out by itself when it boots; where its machine is starved it is wrong by a
 * thousandth, learns better two seconds later, and KVM, which still has the first figure, then
 * starts guests with this machine's counter in place of their own (7.3, set_tsc_khz(): "user
 * requested TSC rate below hardware speed"). So it is told.
 */
final class TimeStampCounter {
  private static final long SAMPLE_MILLIS = 200;
  private static final OptionalLong KILOHERTZ = measure();

  private TimeStampCounter() {}

  /** What a kernel's command line says of it; nothing where there is no such counter. */
  static String words() {
    return KILOHERTZ.isPresent() ? " tsc_early_khz=" + KILOHERTZ.getAsLong() : "";
  }

  private static OptionalLong measure() {
    OptionalLong first = Linux.system().timeStampCounter();
    long start = System.nanoTime();
    Inside.sleep(SAMPLE_MILLIS);
    OptionalLong last = Linux.system().timeStampCounter();
    long nanos = System.nanoTime() - start;
    return first.isPresent() && last.isPresent()
        ? OptionalLong.of(Math.round((last.getAsLong() - first.getAsLong()) * 1e6 / nanos))
        : OptionalLong.empty();
  }
}
