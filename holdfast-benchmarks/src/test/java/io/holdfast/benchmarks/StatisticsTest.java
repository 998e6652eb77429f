package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import org.junit.jupiter.api.Test;

class StatisticsTest {
  private static long[] around(long center, int count, long seed) {
    Random random = new Random(seed);
    return random.longs(count, center - center / 10, center + center / 10).toArray();
  }

  @Test
  void percentilesAreThoseOfTheSortedFigures() {
    long[] nanos = new long[100];
    for (int i = 0; i < nanos.length; i++) {
      nanos[i] = (i + 1) * 100_000L;
    }
    assertThat(Statistics.percentile(nanos, 50).value()).isCloseTo(5e6, within(1e4));
    assertThat(Statistics.percentile(nanos, 90).value()).isCloseTo(9e6, within(1e4));
    assertThat(Statistics.percentile(nanos, 100).value()).isCloseTo(10e6, within(1e4));
  }

  @Test
  void intervalsHoldTheTruthAboutAsOftenAsTheySay() {
    int held = 0;
    for (int i = 0; i < 60; i++) {
      Statistics.Estimate e = Statistics.percentile(around(10_000_000, 100, i), 50);
      assertThat(e.low()).isLessThanOrEqualTo(e.value());
      assertThat(e.high()).isGreaterThanOrEqualTo(e.value());
      if (e.low() <= 10e6 && 10e6 <= e.high()) {
        held++;
      }
    }
    assertThat(held).isBetween(50, 60);
  }

  @Test
  void moreFiguresGiveNarrowerIntervals() {
    Statistics.Estimate few = Statistics.percentile(around(10_000_000, 20, 1), 50);
    Statistics.Estimate many = Statistics.percentile(around(10_000_000, 2000, 1), 50);
    assertThat(many.high() - many.low()).isLessThan((few.high() - few.low()) / 3);
  }

  @Test
  void theSameFiguresGiveTheSameIntervals() {
    long[] nanos = around(10_000_000, 50, 1);
    assertThat(Statistics.percentile(nanos, 90)).isEqualTo(Statistics.percentile(nanos, 90));
  }

  @Test
  void aRatioOfPairs() {
    long[] ours = around(6_000_000, 200, 1);
    long[] theirs = around(12_000_000, 200, 2);
    Statistics.Estimate ratio = Statistics.ratio(ours, theirs, 50);
    assertThat(ratio.value()).isCloseTo(0.5, within(0.02));
    assertThat(ratio.low()).isBetween(0.45, ratio.value());
    assertThat(ratio.high()).isBetween(ratio.value(), 0.55);
    assertThatThrownBy(() -> Statistics.ratio(ours, new long[3], 50))
        .hasMessageContaining("no pairs");
  }
}
