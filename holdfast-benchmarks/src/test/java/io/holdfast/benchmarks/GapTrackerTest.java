package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import org.junit.jupiter.api.Test;

class GapTrackerTest {
  private static final long STEP = 50_000;
  private static final long READ = 30;

  private long now = 1_000_000_000;
  private long count = 100;
  private final GapTracker tracker = new GapTracker(now, now + READ, count);

  private void beat(int samples) {
    for (int i = 0; i < samples; i++) {
      sample(STEP, ++count);
    }
  }

  private void stand(int samples) {
    for (int i = 0; i < samples; i++) {
      sample(STEP, count);
    }
  }

  private void sample(long after, long value) {
    now += after;
    tracker.sample(now, now + READ, value);
  }

  @Test
  @Promise("proofs")
  void aGuestThatNeverStopsHasNoSoundGap() {
    beat(1000);
    GapTracker.Figures f = tracker.figures();
    assertThat(f.longestSound()).isEqualTo(Gap.NONE);
    assertThat(f.longest().isVoid()).isTrue();
    assertThat(f.longest().atMost()).isEqualTo(2 * STEP + READ);
    assertThat(f.late()).isZero();
    assertThat(f.backwards()).isZero();
    assertThat(f.lastCount() - f.firstCount()).isEqualTo(1000);
  }

  @Test
  @Promise("proofs")
  void aStopIsMeasuredFromBothSides() {
    beat(10);
    stand(200);
    beat(10);
    Gap gap = tracker.figures().longestSound();
    // Seen first once, then 200 times again; it truly stood between those and what lies around.
    assertThat(gap.atLeast()).isEqualTo(200 * STEP - READ);
    assertThat(gap.atMost()).isEqualTo(202 * STEP + READ);
    assertThat(gap.isVoid()).isFalse();
    assertThat(tracker.figures().longest()).isEqualTo(gap);
  }

  @Test
  @Promise("proofs")
  void aGapInWhichTheObserverWasBlindForMoreThanAFifthIsVoid() {
    beat(10);
    stand(40);
    sample(11 * STEP, count); // of 53 steps in all
    beat(10);
    Gap gap = tracker.figures().longest();
    assertThat(gap.stall()).isEqualTo(11 * STEP + READ);
    assertThat(gap.isVoid()).isTrue();
    assertThat(tracker.figures().longestSound()).isEqualTo(Gap.NONE);
    assertThat(tracker.figures().late()).isEqualTo(1);
    assertThat(tracker.figures().worst()).isEqualTo(11 * STEP + READ);
  }

  @Test
  void aFifthIsNotMoreThanAFifth() {
    assertThat(Gap.isVoid(1000, 200)).isFalse();
    assertThat(Gap.isVoid(1000, 201)).isTrue();
    assertThat(Gap.isVoid(0, 0)).isFalse();
  }

  @Test
  void blindnessAtEitherEdgeCounts() {
    beat(10);
    sample(30 * STEP, ++count); // blind before the value was first seen
    stand(50);
    beat(10);
    assertThat(tracker.figures().longest().isVoid()).isTrue();

    tracker.reset();
    stand(50);
    sample(30 * STEP, ++count); // and at the end
    beat(10);
    assertThat(tracker.figures().longest().isVoid()).isTrue();
    assertThat(tracker.figures().longestSound()).isEqualTo(Gap.NONE);
  }

  @Test
  void aVoidGapDoesNotHideAShorterSoundOne() {
    beat(10);
    stand(100);
    beat(10);
    sample(1000 * STEP, ++count);
    beat(10);
    GapTracker.Figures f = tracker.figures();
    assertThat(f.longest().isVoid()).isTrue();
    assertThat(f.longestSound().atMost()).isEqualTo(102 * STEP + READ);
  }

  @Test
  void aGapCountsInTheWindowInWhichItEnds() {
    beat(10);
    stand(100);
    GapTracker.Figures before = tracker.figures();
    assertThat(before.open()).isEqualTo(100 * STEP);
    assertThat(before.longestSound()).isEqualTo(Gap.NONE);
    tracker.reset();
    stand(100);
    beat(1);
    assertThat(tracker.figures().longestSound().atLeast()).isEqualTo(200 * STEP - READ);
  }

  @Test
  @Promise("proofs")
  void aCounterThatGoesBackIsCounted() {
    beat(10);
    count -= 5;
    beat(3);
    count -= 1;
    sample(STEP, count);
    assertThat(tracker.figures().backwards()).isEqualTo(2);
    tracker.reset();
    assertThat(tracker.figures().backwards()).isZero();
  }

  @Test
  void countersAreUnsigned() {
    count = Long.MAX_VALUE - 1;
    beat(5);
    assertThat(count).isNegative();
    // One step forward to the start value, then on over the sign.
    assertThat(tracker.figures().backwards()).isZero();
  }
}
