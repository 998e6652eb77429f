package io.holdfast.kho.build;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.kho.Defect.Rule;
import io.holdfast.kho.Handover;
import io.holdfast.kho.KexecMetadata;
import io.holdfast.kho.LuoState;
import io.holdfast.kho.PreservedBlock;
import io.holdfast.kho.RadixTree;
import io.holdfast.kho.StateTree;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.kho.memory.PhysicalMemory;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import java.util.function.Function;
import java.util.function.LongUnaryOperator;
import java.util.stream.LongStream;

/**
 * Ways in which a handover can be broken, to try those who read one: Holdfast's own check, a
 * kernel, other tools. Each changes a few bytes of what was written.
 */
public enum Damage {
  /** The state tree's magic number. */
  TREE_MAGIC(Rule.NO_TREE),
  /** A version of the whole that nobody has. */
  KHO_VERSION(Rule.UNKNOWN_VERSION),
  /** The pointer to the map, off a page's beginning. */
  MAP_UNALIGNED(Rule.UNALIGNED),
  /** The pointer to the map, to where no memory is. */
  MAP_OUTSIDE(Rule.OUTSIDE_MEMORY),
  /** A pointer between the map's nodes, off a page's beginning. */
  NODE_UNALIGNED(Rule.UNALIGNED),
  /** A pointer between the map's nodes, to where no memory is. */
  NODE_OUTSIDE(Rule.OUTSIDE_MEMORY),
  /** A pointer between the map's nodes, back to its root. */
  NODE_CYCLE(Rule.NODE_TWICE),
  /** A pointer between the map's nodes, to a page that is preserved. */
  NODE_PRESERVED(Rule.NODE_PRESERVED),
  /** Keys with a bit above the highest that an order has. */
  KEY(Rule.KEY),
  /** A page within a larger block, preserved once more. */
  PAGE_TWICE(Rule.PAGE_TWICE),
  /** A page of scratch, preserved. */
  PAGE_IN_SCRATCH(Rule.PAGE_IN_SCRATCH),
  /** A page that the machine does not have, preserved. */
  PAGE_OUTSIDE(Rule.PAGE_OUTSIDE_MEMORY),
  /** The state tree, not preserved. */
  TREE_NOT_PRESERVED(Rule.NOT_PRESERVED),
  /** A folio of a memfd, not preserved. */
  FOLIO_NOT_PRESERVED(Rule.NOT_PRESERVED),
  /** A sub-tree's address, where no memory is. */
  SUB_TREE_OUTSIDE(Rule.OUTSIDE_MEMORY),
  /** A version of the orchestrator's state that nobody has. */
  LUO_VERSION(Rule.UNKNOWN_VERSION),
  /** The orchestrator's state, too short for what is in it. */
  LUO_TOO_SHORT(Rule.TOO_SHORT),
  /** The pointer to the first session, off a page's beginning. */
  SESSIONS_UNALIGNED(Rule.UNALIGNED),
  /** A list of sessions that never ends. */
  SESSIONS_CYCLE(Rule.CYCLE),
  /** More sessions in a block than fit. */
  SESSIONS_COUNT(Rule.COUNT),
  /** A block of no sessions. */
  SESSIONS_NONE(Rule.COUNT),
  /** A session's number of files that is not the length of its list. */
  FILES_COUNT(Rule.COUNT),
  /** A session's name that does not end. */
  SESSION_NAME(Rule.NAME),
  /** Two sessions of one name. */
  SESSION_TWICE(Rule.NAME_TWICE),
  /** Two files of one token. */
  TOKEN_TWICE(Rule.NAME_TWICE),
  /** A version of memfds that nobody has. */
  MEMFD_VERSION(Rule.UNKNOWN_VERSION),
  /** A memfd's description where no memory is. */
  MEMFD_OUTSIDE(Rule.OUTSIDE_MEMORY),
  /** A position before the file's beginning. */
  MEMFD_POSITION(Rule.VALUE),
  /** A memfd that is larger than its folios. */
  MEMFD_SIZE(Rule.FOLIO_PLACE),
  /** Seals that nobody has. */
  MEMFD_SEALS(Rule.FLAGS),
  /** Flags that nobody has. */
  MEMFD_FLAGS(Rule.FLAGS),
  /** More folios than the file has pages. */
  FOLIOS_COUNT(Rule.COUNT),
  /** The list of folios, with a chunk that is its own successor. */
  CHUNK_CYCLE(Rule.CYCLE),
  /** The list of folios, with more pages promised than there are. */
  CHUNK_COUNT(Rule.COUNT),
  /** The list of folios, on pages of an absurd order. */
  CHUNK_ORDER(Rule.VALUE),
  /** The list of folios, on a page that the machine does not have. */
  CHUNK_OUTSIDE(Rule.OUTSIDE_MEMORY),
  /** A folio at another place of the file. */
  FOLIO_PLACE(Rule.FOLIO_PLACE),
  /** A folio with a flag that nobody has. */
  FOLIO_FLAGS(Rule.FLAGS),
  /** One page as two folios. */
  FOLIO_TWICE(Rule.CLAIMED_TWICE),
  /** More file-bound objects than fit. */
  OBJECTS_COUNT(Rule.COUNT),
  /** A version of the metadata that nobody has. */
  METADATA_VERSION(Rule.UNKNOWN_VERSION),
  /** A kernel's release that does not end. */
  METADATA_RELEASE(Rule.NAME);

