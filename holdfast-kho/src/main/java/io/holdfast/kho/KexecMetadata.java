package io.holdfast.kho;

import java.lang.foreign.MemorySegment;

/**
 * Which kernel hands over (struct kho_kexec_metadata, version 1, 73 bytes: a u32 version, 65 bytes
 * of release, a u32 count).
 *
 * @param release what {@code uname -r} says on the kernel that hands over
 * @param kexecs how many kernels in a row have handed over, this one included
 */
public record KexecMetadata(String release, int kexecs) {
  /** The sub-tree's name. */
  public static final String NAME = "kexec-metadata";

  /** Bytes of the structure. */
  public static final int SIZE = 73;

  static final int RELEASE = 4;
  static final int RELEASE_SIZE = 65;

  static long count(MemorySegment bytes) {
    return Integer.toUnsignedLong(Words.u32(bytes, RELEASE + RELEASE_SIZE));
  }
}
