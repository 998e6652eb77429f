package io.holdfast.kho;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.kho.memory.MemoryRange;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * The map of preserved memory, as a set of blocks: the one that a kernel wrote, or one that is
 * being built. No page is in it twice, and none of it is scratch.
 *
 * <p>It can be changed until it is finalized: no kexec image has to be loaded for that, and no step
 * comes before it. A finalized map is immutable until {@link #reopen}. A refused call changes
 * nothing. Not for several threads at once.
 *
 * <pre>{@code
 * PreservedMap map = new PreservedMap(scratch);
 * map.preserve(0x4000_0000, 300);   // as blocks of 256, 32, 8 and 4 pages
 * map.setFinal();
 * long root = RadixTree.write(map, arena);
 * }</pre>
 */
public final class PreservedMap {
  private final List<MemoryRange> scratch;
  private final MemoryRange[] scratchRanges;
  private final PageBits[] orders = new PageBits[PreservedBlock.MAX_ORDER + 1];
  private final PageBits pages = new PageBits();
  private long used; // a bit for each order that has blocks, or had
  private boolean isFinal;

  /** Is told of bitmaps of blocks. */
  interface EachLeaf {
    /**
     * A bitmap.
     *
     * @param order of all its blocks
     * @param first the number, among all blocks of this order, that its first bit stands for
     * @param words its bits; not to be changed
     */
    void is(int order, long first, long[] words);
  }

  /** Is told of blocks. */
  public interface Each {
    /** A block. */
    void is(long address, int order);
  }

  /**
   * An empty map.
   *
   * @param scratch the scratch areas
   */
  public PreservedMap(List<MemoryRange> scratch) {
    this.scratch = List.copyOf(scratch);
    this.scratchRanges = scratch.toArray(MemoryRange[]::new);
    Arrays.setAll(orders, _ -> new PageBits());
  }

  /** The scratch areas. */
  public List<MemoryRange> scratch() {
    return scratch;
  }

  /**
   * Preserves pages that follow one another, as the fewest blocks whose sizes are powers of two and
   * that are aligned to their size: what kho_preserve_pages() makes of them on a machine with one
   * NUMA node.
   *
   * @param address a multiple of a page
   * @param count how many pages, at least 1
   * @throws IllegalArgumentException if this is no range of pages
   * @throws IllegalStateException if one of them is preserved already, or is scratch, or the map is
   *     finalized; the message says which page
   */
  public void preserve(long address, long count) {
    long from = pageNumber(address, count);
    long to = from + count;
    refuse(from, to);
    pages.setAll(from, to);
    for (long page = from; page < to; ) {
      int order = largest(page, to);
      put(page, order);
      page += 1L << order;
    }
  }

  /**
   * Preserves one block as it is, as kho_preserve_folio() does. As {@link #preserve(long, long)}.
   */
  public void preserve(PreservedBlock block) {
    long from = block.address() / PAGE;
    long to = from + (1L << block.order());
    refuse(from, to);
    pages.setAll(from, to);
    put(from, block.order());
  }

  private void put(long page, int order) {
    orders[order].set(page >>> order);
    used |= 1L << order;
  }

  private void refuse(long from, long to) {
    refuseIfFinal();
    // No object is made where nothing is wrong: one call for each page is how a kernel is asked.
    for (MemoryRange each : scratchRanges) {
      if (from * PAGE < each.end() && each.address() < to * PAGE) {
        throw new IllegalStateException(
            "%s is in scratch, %s: the next kernel boots from there, nothing can be preserved in it"
                .formatted(range(from, to), each));
      }
    }
    long twice = pages.first(from, to);
    if (twice >= 0) {
      throw new IllegalStateException(
          "page 0x%x of %s is preserved already".formatted(twice * PAGE, range(from, to)));
    }
  }

  private static MemoryRange range(long from, long to) {
    return new MemoryRange(from * PAGE, (to - from) * PAGE);
  }

  private void refuseIfFinal() {
    if (isFinal) {
      throw new IllegalStateException(
          "the map is finalized, and immutable; cancelling the update reopens it");
    }
  }

  /**
   * Drops pages that {@link #preserve(long, long)} preserved, with the same numbers.
   *
   * @throws IllegalArgumentException if this is no range of pages
   * @throws IllegalStateException if these are not exactly blocks of the map (a part of a block
   *     can't be dropped), or the map is finalized
   */
  public void unpreserve(long address, long count) {
    long from = pageNumber(address, count);
    long to = from + count;
    refuseIfFinal();
    for (long page = from; page < to; page += 1L << largest(page, to)) {
      refuseIfNot(page, largest(page, to));
    }
    for (long page = from; page < to; ) {
      int order = largest(page, to);
      orders[order].clear(page >>> order);
      page += 1L << order;
    }
    pages.clearAll(from, to);
  }

  /** Drops one block. As {@link #unpreserve(long, long)}. */
  public void unpreserve(PreservedBlock block) {
    long from = block.address() / PAGE;
    refuseIfFinal();
    refuseIfNot(from, block.order());
    orders[block.order()].clear(from >>> block.order());
    pages.clearAll(from, from + (1L << block.order()));
  }

  private void refuseIfNot(long page, int order) {
    if (!orders[order].get(page >>> order)) {
      throw new IllegalStateException(
          "no block of order %d at 0x%x is preserved".formatted(order, page * PAGE));
    }
  }

  private static long pageNumber(long address, long count) {
    if (address % PAGE != 0
        || address < 0
        || count < 1
        || count > (1L << MemoryRange.ADDRESS_BITS) / PAGE - address / PAGE) {
      throw new IllegalArgumentException(
          "0x%x and %d are no address and number of pages".formatted(address, count));
    }
    return address / PAGE;
  }

  /** The order of the largest block that starts at a page and ends within a range. */
  private static int largest(long page, long to) {
    // Page 0 is aligned to everything.
    return Math.min(
        Math.min(Long.numberOfTrailingZeros(page), PreservedBlock.MAX_ORDER),
        Long.SIZE - 1 - Long.numberOfLeadingZeros(to - page));
  }

  /** Whether a block is in the map, with exactly this order. */
  public boolean contains(PreservedBlock block) {
    return orders[block.order()].get((block.address() / PAGE) >>> block.order());
  }

  /** The order of the block that starts at an address, if one does. */
  public OptionalInt orderAt(long address) {
    long page = address / PAGE;
    if (address < 0 || address % PAGE != 0 || page >= 1L << PreservedBlock.MAX_ORDER) {
      return OptionalInt.empty();
    }
    for (long left = used; left != 0; left &= left - 1) {
      int order = Long.numberOfTrailingZeros(left);
      if ((page & ((1L << order) - 1)) == 0 && orders[order].get(page >>> order)) {
        return OptionalInt.of(order);
      }
    }
    return OptionalInt.empty();
  }

  /** The block that a byte is in, if it is preserved. */
  public Optional<PreservedBlock> blockOf(long address) {
    long page = address / PAGE;
    if (address < 0 || page >= 1L << PreservedBlock.MAX_ORDER || !pages.get(page)) {
      return Optional.empty();
    }
    for (long left = used; left != 0; left &= left - 1) {
      int order = Long.numberOfTrailingZeros(left);
      if (orders[order].get(page >>> order)) {
        return Optional.of(new PreservedBlock(((page >>> order) << order) << 12, order));
      }
    }
    throw new IllegalStateException("page 0x%x is in no block".formatted(address));
  }

  /** The first page of a range that is preserved, or -1. */
  long firstIn(MemoryRange range) {
    long found = pages.first(range.address() / PAGE, (range.end() + PAGE - 1) / PAGE);
    return found < 0 ? -1 : found * PAGE;
  }

  /** How many blocks of an order there are. */
  public long blocks(int order) {
    return orders[order].count();
  }

  /** How many blocks there are. */
  public long blocks() {
    return Arrays.stream(orders).mapToLong(PageBits::count).sum();
  }

  /** How many pages are preserved. */
  public long pages() {
    return pages.count();
  }

  /** How many pages of a range are preserved; the range's ends are taken to whole pages. */
  public long pages(MemoryRange range) {
    return pages.count(range.address() / PAGE, (range.end() + PAGE - 1) / PAGE);
  }

  /** Tells all bitmaps of an order that have a block, by address. */
  void forEachLeaf(EachLeaf each) {
    for (long left = used; left != 0; left &= left - 1) {
      int order = Long.numberOfTrailingZeros(left);
      orders[order].forEachLeaf((first, words) -> each.is(order, first, words));
    }
  }

  /** Tells all blocks, by order from 0 on, then by address. */
  public void forEach(Each each) {
    for (long left = used; left != 0; left &= left - 1) {
      int order = Long.numberOfTrailingZeros(left);
      orders[order].forEach(number -> each.is((number << order) << 12, order));
    }
  }

  /** Its blocks, by order from 0 on, then by address. For maps of a size that fits in a list. */
  public List<PreservedBlock> list() {
    List<PreservedBlock> all = new ArrayList<>();
    forEach((address, order) -> all.add(new PreservedBlock(address, order)));
    return all;
  }

  /** Makes it immutable. Again is as once. */
  public void setFinal() {
    isFinal = true;
  }

  /** Whether it is finalized. */
  public boolean isFinal() {
    return isFinal;
  }

  /** Lets it be changed again, when what it was finalized for was cancelled. Again is as once. */
  public void reopen() {
    isFinal = false;
  }

  /** Whether it has the same blocks. */
  @Override
  public boolean equals(Object other) {
    return other instanceof PreservedMap that
        && pages() == that.pages()
        && blocks() == that.blocks()
        && list().equals(that.list());
  }

  @Override
  public int hashCode() {
    return Long.hashCode(pages()) * 31 + Long.hashCode(blocks());
  }

  @Override
  public String toString() {
    return blocks() + " blocks, " + pages() + " pages";
  }
}
