package io.holdfast.kho.memory;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/**
 * A range of physical memory.
 *
 * @param address where it starts, from 0 to 2^52 - 1
 * @param size bytes, at least 1; the range ends at 2^52 at the latest
 */
public record MemoryRange(long address, long size) {
  /** No processor of this architecture has more bits in a physical address. */
  public static final int ADDRESS_BITS = 52;

  /** What a page takes, in bytes: KHO's formats have pages of 4 KiB only. */
  public static final int PAGE = 4096;

  /**
   * Checks it.
   *
   * @throws IllegalArgumentException if it is empty or not within 52 bits
   */
  public MemoryRange {
    if (address < 0 || size < 1 || size > (1L << ADDRESS_BITS) - address) {
      throw new IllegalArgumentException(
          "0x%x and %d bytes are no range of physical memory".formatted(address, size));
    }
  }

  /** The first address behind it. */
  public long end() {
    return address + size;
  }

  /** Whether all of another range lies in it; of nothing else, however large its numbers are. */
  public boolean contains(long otherAddress, long otherSize) {
    return otherAddress >= address && otherSize >= 0 && otherSize <= end() - otherAddress;
  }

  /** Whether a byte of the other lies in it. */
  public boolean overlaps(MemoryRange other) {
    return address < other.end() && other.address < end();
  }

  /**
   * The same memory as ranges in order of address, of which none touches another.
   *
   * @param ranges in any order; they may overlap
   */
  public static List<MemoryRange> merged(List<MemoryRange> ranges) {
    List<MemoryRange> merged = new ArrayList<>();
    for (MemoryRange each :
        ranges.stream().sorted(Comparator.comparingLong(MemoryRange::address)).toList()) {
      if (!merged.isEmpty() && each.address <= merged.getLast().end()) {
        MemoryRange last = merged.removeLast();
        merged.add(new MemoryRange(last.address, Math.max(last.end(), each.end()) - last.address));
      } else {
        merged.add(each);
      }
    }
    return List.copyOf(merged);
  }

  @Override
  public String toString() {
    return "0x%x-0x%x".formatted(address, end());
  }
}
