package io.holdfast.linux;

/** How a memfd is made (flags of memfd_create(2), {@code include/uapi/linux/memfd.h}). */
public enum MemfdOption {
  /** Seals may be added later. */
  ALLOW_SEALING(0x2),
  /** Of huge pages of 2 MiB, which must have been reserved; the size is a multiple of that. */
  HUGE_2M(0x4 | 21 << 26),
  /** Of huge pages of 1 GiB, which must have been reserved; the size is a multiple of that. */
  HUGE_1G(0x4 | 30 << 26);

  final int flag;

  MemfdOption(int flag) {
    this.flag = flag;
  }
}
