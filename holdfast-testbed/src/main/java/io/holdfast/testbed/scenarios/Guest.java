package io.holdfast.testbed.scenarios;

/** What guest/README.md promises of the test guest: its arithmetic. */
final class Guest {
  static final long GOLDEN = 0x9e3779b97f4a7c15L;

  private Guest() {}

  static long mix(long value) {
    long z = value;
    z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
    return z ^ (z >>> 31);
  }

  static long magic(int k) {
    return mix(0x484f4c4446415354L + k);
  }

  /** Word number {@code word} of what begins with {@code seed}: a stream, a record's filling. */
  static long word(long seed, long word) {
    return mix(seed + word * GOLDEN);
  }
}
