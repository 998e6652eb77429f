package io.holdfast.kho;

import java.util.Arrays;

/**
 * A set of numbers from 0 to 2^42 - 1, as bitmaps of 32,768 bits under three levels of tables. What
 * is empty or full as a whole is one object that all sets share, and is copied before it is
 * written: so a range of any size costs what its ends cost, and nothing has to be looked for that
 * is not there.
 */
@SuppressWarnings("ReferenceEquality") // what is shared is known by which object it is
final class PageBits {
  /** Bits of a leaf, as a power of two: those of a page of memory. */
  static final int LEAF_SHIFT = 15;

  private static final int TABLE_SHIFT = 9;
  private static final int TABLE_BITS = LEAF_SHIFT + TABLE_SHIFT;
  private static final int UPPER_BITS = TABLE_BITS + TABLE_SHIFT;
  private static final int TABLE = 1 << TABLE_SHIFT;
  private static final long LEAF = 1L << LEAF_SHIFT;
  private static final int WORDS = (int) LEAF / Long.SIZE;

  private static final long[] NO_LEAF = new long[WORDS];
  private static final long[][] NO_TABLE = filled(new long[TABLE][], NO_LEAF);
  private static final long[][][] NO_UPPER = filled(new long[TABLE][][], NO_TABLE);
  private static final long[][][][] NOTHING = filled(new long[TABLE][][][], NO_UPPER);

  private static final long[] ALL_LEAF = new long[WORDS];
  private static final long[][] ALL_TABLE = filled(new long[TABLE][], ALL_LEAF);
  private static final long[][][] ALL_UPPER = filled(new long[TABLE][][], ALL_TABLE);

  static {
    Arrays.fill(ALL_LEAF, -1L);
  }

  private long[][][][] root = NOTHING;
  private long count;

  /** The leaf that was looked at last: whoever adds pages one by one stays in it for long. */
  private long[] last = NO_LEAF;

  private long lastNumber;

  /** Is told of numbers, in their order. */
  interface Each {
    void is(long number);
  }

  /** Is told of leaves that are not empty, in their order. */
  interface EachLeaf {
    /**
     * A leaf.
     *
     * @param first the number that its first bit stands for
     * @param words its bits; not to be changed
     */
    void is(long first, long[] words);
  }

  private static <T> T[] filled(T[] table, T with) {
    Arrays.fill(table, with);
    return table;
  }

  /** How many are in the set. */
  long count() {
    return count;
  }

  boolean get(long number) {
    return (leaf(number)[word(number)] & (1L << number)) != 0;
  }

  /** Adds one that is not in it. */
  void set(long number) {
    made(number)[word(number)] |= 1L << number;
    count++;
  }

  /** Removes one that is in it. */
  void clear(long number) {
    made(number)[word(number)] &= ~(1L << number);
    count--;
  }

  private static int word(long number) {
    return (int) (number & (LEAF - 1)) / Long.SIZE;
  }

  /** Where a table has what a number is in, its entries being of so many bits. */
  private static int index(long number, int bits) {
    return (int) (number >>> bits) & (TABLE - 1);
  }

  /** The leaf of a number, to be read. */
  private long[] leaf(long number) {
    if (number >>> LEAF_SHIFT != lastNumber) {
      long[][] table = root[index(number, UPPER_BITS)][index(number, TABLE_BITS)];
      last = table[index(number, LEAF_SHIFT)];
      lastNumber = number >>> LEAF_SHIFT;
    }
    return last;
  }

  /** The leaf of a number, to be written. */
  private long[] made(long number) {
    long[] leaf = leaf(number);
    if (leaf == NO_LEAF || leaf == ALL_LEAF) {
      leaf = leaf.clone();
      table(number)[index(number, LEAF_SHIFT)] = leaf;
      last = leaf;
    }
    return leaf;
  }

  private long[][] table(long number) {
    long[][][] upper = upper(number);
    int at = index(number, TABLE_BITS);
    if (upper[at] == NO_TABLE || upper[at] == ALL_TABLE) {
      upper[at] = upper[at].clone();
    }
    return upper[at];
  }

  private long[][][] upper(long number) {
    long[][][][] all = root();
    int at = index(number, UPPER_BITS);
    if (all[at] == NO_UPPER || all[at] == ALL_UPPER) {
      all[at] = all[at].clone();
    }
    return all[at];
  }

  private long[][][][] root() {
    if (root == NOTHING) {
      root = NOTHING.clone();
    }
    return root;
  }

  /** The first of a range that is in the set, or -1. */
  long first(long from, long to) {
    if (isInOneWord(from, to)) {
      long word = leaf(from)[word(from)] & mask(from, to);
      return word == 0 ? -1 : (from & -Long.SIZE) + Long.numberOfTrailingZeros(word);
    }
    for (long at = from; at < to; ) {
      long[] leaf = leaf(at);
      if (leaf == NO_LEAF) {
        at = behindUniform(at);
        continue;
      }
      long end = Math.min(to, behind(at, LEAF_SHIFT));
      while (at < end) {
        long word = leaf[word(at)] & (-1L << at);
        if (word != 0) {
          long found = (at & -Long.SIZE) + Long.numberOfTrailingZeros(word);
          return found < end ? found : -1;
        }
        at = (at & -Long.SIZE) + Long.SIZE;
      }
    }
    return -1;
  }

