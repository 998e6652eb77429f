package io.holdfast.kho;

import io.holdfast.kho.memory.MemoryRange;

/**
 * A block of preserved memory: 2^order pages, aligned to their size, which the next kernel gets as
 * one.
 *
 * <p>In the map it is a key: bit 52 - order is set, and below it is the address, shifted right by
 * 12 + order (kho_encode_radix_key() in kernel/liveupdate/kexec_handover.c).
 *
 * @param address the physical address
 * @param order from 0 to {@value #MAX_ORDER}
 */
public record PreservedBlock(long address, int order) {
  /** The largest order that fits in 52 bits of physical address. */
  public static final int MAX_ORDER = 40;

  private static final int PAGE_SHIFT = 12;

  /** The place of order 0's bit in a key. */
  static final int KEY_BITS = Long.SIZE - PAGE_SHIFT;

  /**
   * Checks it.
   *
   * @throws IllegalArgumentException if the order is none, or the address is not aligned to it
   */
  public PreservedBlock {
    if (order < 0
        || order > MAX_ORDER
        || address < 0
        || (address & (bytes(order) - 1)) != 0
        || address > (1L << MemoryRange.ADDRESS_BITS) - bytes(order)) {
      throw new IllegalArgumentException(
          "0x%x is no place for a block of order %d".formatted(address, order));
    }
  }

  static long bytes(int order) {
    return 1L << (PAGE_SHIFT + order);
  }

  /** Its size in bytes. */
  public long size() {
    return bytes(order);
  }

  /** The memory that it is. */
  public MemoryRange range() {
    return new MemoryRange(address, size());
  }

  /** Its key in the map. */
  public long key() {
    return key(order, address >>> (PAGE_SHIFT + order));
  }

  /** The key of the block of an order with this number among all blocks of that order. */
  static long key(int order, long number) {
    return (1L << (KEY_BITS - order)) | number;
  }

  /** The order that a key says, which need not be one: from -11 to 52, or -12 of key 0. */
  static int order(long key) {
    return KEY_BITS - (Long.SIZE - 1 - Long.numberOfLeadingZeros(key));
  }

  /**
   * The block that a key stands for.
   *
   * @throws IllegalArgumentException if it stands for none
   */
  public static PreservedBlock of(long key) {
    int order = order(key);
    if (key <= 0 || order < 0 || order > MAX_ORDER) {
      throw new IllegalArgumentException("0x%x is no key of a block".formatted(key));
    }
    // The order's bit is shifted out.
    return new PreservedBlock(key << (PAGE_SHIFT + order), order);
  }
}