  private static final ValueLayout.OfLong U64 =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final Rule rule;

  Damage(Rule rule) {
    this.rule = rule;
  }

  /** What a check has to find, whatever else it finds. */
  public Rule rule() {
    return rule;
  }

  /**
   * Breaks it.
   *
   * @param handover what is there, whole; it was read from the memory that is written
   * @return false, with nothing changed, if there is nothing to break in this way: no second
   *     session, for example
   */
  public boolean inflict(Handover handover) {
    try {
      return inflict(new Place(handover));
    } catch (Missing _) {
      return false;
    }
  }

  private boolean inflict(Place at) {
    return switch (this) {
      case TREE_MAGIC -> at.write(at.tree(), 0x12345678);
      case KHO_VERSION -> at.replaceInTree("kho-v4", "kho-v9");
      case MAP_UNALIGNED -> at.replaceInTree(at.map(), at.map() + 8);
      case MAP_OUTSIDE -> at.replaceInTree(at.map(), at.outside());
      case NODE_UNALIGNED -> at.change(at.leafPointer(), each -> each + 8);
      case NODE_OUTSIDE -> at.change(at.leafPointer(), _ -> at.outside());
      case NODE_CYCLE -> at.change(at.leafPointer(), _ -> at.map());
      case NODE_PRESERVED -> at.preserveNode();
      case KEY -> at.moveKeys();
      case PAGE_TWICE -> at.addTwice();
      case PAGE_IN_SCRATCH -> at.addInScratch();
      case PAGE_OUTSIDE -> at.addOutside();
      case TREE_NOT_PRESERVED -> at.drop(at.tree());
      case FOLIO_NOT_PRESERVED -> at.memfd(2).isPresent() && at.drop(at.folio(0));
      case SUB_TREE_OUTSIDE -> at.replaceInTree(at.luo(), at.outside());
      case LUO_VERSION -> at.text(at.luo(), "luo-v9");
      case LUO_TOO_SHORT -> at.replaceInTree(32, 24);
      case SESSIONS_UNALIGNED -> at.change(at.luo() + 16, each -> each + 1);
      case SESSIONS_CYCLE -> at.write(at.sessions(), at.sessions());
      case SESSIONS_COUNT -> at.write(at.sessions() + 8, 1000);
      case SESSIONS_NONE -> at.write(at.sessions() + 8, 0);
      case FILES_COUNT -> at.change(at.session(0) + 72, each -> each + 1);
      case SESSION_NAME -> at.text(at.session(0), "x".repeat(64));
      case SESSION_TWICE -> at.copy(at.session(0), at.session(1), 64);
      case TOKEN_TWICE -> at.copy(at.file(0) + 56, at.file(1) + 56, 8);
      case MEMFD_VERSION -> at.text(at.file(0), "memfd-v9");
      case MEMFD_OUTSIDE -> at.change(at.file(0) + 48, _ -> at.outside());
      case MEMFD_POSITION -> at.onMemfd(1, memfd -> at.write(memfd, -5));
      case MEMFD_SIZE -> at.onMemfd(1, memfd -> at.change(memfd + 8, each -> each + (1L << 40)));
      case MEMFD_SEALS -> at.onMemfd(1, memfd -> at.change(memfd + 16, each -> each | 0x80));
      case MEMFD_FLAGS -> at.onMemfd(1, memfd -> at.change(memfd + 16, each -> each | (1L << 40)));
      case FOLIOS_COUNT -> at.onMemfd(1, memfd -> at.write(memfd + 24, 1L << 30));
      case CHUNK_CYCLE ->
          at.onMemfd(1, memfd -> at.write(at.read(memfd + 32), at.read(memfd + 32)));
      case CHUNK_COUNT -> at.onMemfd(1, memfd -> at.change(memfd + 40, each -> each + 1));
      case CHUNK_ORDER -> at.onMemfd(1, memfd -> at.change(memfd + 40, each -> each | (60L << 48)));
      case CHUNK_OUTSIDE -> at.onMemfd(1, memfd -> at.write(at.read(memfd + 32) + 8, at.outside()));
      case FOLIO_PLACE -> at.onMemfd(2, _ -> at.change(at.folioEntry(1) + 8, each -> each + 1));
      case FOLIO_FLAGS ->
          at.onMemfd(2, _ -> at.change(at.folioEntry(0), each -> each | (1L << 57)));
      case FOLIO_TWICE -> at.onMemfd(2, _ -> at.copy(at.folioEntry(0), at.folioEntry(1), 8));
      case OBJECTS_COUNT -> at.write(at.read(at.luo() + 24) + 8, 64);
      case METADATA_VERSION -> at.change(at.metadata(), each -> (each & (-1L << 32)) | 7);
      case METADATA_RELEASE -> at.text(at.metadata() + 4, "r".repeat(65));
    };
  }

