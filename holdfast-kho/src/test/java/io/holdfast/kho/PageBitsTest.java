package io.holdfast.kho;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/** A set of numbers against one bit for each piece of all of them. */
final class PageBitsTest {
  /** Another one each night: tools/nightly. */
  private static final long FIRST_SEED = Long.getLong("holdfast.seed", 0);

  private static final int SEEDS = 300;
  private static final int STEPS = 200;
  private static final int CUTS = 24;

  /** Where the bitmaps and tables of the set end, and some numbers that are nothing special. */
  private static long[] cuts(Random random) {
    TreeSet<Long> cuts = new TreeSet<>(List.of(0L, 1L << 40));
    while (cuts.size() < CUTS) {
      long border = 1L << List.of(6, 15, 24, 33).get(random.nextInt(4));
      long cut = border * random.nextInt(1, 8) + random.nextLong(-2, 3);
      cuts.add(random.nextInt(5) == 0 ? random.nextLong(1L << 40) : cut);
    }
    return cuts.stream().mapToLong(each -> each).toArray();
  }

  @Test
  void isASetOfNumbersWhateverTheRangesAre() {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      Random random = new Random(seed);
      long[] cuts = cuts(random);
      boolean[] model = new boolean[cuts.length - 1];
      PageBits bits = new PageBits();
      for (int step = 0; step < STEPS; step++) {
        String at = "seed " + seed + ", step " + step;
        int from = random.nextInt(model.length);
        int to = from + 1;
        // As far as all is the same, since no more can be set or cleared at once.
        while (to < model.length && model[to] == model[from] && random.nextInt(4) > 0) {
          to++;
        }
        if (model[from]) {
          bits.clearAll(cuts[from], cuts[to]);
        } else {
          bits.setAll(cuts[from], cuts[to]);
        }
        Arrays.fill(model, from, to, !model[from]);
        int low = random.nextInt(model.length);
        int high = random.nextInt(low, model.length) + 1;
        assertThat(bits.first(cuts[low], cuts[high]))
            .as(at)
            .isEqualTo(first(cuts, model, low, high));
        assertThat(bits.count(cuts[low], cuts[high]))
            .as(at)
            .isEqualTo(count(cuts, model, low, high));
        assertThat(bits.get(cuts[low])).as(at).isEqualTo(model[low]);
        assertThat(bits.get(cuts[low + 1] - 1)).as(at).isEqualTo(model[low]);
      }
      assertThat(bits.count()).isEqualTo(count(cuts, model, 0, model.length));
      if (bits.count() < 1 << 20) {
        assertThat(listed(bits)).isEqualTo(listed(cuts, model));
      }
    }
  }

  @Test
  void setsShareNothingThatIsWritten() {
    PageBits one = new PageBits();
    PageBits other = new PageBits();
    one.setAll(0, 1L << 40);
    one.clear(5);
    one.clearAll(1 << 15, 2 << 15);
    other.set(7);
    assertThat(new PageBits().get(7)).isFalse();
    assertThat(other.get(5)).isFalse();
    PageBits full = new PageBits();
    full.setAll(0, 1L << 40);
    assertThat(full.get(5)).isTrue();
    assertThat(full.count(0, 1 << 20)).isEqualTo(1 << 20);
    assertThat(one.count(0, 1 << 20)).isEqualTo((1 << 20) - (1 << 15) - 1);
    assertThat(one.count()).isEqualTo((1L << 40) - (1 << 15) - 1);
  }

  private static long first(long[] cuts, boolean[] model, int low, int high) {
    for (int i = low; i < high; i++) {
      if (model[i]) {
        return cuts[i];
      }
    }
    return -1;
  }

  private static long count(long[] cuts, boolean[] model, int low, int high) {
    long count = 0;
    for (int i = low; i < high; i++) {
      count += model[i] ? cuts[i + 1] - cuts[i] : 0;
    }
    return count;
  }

  private static List<Long> listed(PageBits bits) {
    List<Long> all = new ArrayList<>();
    bits.forEach(all::add);
    return all;
  }

  private static List<Long> listed(long[] cuts, boolean[] model) {
    List<Long> all = new ArrayList<>();
    for (int i = 0; i < model.length; i++) {
      for (long each = cuts[i]; model[i] && each < cuts[i + 1]; each++) {
        all.add(each);
      }
    }
    return all;
  }
}
