package io.holdfast.linux;

/** How a path is opened (flags of open(2)); without READ and WRITE it is opened for reading. */
public enum OpenFlag {
  /** For reading; together with WRITE for both. */
  READ(0),
  /** For writing. */
  WRITE(0x1),
  /** Made if it is missing, readable and writable by its owner only. */
  CREATE(0x40),
  /** With CREATE: refused with EEXIST if it is there. */
  EXCLUSIVE(0x80),
  /** Emptied. */
  TRUNCATE(0x200),
  /** Every write goes to the end. */
  APPEND(0x400),
  /** Reading and writing never wait: they fail with EAGAIN. */
  NONBLOCK(0x800),
  /**
   * Past the page cache; memory, offsets and sizes are then multiples of the disk's blocks. The
   * number is x86-64's.
   */
  DIRECT(0x4000);

  final int flag;

  OpenFlag(int flag) {
    this.flag = flag;
  }

  static int bits(OpenFlag... flags) {
    int bits = 0;
    boolean read = false;
    for (OpenFlag f : flags) {
      bits |= f.flag;
      read |= f == READ;
    }
    // O_RDONLY is 0, O_WRONLY 1, O_RDWR 2.
    return read && (bits & 1) != 0 ? bits + 1 : bits;
  }
}
