package io.holdfast.kho.memory;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;

/**
 * An arena of our own that stands for physical memory: one range of it, from which pages can be
 * taken and to which they can be given back. Not for several threads at once.
 */
public final class MemoryArena implements PhysicalMemory {
  private final MemoryRange range;
  private final MemorySegment bytes;
  private final boolean[] taken;
  private final List<MemoryRange> forbidden;
  private int search;

  /**
   * An arena over memory of the caller's.
   *
   * @param address the physical address that its first byte stands for, a multiple of a page
   * @param bytes whole pages, at most 2^31 of them; they stay the caller's, and must outlive this
   * @param forbidden where no page is ever taken from, such as scratch areas
   * @throws IllegalArgumentException if these are not whole pages
   */
  public MemoryArena(long address, MemorySegment bytes, List<MemoryRange> forbidden) {
    this.range = new MemoryRange(address, bytes.byteSize());
    if (address % PAGE != 0 || bytes.byteSize() % PAGE != 0) {
      throw new IllegalArgumentException(range + " are no whole pages");
    }
    this.bytes = bytes;
    this.taken = new boolean[Math.toIntExact(bytes.byteSize() / PAGE)];
    this.forbidden = List.copyOf(forbidden);
  }

  /**
   * Takes pages that nobody has, filled with zeros.
   *
   * @param order 2^order pages that follow one another, aligned to their size
   * @return their address
   * @throws MemoryException if there are none
   */
  public long take(int order) {
    int pages = 1 << order;
    long firstAligned = -(range.address() / PAGE) & (pages - 1);
    for (int turn = 0; turn < 2; turn++) {
      long from = turn == 0 ? search : 0;
      from = firstAligned + ((Math.max(0, from - firstAligned) + pages - 1) & -pages);
      for (long at = from; at + pages <= taken.length; at += pages) {
        if (free((int) at, pages)) {
          Arrays.fill(taken, (int) at, (int) at + pages, true);
          search = (int) at + pages;
          var _ = bytes.asSlice(at * PAGE, (long) pages * PAGE).fill((byte) 0);
          return range.address() + at * PAGE;
        }
      }
    }
    throw new MemoryException("no %d free pages in a row are in %s".formatted(pages, range));
  }

  private boolean free(int page, int pages) {
    for (int i = page; i < page + pages; i++) {
      if (taken[i]) {
        return false;
      }
    }
    MemoryRange wanted = new MemoryRange(range.address() + (long) page * PAGE, (long) pages * PAGE);
    return forbidden.stream().noneMatch(wanted::overlaps);
  }

  /**
   * Gives pages back that were taken.
   *
   * @param address what {@link #take} returned
   * @param order what it was asked for
   * @throws IllegalArgumentException if they were not taken
   */
  public void give(long address, int order) {
    int page = (int) ((address - range.address()) / PAGE);
    int pages = 1 << order;
    for (int i = page; i < page + pages; i++) {
      if (!range.contains(address, (long) pages * PAGE) || !taken[i]) {
        throw new IllegalArgumentException("0x%x was not taken".formatted(address));
      }
    }
    Arrays.fill(taken, page, page + pages, false);
    search = Math.min(search, page);
  }

  /** How many pages are taken. */
  public int taken() {
    int count = 0;
    for (boolean each : taken) {
      count += each ? 1 : 0;
    }
    return count;
  }

  @Override
  public List<MemoryRange> ranges() {
    return List.of(range);
  }

  /** As in {@link PhysicalMemory}; never a copy, so that what is written into it is written. */
  @Override
  public MemorySegment at(long address, long size) {
    if (size < 1 || !range.contains(address, size)) {
      throw MemoryException.absent(address, size);
    }
    return bytes.asSlice(address - range.address(), size);
  }
}
