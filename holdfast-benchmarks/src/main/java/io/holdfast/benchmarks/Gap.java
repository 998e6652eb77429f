package io.holdfast.benchmarks;

/**
 * A time in which the heartbeat counter stood still, as a sampler from outside can tell it.
 *
 * <p>A counter value was written between two samples, the last that saw an older value and the
 * first that saw it; so was the value that followed it. Hence the guest stood still for at least
 * the time from the first sample with the value to the last with it, and for at most the time from
 * the sample before those to the sample after them.
 *
 * @param atMost the longest that it can have been, ns: what is reported as the gap, as it never
 *     flatters
 * @param atLeast the shortest that it can have been, ns; 0 if the value was seen once only
 * @param stall the longest time between two samples around and in the gap, ns: how long the
 *     observer itself was blind
 * @param start when the gap began at the earliest, ns on the observer's {@link System#nanoTime}
 */
public record Gap(long atMost, long atLeast, long stall, long start) {
  /** No gap. */
  public static final Gap NONE = new Gap(0, 0, 0, 0);

  /**
   * Whether the gap says nothing: the observer was itself blind for more than a fifth of it, so
   * that a part of it may be the observer's.
   */
  public boolean isVoid() {
    return isVoid(atMost, stall);
  }

  static boolean isVoid(long atMost, long stall) {
    return stall > atMost / 5;
  }
}