  /** What should be broken is not there. */
  private static final class Missing extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  /** Where things are. */
  private record Place(Handover handover) {
    PhysicalMemory memory() {
      return handover.memory();
    }

    long read(long address) {
      return memory().at(address, 8).get(U64, 0);
    }

    boolean write(long address, long value) {
      memory().at(address, 8).set(U64, 0, value);
      return true;
    }

    boolean change(long address, LongUnaryOperator change) {
      return write(address, change.applyAsLong(read(address)));
    }

    boolean copy(long from, long to, long size) {
      MemorySegment.copy(memory().at(from, size), 0, memory().at(to, size), 0, size);
      return true;
    }

    boolean text(long address, String text) {
      byte[] bytes = text.getBytes(StandardCharsets.US_ASCII);
      MemorySegment.copy(
          MemorySegment.ofArray(bytes), 0, memory().at(address, bytes.length), 0, bytes.length);
      return true;
    }

    /** The first page behind all memory. */
    long outside() {
      return (memory().ranges().getLast().end() + PAGE - 1) & -PAGE;
    }

    long tree() {
      return handover.state().address();
    }

    long map() {
      return handover.state().map();
    }

    boolean replaceInTree(String from, String to) {
      return replaceInTree(
          from.getBytes(StandardCharsets.US_ASCII), to.getBytes(StandardCharsets.US_ASCII));
    }

    boolean replaceInTree(long from, long to) {
      MemorySegment words = MemorySegment.ofArray(new byte[16]);
      words.set(U64, 0, from);
      words.set(U64, 8, to);
      return replaceInTree(
          words.asSlice(0, 8).toArray(ValueLayout.JAVA_BYTE),
          words.asSlice(8, 8).toArray(ValueLayout.JAVA_BYTE));
    }

    /** Replaces the first property's value that begins so. */
    private boolean replaceInTree(byte[] from, byte[] to) {
      MemorySegment tree = memory().at(tree(), handover.state().size());
      for (long at = 0; at + from.length <= tree.byteSize(); at += 4) {
        if (tree.asSlice(at, from.length).mismatch(MemorySegment.ofArray(from)) < 0) {
          MemorySegment.copy(MemorySegment.ofArray(to), 0, tree, at, to.length);
          return true;
        }
      }
      return false;
    }

    private long subTree(String name) {
      return handover.state().subTrees().stream()
          .filter(each -> each.name().equals(name))
          .mapToLong(StateTree.SubTree::address)
          .findFirst()
          .orElseThrow(Missing::new);
    }

    long luo() {
      return subTree(LuoState.SUB_TREE);
    }

    long metadata() {
      return subTree(KexecMetadata.NAME);
    }

    /** The block that the first session is in. */
    long sessions() {
      return present(read(luo() + 16));
    }

    private static long present(long pointer) {
      if (pointer == 0) {
        throw new Missing();
      }
      return pointer;
    }

    long session(int number) {
      if (read(sessions() + 8) <= number) {
        throw new Missing();
      }
      return sessions() + 16 + 80L * number;
    }

    /** A file of the first session that has so many, the first being 0. */
    long file(int number) {
      for (int i = 0; i < read(sessions() + 8); i++) {
        if (read(session(i) + 72) > Math.max(number, 1)) {
          return read(session(i) + 64) + 16 + 64L * number;
        }
      }
      throw new Missing();
    }

