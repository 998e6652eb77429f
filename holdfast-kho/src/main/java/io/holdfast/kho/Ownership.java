package io.holdfast.kho;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.kho.memory.MemoryRange;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Which preserved memory is whose. */
public final class Ownership {
  private final Map<Owner, Pages> owners = new LinkedHashMap<>();
  private final PageBits claimed = new PageBits();
  private final PreservedMap map;

  private static final class Pages {
    final PageBits bits = new PageBits();
    long blocks;
  }

  /**
   * What one has.
   *
   * @param owner who
   * @param blocks how many blocks
   * @param pages how many pages
   */
  public record Share(Owner owner, long blocks, long pages) {
    /** In bytes. */
    public long size() {
      return pages * PAGE;
    }
  }

  Ownership(PreservedMap map) {
    this.map = map;
  }

  /** Gives a block that nobody has; false if somebody has some of it. */
  boolean claim(Owner owner, PreservedBlock block) {
    long from = block.address() / PAGE;
    long to = from + (1L << block.order());
    if (claimed.first(from, to) >= 0) {
      return false;
    }
    claimed.setAll(from, to);
    Pages pages = owners.computeIfAbsent(owner, _ -> new Pages());
    pages.bits.setAll(from, to);
    pages.blocks++;
    return true;
  }

  /** What each has, in the order in which they were found. */
  public List<Share> shares() {
    List<Share> shares = new ArrayList<>();
    owners.forEach(
        (owner, pages) -> shares.add(new Share(owner, pages.blocks, pages.bits.count())));
    return shares;
  }

  /** How many pages an owner has of a range; the range's ends are taken to whole pages. */
  public long pages(Owner owner, MemoryRange range) {
    Pages pages = owners.get(owner);
    return pages == null ? 0 : pages.bits.count(range.address() / PAGE, end(range));
  }

  /** How many pages are preserved for nobody that was found. */
  public long unknown() {
    return map.pages() - claimed.count();
  }

  /** How many pages of a range are preserved for nobody that was found. */
  public long unknown(MemoryRange range) {
    return map.pages(range) - claimed.count(range.address() / PAGE, end(range));
  }

  private static long end(MemoryRange range) {
    return (range.end() + PAGE - 1) / PAGE;
  }
}
