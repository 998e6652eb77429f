package io.holdfast.benchmarks;

import io.holdfast.varlink.json.JsonObject;
import java.util.Arrays;
import java.util.Locale;
import java.util.Random;
import org.HdrHistogram.Histogram;

/**
 * Percentiles of lengths of time with their uncertainty.
 *
 * <p>Percentiles are those of an HdrHistogram of three significant digits. Intervals are
 * percentile-bootstrap intervals of 95 %: of as many resamples with replacement as {@link
 * #RESAMPLES} says, drawn from a seeded generator, so that the same figures give the same
 * intervals.
 */
final class Statistics {
  static final int RESAMPLES = 2000;
  private static final long SEED = 20_261_123;
  private static final long HIGHEST_NANOS = 600_000_000_000L;
  private static final int DIGITS = 3;

  private Statistics() {}

  /**
   * A figure with its 95 % interval.
   *
   * @param value as measured
   * @param low lower end
   * @param high upper end
   */
  record Estimate(double value, double low, double high) {
    JsonObject json() {
      return JsonObject.of("value", value, "low", low, "high", high);
    }

    /** For people, in a unit given in that of the figure. */
    String shown(double unit) {
      return String.format(
          Locale.ROOT, "%.2f (%.2f – %.2f)", value / unit, low / unit, high / unit);
    }
  }

  /** A histogram of lengths in nanoseconds, 0 to ten minutes. */
  static Histogram histogram(long[] nanos) {
    Histogram histogram = new Histogram(HIGHEST_NANOS, DIGITS);
    for (long n : nanos) {
      histogram.recordValue(n);
    }
    return histogram;
  }

  /**
   * A percentile.
   *
   * @param nanos not empty
   * @param percentile 0 to 100; 100 is the worst
   */
  static Estimate percentile(long[] nanos, double percentile) {
    Random random = new Random(SEED);
    double[] resampled = new double[RESAMPLES];
    Histogram one = new Histogram(HIGHEST_NANOS, DIGITS);
    for (int r = 0; r < RESAMPLES; r++) {
      one.reset();
      for (int i = 0; i < nanos.length; i++) {
        one.recordValue(nanos[random.nextInt(nanos.length)]);
      }
      resampled[r] = (double) one.getValueAtPercentile(percentile);
    }
    return interval((double) histogram(nanos).getValueAtPercentile(percentile), resampled);
  }

  /**
   * How one percentile relates to that of another series. Pairs are drawn together: what disturbed
   * both of a pair is not taken for a difference.
   *
   * @param ours not empty
   * @param theirs as many
   */
  static Estimate ratio(long[] ours, long[] theirs, double percentile) {
    if (ours.length != theirs.length) {
      throw new IllegalArgumentException(ours.length + " and " + theirs.length + " are no pairs");
    }
    Random random = new Random(SEED);
    double[] resampled = new double[RESAMPLES];
    Histogram our = new Histogram(HIGHEST_NANOS, DIGITS);
    Histogram their = new Histogram(HIGHEST_NANOS, DIGITS);
    for (int r = 0; r < RESAMPLES; r++) {
      our.reset();
      their.reset();
      for (int i = 0; i < ours.length; i++) {
        int pair = random.nextInt(ours.length);
        our.recordValue(ours[pair]);
        their.recordValue(theirs[pair]);
      }
      resampled[r] =
          (double) our.getValueAtPercentile(percentile) / their.getValueAtPercentile(percentile);
    }
    double value =
        (double) histogram(ours).getValueAtPercentile(percentile)
            / histogram(theirs).getValueAtPercentile(percentile);
    return interval(value, resampled);
  }

  private static Estimate interval(double value, double[] resampled) {
    Arrays.sort(resampled);
    return new Estimate(
        value,
        resampled[(int) (0.025 * resampled.length)],
        resampled[(int) Math.ceil(0.975 * resampled.length) - 1]);
  }
}
