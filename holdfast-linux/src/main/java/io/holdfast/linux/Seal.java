package io.holdfast.linux;

/**
 * What a memfd no longer allows (F_SEAL_* of fcntl(2), {@code include/uapi/linux/fcntl.h}). A seal
 * is for good.
 */
public enum Seal {
  /** Adding further seals. */
  SEAL(0x1),
  /** Making it smaller. */
  SHRINK(0x2),
  /** Making it larger. */
  GROW(0x4),
  /** Changing its contents; refused while somebody has it mapped for writing. */
  WRITE(0x8),
  /** Changing its contents except through mappings that exist. */
  FUTURE_WRITE(0x10);

  final int flag;

  Seal(int flag) {
    this.flag = flag;
  }
}