    /** The description of the first memfd in the first block with at least so many folios. */
    OptionalLong memfd(int folios) {
      for (int i = 0; i < read(sessions() + 8); i++) {
        long block = read(session(i) + 64);
        for (int j = 0; block != 0 && j < read(block + 8); j++) {
          long file = block + 16 + 64L * j;
          if (isMemfd(file) && read(read(file + 48) + 24) >= folios) {
            return OptionalLong.of(read(file + 48));
          }
        }
      }
      return OptionalLong.empty();
    }

    private boolean isMemfd(long file) {
      byte[] name = memory().at(file, 8).toArray(ValueLayout.JAVA_BYTE);
      return new String(name, StandardCharsets.US_ASCII).equals("memfd-v2");
    }

    boolean onMemfd(int folios, Function<Long, Boolean> breaking) {
      return breaking.apply(memfd(folios).orElseThrow(Missing::new));
    }

    /** The entry of a folio of the first memfd with two. */
    long folioEntry(int number) {
      long memfd = memfd(2).orElseThrow(Missing::new);
      return read(read(memfd + 32) + 8) + 16L * number;
    }

    long folio(int number) {
      return (read(folioEntry(number)) & ((1L << 52) - 1)) * PAGE;
    }

    // The map.

    private static long index(long key, int level) {
      return (key >>> (9 * (level - 1) + 15)) & 511;
    }

    /** Where the pointer to a key's leaf is, if there is a leaf. */
    private OptionalLong leafPointer(long key) {
      long node = map();
      for (int level = RadixTree.TOP; ; level--) {
        long pointer = node + 8 * index(key, level);
        if (read(pointer) == 0) {
          return OptionalLong.empty();
        }
        if (level == 1) {
          return OptionalLong.of(pointer);
        }
        node = read(pointer);
      }
    }

    /** The pointer to the leaf with the state tree in it. */
    long leafPointer() {
      return leafPointer(key(tree())).orElseThrow(Missing::new);
    }

    private long key(long address) {
      return new PreservedBlock(address, handover.map().orderAt(address).orElseThrow(Missing::new))
          .key();
    }

    private boolean flip(long key) {
      OptionalLong leaf = leafPointer(key);
      return leaf.isPresent()
          && change(
              read(leaf.getAsLong()) + (key & 32767) / 64 * 8, each -> each ^ (1L << (key & 63)));
    }

    boolean drop(long address) {
      return flip(key(address));
    }

    /**
     * Adds a node's own page to the map. Which node has a leaf to be added to depends on where the
     * kernel happened to allocate it, so each is tried.
     */
    boolean preserveNode() {
      return nodes(map(), RadixTree.TOP).anyMatch(each -> addWithin(new MemoryRange(each, PAGE)));
    }

    /** The nodes from one of this level downwards, itself included. */
    private LongStream nodes(long node, int level) {
      LongStream below =
          level == 0
              ? LongStream.empty()
              : LongStream.range(0, 512)
                  .map(index -> read(node + 8 * index))
                  .filter(child -> child != 0)
                  .flatMap(child -> nodes(child, level - 1));
      return LongStream.concat(LongStream.of(node), below);
    }

    /** Order 0's nodes, moved to where bit 53 of a key is set. */
    boolean moveKeys() {
      long from = map() + 8 * index(1L << 52, RadixTree.TOP);
      long to = map() + 8 * index(1L << 53, RadixTree.TOP);
      return read(from) != 0 && write(to, read(from)) && write(from, 0);
    }

    boolean addTwice() {
      List<PreservedBlock> large = new ArrayList<>();
      handover
          .map()
          .forEach(
              (address, order) -> {
                if (order > 0) {
                  large.add(new PreservedBlock(address, order));
                }
              });
      return large.stream().anyMatch(each -> flip(new PreservedBlock(each.address(), 0).key()));
    }

    boolean addInScratch() {
      for (MemoryRange area : handover.map().scratch()) {
        if (addWithin(area)) {
          return true;
        }
      }
      return false;
    }

    boolean addOutside() {
      long end = memory().ranges().getLast().end();
      for (int order = 0; order < 30; order++) {
        long address = (end + (PAGE * (1L << order)) - 1) & -(PAGE * (1L << order));
        if (flip(new PreservedBlock(address, order).key())) {
          return true;
        }
      }
      return false;
    }

    private boolean addWithin(MemoryRange area) {
      for (int order = 0; order < 30; order++) {
        long size = PAGE * (1L << order);
        for (long at = (area.address() + size - 1) & -size;
            area.contains(at, size);
            at += Math.max(size, (area.size() / 64) & -size)) {
          if (flip(new PreservedBlock(at, order).key())) {
            return true;
          }
        }
      }
      return false;
    }
  }
}
