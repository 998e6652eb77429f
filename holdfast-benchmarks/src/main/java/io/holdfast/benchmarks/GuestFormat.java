package io.holdfast.benchmarks;

/** The arithmetic and the layout that {@code guest/README.md} promises. Longs are unsigned. */
final class GuestFormat {
  static final int PAGE = 4096;
  static final int PAGE_WORDS = PAGE / Long.BYTES;
  static final int SECTOR = 512;
  static final int SECTOR_WORDS = SECTOR / Long.BYTES;

  /** First of the heartbeat page's four magics. */
  static final int HEARTBEAT = 0;

  static final int PATTERN = 4;
  static final int DISK = 5;

  private static final long GOLDEN = 0x9e3779b97f4a7c15L;
  private static final long MAGIC_SEED = 0x484f4c4446415354L;

  private GuestFormat() {}

  /** The finalizer of splitmix64. */
  static long mix(long z) {
    z = (z ^ z >>> 30) * 0xbf58476d1ce4e5b9L;
    z = (z ^ z >>> 27) * 0x94d049bb133111ebL;
    return z ^ z >>> 31;
  }

  /** What {@link #mix} made {@code z} of: each of its steps can be undone. */
  static long unmix(long z) {
    z = (z ^ z >>> 31 ^ z >>> 62) * 0x319642b2d24d8ec3L;
    z = (z ^ z >>> 27 ^ z >>> 54) * 0x96de1b173f119089L;
    return z ^ z >>> 30 ^ z >>> 60;
  }

  static long magic(int k) {
    return mix(MAGIC_SEED + k);
  }

  /** What the words of a pattern page in one generation are made of. */
  static long pageSeed(long boot, long index, long generation) {
    return mix(mix(mix(boot) ^ index) ^ generation);
  }

  /** Word {@code w} of what has this seed. */
  static long word(long seed, long w) {
    return mix(seed + w * GOLDEN);
  }

  /** The chain's link {@code n}, from the link before it and the time stamp counter. */
  static long chain(long before, long n, long tsc) {
    return mix(mix(before ^ n) ^ tsc);
  }

  /** The time stamp counter that led from one link to the next. */
  static long tsc(long before, long n, long chain) {
    return unmix(chain) ^ mix(before ^ n);
  }
}
