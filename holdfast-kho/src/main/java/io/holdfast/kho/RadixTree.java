package io.holdfast.kho;

import static io.holdfast.kho.Defect.Rule.KEY;
import static io.holdfast.kho.Defect.Rule.NODE_IN_SCRATCH;
import static io.holdfast.kho.Defect.Rule.NODE_PRESERVED;
import static io.holdfast.kho.Defect.Rule.NODE_TWICE;
import static io.holdfast.kho.Defect.Rule.OUTSIDE_MEMORY;
import static io.holdfast.kho.Defect.Rule.PAGE_IN_SCRATCH;
import static io.holdfast.kho.Defect.Rule.PAGE_OUTSIDE_MEMORY;
import static io.holdfast.kho.Defect.Rule.PAGE_TWICE;
import static io.holdfast.kho.Defect.Rule.UNALIGNED;
import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.MemoryException;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.kho.memory.PhysicalMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * The preserved-memory map in memory, as kho-v4 has it: a radix tree of six levels whose nodes are
 * a page each. A node of levels 5 to 1 is a table of 512 physical addresses of nodes below, 0 where
 * there is none; a leaf, level 0, is a bitmap of 32,768 bits. Bits 15 to 59 of a key ({@link
 * PreservedBlock#key}) choose the nodes, nine a level; bits 0 to 14 the bit.
 *
 * <p>(include/linux/kho/abi/kexec_handover.h, "KHO persistent memory tracker".) The tree's own
 * pages are not in it: the next kernel reads it before it uses any memory but scratch.
 */
public final class RadixTree {
  /** The level of the root; leaves are on level 0. */
  public static final int TOP = 5;

  private static final int TABLE_SHIFT = 9;
  private static final int TABLE = 1 << TABLE_SHIFT;

  private static final ValueLayout.OfLong U64 =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private static final long LEAF_MASK = (1L << PageBits.LEAF_SHIFT) - 1;

  /** In place of an entry's number. */
  private static final int ROOT = -1;

  private RadixTree() {}

  /** Is told of keys, in their order. */
  public interface Keys {
    /** A key. */
    void is(long key);

    /**
     * Up to 64 keys at once, as they stand in a leaf; who is told of very many may want that.
     *
     * @param first the key of bit 0
     * @param bits a bit for each key, at least one
     */
    default void are(long first, long bits) {
      for (long left = bits; left != 0; left &= left - 1) {
        is(first | Long.numberOfTrailingZeros(left));
      }
    }
  }

  /**
   * What was read.
   *
   * @param map the blocks
   * @param nodes the addresses of the tree's own pages, the root first
   */
  record Read(PreservedMap map, Set<Long> nodes) {}

  /**
   * Tells all keys of a tree, in their order, as they stand there: what they mean is not looked at.
   *
   * @param root the physical address of its root
   * @throws DefectException if a node is not in memory, not aligned or there twice
   */
  public static void forEachKey(PhysicalMemory memory, long root, Keys keys) {
    new Walk(memory, Findings.thrown(), keys).node(root, TOP, 0, ROOT, root);
  }

  /**
   * Reads a tree.
   *
   * @param root the physical address of its root
   * @param scratch the scratch areas, as far as they are known
   * @throws DefectException if a block or node is not what it should be
   */
  public static PreservedMap read(PhysicalMemory memory, long root, List<MemoryRange> scratch) {
    return read(memory, root, root, scratch, Findings.thrown()).map();
  }

  /** Reads a tree; a block or node at fault is left out. */
  static Read read(
      PhysicalMemory memory,
      long root,
      long pointer,
      List<MemoryRange> scratch,
      Findings findings) {
    PreservedMap map = new PreservedMap(scratch);
    MemoryIndex index = new MemoryIndex(memory.ranges());
    Walk walk = new Walk(memory, findings, key -> block(key, index, scratch, findings, map));
    walk.node(root, TOP, 0, ROOT, pointer);
    for (long node : walk.nodes) {
      MemoryRange page = new MemoryRange(node, PAGE);
      if (map.firstIn(page) >= 0) {
        findings.add(
            NODE_PRESERVED,
            node,
            "a node of the preserved-memory map",
            "it is a preserved page itself",
            "memory that nothing else uses");
      }
      if (scratch.stream().anyMatch(page::overlaps)) {
        findings.add(
            NODE_IN_SCRATCH,
            node,
            "a node of the preserved-memory map",
            "it is in scratch, which the next kernel overwrites before it reads the map",
            "memory outside of scratch");
      }
    }
    return new Read(map, walk.nodes);
  }

  private static void block(
      long key,
      MemoryIndex memory,
      List<MemoryRange> scratch,
      Findings findings,
      PreservedMap map) {
    PreservedBlock block;
    try {
      block = PreservedBlock.of(key);
    } catch (IllegalArgumentException e) {
      findings.add(
          KEY,
          0,
          "key 0x%x of the preserved-memory map".formatted(key),
          "it stands for no block of pages",
          "one bit for the order, from 52 down, and an address below it");
      return;
    }
    if (!memory.contains(block.address(), block.size())) {
      findings.add(
          PAGE_OUTSIDE_MEMORY,
          block.address(),
          named(block),
          block.range() + " is not in the machine's memory",
          "a block of memory");
      return;
    }
    for (MemoryRange each : scratch) {
      if (each.overlaps(block.range())) {
        findings.add(
            PAGE_IN_SCRATCH,
            block.address(),
            named(block),
            block.range() + " is in scratch, " + each,
            "memory outside of scratch");
        return;
      }
    }
    long twice = map.firstIn(block.range());
    if (twice >= 0) {
      findings.add(
          PAGE_TWICE,
          twice,
          named(block),
          "page 0x%x of %s is in another preserved block, too".formatted(twice, block.range()),
          "each page once");
      return;
    }
    map.preserve(block);
  }

  private static String named(PreservedBlock block) {
    return "the preserved block of order " + block.order();
  }

  /**
   * Writes a map as a tree.
   *
   * @param pages where its nodes are taken from; they stay taken, unless this fails
   * @return the addresses of the nodes, the root first
   * @throws MemoryException if there are not enough pages
   */
  public static List<Long> write(PreservedMap map, MemoryArena pages) {
    List<Long> nodes = new ArrayList<>();
    try {
      write(map, pages, nodes);
      return nodes;
    } catch (MemoryException e) {
      nodes.forEach(each -> pages.give(each, 0));
      throw e;
    }
  }

  private static void write(PreservedMap map, MemoryArena pages, List<Long> nodes) {
    nodes.add(pages.take(0));
    map.forEachLeaf(
        (order, first, words) -> {
          // The bitmaps of a map are leaves already, but for the bit of the order in the key.
          long key = PreservedBlock.key(order, first);
          MemorySegment leaf = pages.at(leaf(key, nodes, pages), PAGE);
          int at = (int) (key & LEAF_MASK) / Long.SIZE;
          if (at == 0) {
            MemorySegment.copy(words, 0, leaf, U64, 0, TABLE);
            return;
          }
          // Of blocks as large as these there are few, and their orders share a leaf.
          for (int i = at; i < TABLE; i++) {
            long word = leaf.get(U64, (long) i * Long.BYTES) | words[i - at];
            leaf.set(U64, (long) i * Long.BYTES, word);
          }
        });
  }

  private static long leaf(long key, List<Long> nodes, MemoryArena pages) {
    long node = nodes.getFirst();
    for (int level = TOP; level > 0; level--) {
      MemorySegment entry = pages.at(node + index(key, level) * Long.BYTES, Long.BYTES);
      long below = entry.get(U64, 0);
      if (below == 0) {
        below = pages.take(0);
        nodes.add(below);
        entry.set(U64, 0, below);
      }
      node = below;
    }
    return node;
  }

  private static long prefix(long key, int level) {
    return key >>> (PageBits.LEAF_SHIFT + TABLE_SHIFT * level);
  }

  /** Which entry of a node of this level leads to a key. */
  private static long index(long key, int level) {
    return prefix(key, level - 1) & (TABLE - 1);
  }

  /** One way through a tree. */
  private static final class Walk {
    private final PhysicalMemory memory;
    private final Findings findings;
    private final Keys keys;
    private final MemoryIndex index;
    private final Set<Long> nodes = new LinkedHashSet<>();

    /** A node of each level: what is copied at once is read faster than word by word. */
    private final long[][] words = new long[TOP + 1][TABLE];

    Walk(PhysicalMemory memory, Findings findings, Keys keys) {
      this.memory = memory;
      this.findings = findings;
      this.keys = keys;
      this.index = new MemoryIndex(memory.ranges());
    }

    void node(long address, int level, long prefix, int entry, long pointer) {
      if ((address & (PAGE - 1)) != 0) {
        findings.add(
            UNALIGNED,
            pointer,
            where(entry, level),
            "it points to 0x%x".formatted(address),
            "the address of a page");
        return;
      }
      if (!index.contains(address, PAGE)) {
        findings.add(
            OUTSIDE_MEMORY,
            pointer,
            where(entry, level),
            "it points to 0x%x, where the machine has no memory".formatted(address),
            "the address of a page");
        return;
      }
      if (!nodes.add(address)) {
        findings.add(
            NODE_TWICE,
            pointer,
            where(entry, level),
            "it points to 0x%x, which the tree has already".formatted(address),
            "each node once");
        return;
      }
      long[] node = words[level];
      MemorySegment.copy(memory.at(address, PAGE), U64, 0, node, 0, TABLE);
      if (level == 0) {
        leaf(node, prefix, keys);
        return;
      }
      for (int i = 0; i < TABLE; i++) {
        long below = node[i];
        if (below != 0) {
          long at = address + (long) i * Long.BYTES;
          node(
              below,
              level - 1,
              prefix | ((long) i << (PageBits.LEAF_SHIFT + TABLE_SHIFT * (level - 1))),
              i,
              at);
        }
      }
    }

    private static String where(int entry, int level) {
      return entry == ROOT
          ? "the preserved-memory map's root"
          : "entry %d of a node on level %d of the preserved-memory map"
              .formatted(entry, level + 1);
    }

    private static void leaf(long[] node, long prefix, Keys keys) {
      for (int i = 0; i < TABLE; i++) {
        if (node[i] != 0) {
          keys.are(prefix | (long) i * Long.SIZE, node[i]);
        }
      }
    }
  }
}
