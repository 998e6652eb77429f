package io.holdfast.kho;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtException;
import io.holdfast.fdt.FdtProperty;
import io.holdfast.fdt.FdtTree;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.kho.memory.PhysicalMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.ToLongFunction;

/**
 * Where a handover starts: its state tree, and the scratch areas.
 *
 * <p>In a running kernel nothing points to them from a fixed place. {@link #find} needs no symbols
 * of the kernel for it. A kernel that has loaded the next one with kexec_file_load has written down
 * what to tell it, wherever that lies: a structure setup_data of type SETUP_KEXEC_KHO with the
 * addresses of the state tree and of the table of scratch areas (arch/x86/kernel/kexec-bzimage64.c,
 * setup_kho(); arch/x86/include/uapi/asm/setup_data.h). The table's address there is the one that
 * it will have; until relocate_kernel() has copied it, it is where the image's list of pages says
 * (kernel/kexec_core.c, kimage_add_entry()). Without such a structure, pages that begin as a state
 * tree are looked for.
 *
 * @param stateTree the physical address of the state tree
 * @param scratch the scratch areas, if they are known
 * @param how how they were found, for people
 */
public record StartingPoint(long stateTree, Optional<List<MemoryRange>> scratch, String how) {
  private static final ValueLayout.OfLong U64 =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt BIG_U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.BIG_ENDIAN);

  /** setup_data's type, SETUP_KEXEC_KHO, and length, which stand side by side. */
  private static final long KHO_DATA = 32L << 32 | 10;

  private static final int FDT_MAGIC = 0xd00dfeed;

  /** The largest table of scratch areas: one for each of 1,024 nodes, and two. */
  private static final long SCRATCH_TABLE = 1026 * 16;

  // Bits of an entry of an image's list of pages.
  private static final int DESTINATION = 1;
  private static final int INDIRECTION = 2;
  private static final int SOURCE = 8;

  /** So many bytes at once are asked for while memory is searched. */
  private static final long CHUNK = 16 << 20;

  /** So many bytes behind a word are looked at with it. */
  private static final long BEHIND = 16;

  /** Copies the list. */
  public StartingPoint {
    scratch = scratch.map(List::copyOf);
  }

  /** One that is known from elsewhere. */
  public static StartingPoint at(long stateTree) {
    return new StartingPoint(stateTree, Optional.empty(), "as given");
  }

  /** One that is known from elsewhere, with the scratch areas. */
  public static StartingPoint at(long stateTree, List<MemoryRange> scratch) {
    return new StartingPoint(stateTree, Optional.of(scratch), "as given");
  }

  /**
   * Looks for the starting point in all of the memory.
   *
   * <p>A kernel that was itself booted by a handover still has the tree that it came with. Of
   * several trees the one of the latest kernel is taken, by the count in its {@code
   * kexec-metadata}.
   *
   * @return empty if there is none: the kernel has no Kexec HandOver, or not switched on
   * @throws IllegalStateException if there are several, and nothing says which is the latest; the
   *     message lists them
   */
  public static Optional<StartingPoint> find(PhysicalMemory memory) {
    Set<KhoData> told = new LinkedHashSet<>();
    search(memory, KHO_DATA, (_, _, address) -> addKhoData(memory, address, told));
    if (!told.isEmpty()) {
      KhoData data = latest(memory, List.copyOf(told), KhoData::tree);
      Optional<List<MemoryRange>> scratch = scratch(memory, data);
      return Optional.of(
          new StartingPoint(
              data.tree,
              scratch,
              "through setup_data (SETUP_KEXEC_KHO), at 0x%x".formatted(data.at)
                  + (scratch.isPresent() ? "" : "; the table of scratch areas was not found")));
    }
    List<Long> trees = new ArrayList<>();
    for (MemoryRange range : memory.ranges()) {
      long first = (range.address() + PAGE - 1) & -PAGE;
      for (long from = first; from < range.end(); from += CHUNK) {
        MemorySegment bytes = memory.at(from, Math.min(CHUNK, range.end() - from));
        for (long at = 0; at + PAGE <= bytes.byteSize(); at += PAGE) {
          if (bytes.get(BIG_U32, at) == FDT_MAGIC && isStateTree(memory, from + at)) {
            trees.add(from + at);
          }
        }
      }
    }
    return trees.isEmpty()
        ? Optional.empty()
        : Optional.of(
            new StartingPoint(
                latest(memory, trees, each -> each),
                Optional.empty(),
                "by its content; no kernel is loaded that it would be told to, and so the scratch areas are"
                    + " not known"));
  }

  /** What setup_data tells: the last two are of the table of scratch areas. */
  private record KhoData(long tree, long table, long tableSize, long at) {
    /** Copies of one structure are one. */
    @Override
    public boolean equals(Object other) {
      return other instanceof KhoData that && tree == that.tree && table == that.table;
    }

    @Override
    public int hashCode() {
      return Long.hashCode(tree) + 31 * Long.hashCode(table);
    }
  }

  private interface Seen {
    void at(MemorySegment bytes, long at, long address);
  }

  /** Goes through all words of the memory; one of this value is shown if 16 bytes follow it. */
  private static void search(PhysicalMemory memory, long wanted, Seen seen) {
    for (MemoryRange range : memory.ranges()) {
      for (long from = range.address(); from < range.end(); from += CHUNK) {
        // A little more than a chunk, so that nothing is cut in two.
        MemorySegment bytes = memory.at(from, Math.min(CHUNK + BEHIND, range.end() - from));
        long end = Math.min(CHUNK, bytes.byteSize() - BEHIND);
        for (long at = 0; at < end; at += Long.BYTES) {
          if (bytes.get(U64, at) == wanted) {
            seen.at(bytes, at, from + at);
          }
        }
      }
    }
  }

  private static void addKhoData(PhysicalMemory memory, long address, Set<KhoData> found) {
    if (!memory.contains(address + 8, 32)) {
      return;
    }
    MemorySegment data = memory.at(address + 8, 32);
    long tree = data.get(U64, 0);
    long table = data.get(U64, 16);
    long size = data.get(U64, 24);
    if (data.get(U64, 8) == PAGE
        && (tree & (PAGE - 1)) == 0
        && size > 0
        && size % 16 == 0
        && size <= SCRATCH_TABLE
        && isStateTree(memory, tree)) {
      found.add(new KhoData(tree, table, size, address - 8));
    }
  }

  private static Optional<FdtTree> tree(PhysicalMemory memory, long address) {
    if (!memory.contains(address, PAGE)) {
      return Optional.empty();
    }
    long size = Integer.toUnsignedLong(memory.at(address, 8).get(BIG_U32, 4));
    if (!memory.contains(address, size)) {
      return Optional.empty();
    }
    try {
      return Optional.of(FdtBlob.of(memory.at(address, size)).tree());
    } catch (FdtException e) {
      return Optional.empty();
    }
  }

  /** Whether it is one of some version, known or not: reading it is where it is refused. */
  private static boolean isStateTree(PhysicalMemory memory, long address) {
    return tree(memory, address)
        .flatMap(each -> each.root().property("compatible"))
        .filter(each -> new String(each.bytes(), StandardCharsets.ISO_8859_1).startsWith("kho-v"))
        .isPresent();
  }

  private static <T> T latest(PhysicalMemory memory, List<T> found, ToLongFunction<T> tree) {
    if (found.size() == 1) {
      return found.getFirst();
    }
    List<T> byCount =
        found.stream()
            .sorted(
                Comparator.comparingLong((T each) -> kexecs(memory, tree.applyAsLong(each)))
                    .reversed())
            .toList();
    if (kexecs(memory, tree.applyAsLong(byCount.get(0)))
        == kexecs(memory, tree.applyAsLong(byCount.get(1)))) {
      throw new IllegalStateException(
          "several state trees are in this memory, and nothing says which is the latest: "
              + String.join(
                  ", ",
                  found.stream().map(each -> "0x%x".formatted(tree.applyAsLong(each))).toList())
              + "; name one");
    }
    return byCount.getFirst();
  }

  /** How many kernels went before, by a tree's metadata; -1 if it has none. */
  private static long kexecs(PhysicalMemory memory, long address) {
    return tree(memory, address)
        .flatMap(each -> each.root().child(KexecMetadata.NAME))
        .flatMap(each -> each.property("preserved-data"))
        .map(FdtProperty::bytes)
        .filter(each -> each.length == 8)
        .map(each -> MemorySegment.ofArray(each).get(U64, 0))
        .filter(each -> memory.contains(each, KexecMetadata.SIZE))
        .map(each -> KexecMetadata.count(memory.at(each, KexecMetadata.SIZE)))
        .orElse(-1L);
  }

  private static Optional<List<MemoryRange>> scratch(PhysicalMemory memory, KhoData data) {
    Set<List<MemoryRange>> found = new LinkedHashSet<>();
    search(
        memory,
        data.table | DESTINATION,
        (bytes, at, _) -> {
          long next = bytes.get(U64, at + 8);
          if ((next & (PAGE - 1)) == INDIRECTION && memory.contains(next & -PAGE, PAGE)) {
            next = memory.at(next & -PAGE, 8).get(U64, 0);
          }
          if ((next & (PAGE - 1)) == SOURCE) {
            table(memory, next & -PAGE, data.tableSize).ifPresent(found::add);
          }
        });
    // A kernel that has only just booted has it where it was told.
    Optional<List<MemoryRange>> there = table(memory, data.table, data.tableSize);
    return found.size() == 1
        ? Optional.of(found.iterator().next())
        : found.isEmpty() ? there : Optional.empty();
  }

  /** A table of scratch areas, if it can be one. */
  private static Optional<List<MemoryRange>> table(PhysicalMemory memory, long address, long size) {
    // What is longer than a page is in several that need not follow one another.
    if (size > PAGE || !memory.contains(address, size)) {
      return Optional.empty();
    }
    MemorySegment bytes = memory.at(address, size);
    List<MemoryRange> areas = new ArrayList<>();
    for (long at = 0; at < size; at += 16) {
      long start = bytes.get(U64, at);
      long length = bytes.get(U64, at + 8);
      if (length == 0) {
        // The kernel keeps a place for each kind of area, needed or not.
        continue;
      }
      if (((start | length) & (PAGE - 1)) != 0 || !memory.contains(start, length)) {
        return Optional.empty();
      }
      MemoryRange area = new MemoryRange(start, length);
      if (areas.stream().anyMatch(area::overlaps)) {
        return Optional.empty();
      }
      areas.add(area);
    }
    return areas.isEmpty() ? Optional.empty() : Optional.of(areas);
  }
}
