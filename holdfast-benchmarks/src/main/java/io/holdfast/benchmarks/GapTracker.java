package io.holdfast.benchmarks;

/**
 * Follows a counter through samples of it and keeps the longest time it stood still. Allocates
 * nothing while sampling. Not thread-safe.
 */
final class GapTracker {
  /** The most that may lie between two samples, ns: 200 µs. More is counted as late. */
  static final long LATE = 200_000;

  // The last sample: the clock before and after reading, and what was read.
  private long lastBefore;
  private long lastAfter;
  private long lastCount;

  // The value it read: before the last sample that saw an older one, after the first that saw it.
  private long olderBefore;
  private long firstAfter;
  private long stallSinceOlder;

  // Figures since the last reset.
  private long samples;
  private long late;
  private long worst;
  private long backwards;
  private long begun;
  private long firstCount;
  private final Longest any = new Longest();
  private final Longest sound = new Longest();

  /** The longest gap so far, in fields, as a record would be garbage. */
  private static final class Longest {
    private long atMost;
    private long atLeast;
    private long stall;
    private long start;

    void offer(long atMost, long atLeast, long stall, long start) {
      if (atMost > this.atMost) {
        this.atMost = atMost;
        this.atLeast = atLeast;
        this.stall = stall;
        this.start = start;
      }
    }

    Gap gap() {
      return new Gap(atMost, atLeast, stall, start);
    }

    void clear() {
      atMost = atLeast = stall = start = 0;
    }
  }

  /** Starts with a first sample. */
  GapTracker(long before, long after, long count) {
    lastBefore = olderBefore = begun = before;
    lastAfter = firstAfter = after;
    lastCount = firstCount = count;
  }

  /**
   * Takes a sample.
   *
   * @param before the clock before the counter was read, ns
   * @param after the clock after it was read
   * @param count what was read, unsigned
   */
  void sample(long before, long after, long count) {
    long blind = after - lastBefore;
    samples++;
    worst = Math.max(worst, blind);
    if (blind > LATE) {
      late++;
    }
    if (count == lastCount) {
      stallSinceOlder = Math.max(stallSinceOlder, blind);
    } else {
      long atMost = after - olderBefore;
      long atLeast = Math.max(0, lastBefore - firstAfter);
      long stall = Math.max(stallSinceOlder, blind);
      any.offer(atMost, atLeast, stall, olderBefore);
      if (!Gap.isVoid(atMost, stall)) {
        sound.offer(atMost, atLeast, stall, olderBefore);
      }
      if (Long.compareUnsigned(count, lastCount) < 0) {
        backwards++;
      }
      olderBefore = lastBefore;
      firstAfter = after;
      stallSinceOlder = blind;
      lastCount = count;
    }
    lastBefore = before;
    lastAfter = after;
  }

  /**
   * The figures since the last reset. A gap counts where it ends; one that hasn't ended is {@link
   * Figures#open}.
   */
  Figures figures() {
    return new Figures(
        lastAfter - begun,
        samples,
        late,
        worst,
        backwards,
        firstCount,
        lastCount,
        lastAfter - firstAfter,
        any.gap(),
        sound.gap());
  }

  /** Begins a new window; an open gap goes on. */
  void reset() {
    samples = late = worst = backwards = 0;
    begun = lastBefore;
    firstCount = lastCount;
    any.clear();
    sound.clear();
  }

  /**
   * What sampling showed in a window.
   *
   * @param length of the window, ns
   * @param samples how many
   * @param late how many came more than 200 µs after the one before
   * @param worst the longest time between two samples, ns
   * @param backwards how often the counter went back
   * @param firstCount the counter at the window's start
   * @param lastCount the counter at its end
   * @param open for how long the counter has stood still at the end, ns
   * @param longest the longest gap, void or not
   * @param longestSound the longest that isn't void; {@link Gap#NONE} if all are, as in a window in
   *     which the counter never stood still
   */
  record Figures(
      long length,
      long samples,
      long late,
      long worst,
      long backwards,
      long firstCount,
      long lastCount,
      long open,
      Gap longest,
      Gap longestSound) {}
}
