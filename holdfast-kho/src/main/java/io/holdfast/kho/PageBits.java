package io.holdfast.kho;

import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;

/** A set of numbers from 0 to 2^53, as bitmaps of 32,768 bits where there are some. */
final class PageBits {
  /** Bits of a leaf, as a power of two: those of a page of memory. */
  static final int LEAF_SHIFT = 15;

  private static final int LEAF = 1 << LEAF_SHIFT;
  private static final int WORDS = LEAF / Long.SIZE;
  private static final long[] NONE = {};

  private final TreeMap<Long, long[]> leaves = new TreeMap<>();
  private long lastNumber = -1;
  private long[] last = NONE;
  private long count;

  /** Is told of numbers, in their order. */
  interface Each {
    void is(long number);
  }

  /** How many are in the set. */
  long count() {
    return count;
  }

  boolean get(long number) {
    long[] leaf = leaf(number >>> LEAF_SHIFT);
    return leaf.length > 0 && (leaf[word(number)] & (1L << number)) != 0;
  }

  /** Adds one that is not in it. */
  void set(long number) {
    made(number >>> LEAF_SHIFT)[word(number)] |= 1L << number;
    count++;
  }

  /** Removes one that is in it. */
  void clear(long number) {
    leaf(number >>> LEAF_SHIFT)[word(number)] &= ~(1L << number);
    count--;
  }

  private static int word(long number) {
    return (int) (number & (LEAF - 1)) / Long.SIZE;
  }

  /** A leaf, or an empty array. */
  private long[] leaf(long number) {
    if (number != lastNumber) {
      long[] leaf = leaves.get(number);
      if (leaf == null) {
        return NONE;
      }
      last = leaf;
      lastNumber = number;
    }
    return last;
  }

  private long[] made(long number) {
    if (number != lastNumber) {
      last = leaves.computeIfAbsent(number, _ -> new long[WORDS]);
      lastNumber = number;
    }
    return last;
  }

  /** The first of a range that is in the set, or -1. */
  long first(long from, long to) {
    for (long at = from; at < to; ) {
      Map.Entry<Long, long[]> entry = leaves.ceilingEntry(at >>> LEAF_SHIFT);
      if (entry == null || entry.getKey() << LEAF_SHIFT >= to) {
        return -1;
      }
      long base = entry.getKey() << LEAF_SHIFT;
      at = Math.max(at, base);
      long end = Math.min(to, base + LEAF);
      while (at < end) {
        long word = entry.getValue()[word(at)] & (-1L << at);
        if (word != 0) {
          long found = (at & -Long.SIZE) + Long.numberOfTrailingZeros(word);
          return found < end ? found : -1;
        }
        at = (at & -Long.SIZE) + Long.SIZE;
      }
    }
    return -1;
  }

  /** Adds a range of which none is in it. */
  void setAll(long from, long to) {
    change(from, to, true);
    count += to - from;
  }

  /** Removes a range of which all are in it. */
  void clearAll(long from, long to) {
    change(from, to, false);
    count -= to - from;
  }

  private void change(long from, long to, boolean set) {
    for (long at = from; at < to; ) {
      long end = Math.min(to, (at | (LEAF - 1)) + 1);
      long[] leaf = made(at >>> LEAF_SHIFT);
      if (end - at == LEAF) {
        Arrays.fill(leaf, set ? -1L : 0);
        at = end;
        continue;
      }
      while (at < end) {
        long next = Math.min(end, (at & -Long.SIZE) + Long.SIZE);
        long mask = (-1L << at) & (-1L >>> -next);
        if (set) {
          leaf[word(at)] |= mask;
        } else {
          leaf[word(at)] &= ~mask;
        }
        at = next;
      }
    }
  }

  /** Tells all, in their order. */
  void forEach(Each each) {
    leaves.forEach(
        (number, leaf) -> {
          for (int i = 0; i < WORDS; i++) {
            for (long word = leaf[i]; word != 0; word &= word - 1) {
              each.is(
                  (number << LEAF_SHIFT) + (long) i * Long.SIZE + Long.numberOfTrailingZeros(word));
            }
          }
        });
  }

  /** How many of a range are in the set. */
  long count(long from, long to) {
    long counted = 0;
    for (Map.Entry<Long, long[]> entry :
        leaves.subMap(from >>> LEAF_SHIFT, true, (to - 1) >>> LEAF_SHIFT, true).entrySet()) {
      long base = entry.getKey() << LEAF_SHIFT;
      for (int i = 0; i < WORDS; i++) {
        long low = base + (long) i * Long.SIZE;
        long word = entry.getValue()[i];
        if (low < from) {
          word = from - low < Long.SIZE ? word & (-1L << from) : 0;
        }
        if (low + Long.SIZE > to) {
          word = to > low ? word & (-1L >>> -to) : 0;
        }
        counted += Long.bitCount(word);
      }
    }
    return counted;
  }
}