  /** Most calls are about a page or a few of them, and are worth being quick. */
  private static boolean isInOneWord(long from, long to) {
    return (from ^ (to - 1)) >>> 6 == 0;
  }

  /** The bits of a range within one word. */
  private static long mask(long from, long to) {
    return (-1L << from) & (-1L >>> -to);
  }

  /** The first number behind the largest thing, all empty or all full, that this one is in. */
  private long behindUniform(long number) {
    long[][][] upper = root[index(number, UPPER_BITS)];
    if (upper == NO_UPPER || upper == ALL_UPPER) {
      return behind(number, UPPER_BITS);
    }
    long[][] table = upper[index(number, TABLE_BITS)];
    return behind(number, table == NO_TABLE || table == ALL_TABLE ? TABLE_BITS : LEAF_SHIFT);
  }

  private static long behind(long number, int bits) {
    return (number | ((1L << bits) - 1)) + 1;
  }

  /** Adds a range of which none is in it. */
  void setAll(long from, long to) {
    if (isInOneWord(from, to)) {
      made(from)[word(from)] |= mask(from, to);
    } else {
      change(from, to, true);
    }
    count += to - from;
  }

  /** Removes a range of which all are in it. */
  void clearAll(long from, long to) {
    if (isInOneWord(from, to)) {
      made(from)[word(from)] &= ~mask(from, to);
    } else {
      change(from, to, false);
    }
    count -= to - from;
  }

  private void change(long from, long to, boolean set) {
    for (long at = from; at < to; ) {
      if (isWhole(at, to, LEAF_SHIFT)) {
        at = changeWhole(at, to, set);
      } else {
        long end = Math.min(to, behind(at, LEAF_SHIFT));
        changeWords(made(at), at, end, set);
        at = end;
      }
    }
  }

  private static boolean isWhole(long at, long to, int bits) {
    return (at & ((1L << bits) - 1)) == 0 && to - at >= 1L << bits;
  }

  /** Changes the largest thing that starts here and ends within the range; returns its end. */
  private long changeWhole(long at, long to, boolean set) {
    int bits;
    if (isWhole(at, to, UPPER_BITS)) {
      root()[index(at, UPPER_BITS)] = set ? ALL_UPPER : NO_UPPER;
      bits = UPPER_BITS;
    } else if (isWhole(at, to, TABLE_BITS)) {
      upper(at)[index(at, TABLE_BITS)] = set ? ALL_TABLE : NO_TABLE;
      bits = TABLE_BITS;
    } else {
      table(at)[index(at, LEAF_SHIFT)] = set ? ALL_LEAF : NO_LEAF;
      bits = LEAF_SHIFT;
    }
    if (lastNumber >= at >>> LEAF_SHIFT && lastNumber < behind(at, bits) >>> LEAF_SHIFT) {
      last = set ? ALL_LEAF : NO_LEAF;
    }
    return behind(at, bits);
  }

  private static void changeWords(long[] leaf, long from, long to, boolean set) {
    int first = word(from);
    int last = word(to - 1);
    if (first == last) {
      changeWord(leaf, first, mask(from, to), set);
      return;
    }
    changeWord(leaf, first, -1L << from, set);
    Arrays.fill(leaf, first + 1, last, set ? -1L : 0);
    changeWord(leaf, last, -1L >>> -to, set);
  }

  private static void changeWord(long[] leaf, int at, long mask, boolean set) {
    leaf[at] = set ? leaf[at] | mask : leaf[at] & ~mask;
  }

  /** Tells all, in their order. */
  void forEach(Each each) {
    forEachLeaf(
        (first, leaf) -> {
          for (int i = 0; i < WORDS; i++) {
            long base = first + (long) i * Long.SIZE;
            for (long word = leaf[i]; word != 0; word &= word - 1) {
              each.is(base + Long.numberOfTrailingZeros(word));
            }
          }
        });
  }

  /** Tells all leaves that have a bit, in their order. */
  void forEachLeaf(EachLeaf each) {
    for (int i = 0; i < TABLE; i++) {
      for (int j = 0; root[i] != NO_UPPER && j < TABLE; j++) {
        long[][] table = root[i][j];
        for (int k = 0; table != NO_TABLE && k < TABLE; k++) {
          if (!isEmpty(table[k])) {
            long first = (long) i << UPPER_BITS | (long) j << TABLE_BITS | (long) k << LEAF_SHIFT;
            each.is(first, table[k]);
          }
        }
      }
    }
  }

  private static boolean isEmpty(long[] leaf) {
    return leaf == NO_LEAF || Arrays.equals(leaf, NO_LEAF);
  }

  /** How many of a range are in the set. */
  long count(long from, long to) {
    long counted = 0;
    for (long at = from; at < to; ) {
      long[] leaf = leaf(at);
      if (leaf == NO_LEAF || leaf == ALL_LEAF) {
        long end = Math.min(to, behindUniform(at));
        counted += leaf == ALL_LEAF ? end - at : 0;
        at = end;
        continue;
      }
      long end = Math.min(to, behind(at, LEAF_SHIFT));
      while (at < end) {
        long next = Math.min(end, (at & -Long.SIZE) + Long.SIZE);
        counted += Long.bitCount(leaf[word(at)] & mask(at, next));
        at = next;
      }
    }
    return counted;
  }
}
