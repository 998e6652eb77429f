package io.holdfast.linux;

/** Kinds of file system that differ in what can be done with their files. */
public enum FileSystem {
  /** Memory in ordinary pages: memfds, and what is on a tmpfs. */
  TMPFS,
  /** Memory in reserved huge pages. */
  HUGETLBFS,
  /** Any other. */
  OTHER;

  // include/uapi/linux/magic.h
  private static final long TMPFS_MAGIC = 0x01021994;
  private static final long HUGETLBFS_MAGIC = 0x958458f6L;

  static FileSystem of(long magic) {
    if (magic == TMPFS_MAGIC) {
      return TMPFS;
    }
    return magic == HUGETLBFS_MAGIC ? HUGETLBFS : OTHER;
  }
}
