package io.holdfast.fdt;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * A flattened device tree, read where it lies.
 *
 * <p>{@link #of} checks all of it, so that no walk can fail; only {@link #tree} asks for more. What
 * it checks is what the specification asks for: the header, that its blocks are aligned, lie in the
 * blob and do not overlap, every token, nesting, name and value. Beyond that it refuses a depth of
 * more than {@value #MAX_DEPTH} nodes, which only a hostile blob has.
 *
 * <pre>{@code
 * FdtBlob blob = FdtBlob.of(segment);
 * System.out.print(FdtSource.print(blob.tree()));
 * }</pre>
 */
public final class FdtBlob {
  /** How deep nodes may be nested; the root is 1 deep. */
  public static final int MAX_DEPTH = 512;

  static final int MAGIC = 0xd00dfeed;
  static final int VERSION = 17;

  /** The oldest version whose readers understand what is written in version 17. */
  static final int COMPATIBLE = 16;

  static final int HEADER = 40;
  static final int BEGIN_NODE = 1;
  static final int END_NODE = 2;
  static final int PROPERTY = 3;
  static final int NOP = 4;
  static final int END = 9;

  private final MemorySegment bytes;

  /**
   * The same bytes, in the format's order, which is a buffer's own. A segment's accessors need a
   * machinery to be set up, for which guests would wait that came over a kexec.
   */
  private final ByteBuffer data;

  private final long structure;
  private final long structureEnd;
  private final long strings;
  private final long stringsEnd;
  private final long reservations;
  private final long reservationsEnd;

  private FdtBlob(MemorySegment given) {
    if (given.byteSize() < HEADER) {
      throw new FdtException(
          0, "a header takes " + HEADER + " bytes, there are " + given.byteSize());
    }
    ByteBuffer header = given.asSlice(0, HEADER).asByteBuffer();
    if (header.getInt(0) != MAGIC) {
      throw new FdtException(
          0, "0x%08x is not a device tree's magic number, 0xd00dfeed".formatted(header.getInt(0)));
    }
    long size = Integer.toUnsignedLong(header.getInt(4));
    if (size < HEADER || size > given.byteSize()) {
      throw new FdtException(
          4, "a total size of " + size + " bytes, where there are " + given.byteSize());
    }
    if (size > Integer.MAX_VALUE) {
      // Then every length in it is an int.
      throw new FdtException(4, size + " bytes are more than 2 GiB, and no device tree");
    }
    this.bytes = given.asSlice(0, size).asReadOnly();
    this.data = bytes.asByteBuffer();
    if (u32(20) < VERSION || u32(24) > VERSION) {
      throw new FdtException(
          20,
          "version %d, compatible with %d: only what is compatible with version 17 can be read"
              .formatted(u32(20), u32(24)));
    }
    this.structure = u32(8);
    this.structureEnd = block(8, 4, u32(36), "structure block");
    this.strings = u32(12);
    this.stringsEnd = block(12, 1, u32(32), "strings block");
    this.reservations = u32(16);
    this.reservationsEnd = checkReservations();
    apart(8, structure, structureEnd, strings, stringsEnd, "structure and strings block");
    apart(
        16,
        reservations,
        reservationsEnd,
        structure,
        structureEnd,
        "memory reservation and structure block");
    apart(
        16,
        reservations,
        reservationsEnd,
        strings,
        stringsEnd,
        "memory reservation and strings block");
  }

  /**
   * Checks a blob.
   *
   * @param bytes where it begins; it may end before the segment does. It stays the caller's, must
   *     outlive what is returned, and must not change meanwhile: memory that others write has to be
   *     copied first
   * @throws FdtException whatever is wrong with it
   */
  public static FdtBlob of(MemorySegment bytes) {
    FdtBlob blob = new FdtBlob(bytes);
    blob.checkStructure();
    return blob;
  }

  private long u32(long at) {
    return Integer.toUnsignedLong(word(at));
  }

  /** All of it is less than 2 GiB. */
  private int word(long at) {
    return data.getInt((int) at);
  }

  /** Checks a block's place; returns its end. */
  private long block(long field, int alignment, long size, String what) {
    long at = u32(field);
    if (at % alignment != 0) {
      throw new FdtException(
          field, "the %s at %d is not %d-aligned".formatted(what, at, alignment));
    }
    if (at < HEADER || at + size > bytes.byteSize()) {
      throw new FdtException(
          field,
          "the %s, %d to %d, is not between header and end, %d to %d"
              .formatted(what, at, at + size, HEADER, bytes.byteSize()));
    }
    return at + size;
  }

  private static void apart(
      long field, long from, long to, long otherFrom, long otherTo, String what) {
    if (from < otherTo && otherFrom < to) {
      throw new FdtException(
          field,
          "%s overlap: %d to %d, and %d to %d".formatted(what, from, to, otherFrom, otherTo));
    }
  }

  private long checkReservations() {
    long at = block(16, 8, 16, "memory reservation block") - 16;
    while (at + 16 <= bytes.byteSize()) {
      boolean last = data.getLong((int) at) == 0 && data.getLong((int) (at + 8)) == 0;
      at += 16;
      if (last) {
        return at;
      }
    }
    throw new FdtException(reservations, "the memory reservation block has no end");
  }

  private void checkStructure() {
    if (structureEnd - structure < 4) {
      throw new FdtException(36, "the structure block is empty");
    }
    int depth = 0;
    boolean children = false;
    boolean rootSeen = false;
    long at = structure;
    while (true) {
      if (structureEnd - at < 4) {
        throw new FdtException(at, "the structure block ends without FDT_END");
      }
      int token = word(at);
      switch (token) {
        case BEGIN_NODE -> {
          if (depth == 0 && rootSeen) {
            throw new FdtException(at, "a second root");
          }
          if (depth == MAX_DEPTH) {
            throw new FdtException(at, "nodes are more than " + MAX_DEPTH + " deep");
          }
          int length = checkedName(at + 4, structureEnd, false, at);
          if ((length == 0) != (depth == 0)) {
            throw new FdtException(
                at + 4, depth == 0 ? "the root has a name" : "a node has no name");
          }
          depth++;
          rootSeen = true;
          children = false;
          at = aligned(at + 4 + length + 1);
        }
        case END_NODE -> {
          if (depth == 0) {
            throw new FdtException(at, "a node ends that did not begin");
          }
          depth--;
          children = true;
          at += 4;
        }
        case PROPERTY -> {
          if (depth == 0) {
            throw new FdtException(at, "a property outside of the root");
          }
          if (children) {
            throw new FdtException(at, "a property behind a child of its node");
          }
          if (structureEnd - at < 12) {
            throw new FdtException(at, "a property is cut off by the structure block's end");
          }
          long length = u32(at + 4);
          if (length > structureEnd - at - 12) {
            throw new FdtException(
                at + 4, "a value of " + length + " bytes reaches beyond the structure block");
          }
          long name = u32(at + 8);
          if (name >= stringsEnd - strings) {
            throw new FdtException(
                at + 8,
                "a name at %d of a strings block of %d bytes"
                    .formatted(name, stringsEnd - strings));
          }
          if (checkedName(strings + name, stringsEnd, true, at + 8) == 0) {
            throw new FdtException(at + 8, "a property has no name");
          }
          at = aligned(at + 12 + length);
        }
        case NOP -> at += 4;
        case END -> {
          if (depth != 0 || !rootSeen) {
            throw new FdtException(
                at, rootSeen ? depth + " nodes do not end" : "the structure block has no root");
          }
          if (at + 4 != structureEnd) {
            throw new FdtException(
                at, (structureEnd - at - 4) + " bytes of the structure block are behind FDT_END");
          }
          return;
        }
        default -> throw new FdtException(at, "0x%08x is no token".formatted(token));
      }
      if (at > structureEnd) {
        throw new FdtException(structureEnd, "the structure block ends within a token");
      }
    }
  }

  /** Checks a name; returns its length. */
  private int checkedName(long at, long end, boolean property, long token) {
    long next = at;
    while (true) {
      if (next >= end) {
        throw new FdtException(token, "a name, at " + at + ", has no end");
      }
      byte each = data.get((int) next);
      if (each == 0) {
        return (int) (next - at);
      }
      // Names are printed, compared and become file names: what the specification does not allow
      // but others write, such as a longer name or an exclamation mark, does no harm. These would.
      if (each <= ' ' || each == 0x7f || (each == '/' && !property)) {
        throw new FdtException(next, "a name has the byte 0x%02x".formatted(each));
      }
      next++;
    }
  }

  private static long aligned(long at) {
    return (at + 3) & ~3L;
  }

  private int length(long name) {
    long end = name;
    while (data.get((int) end) != 0) {
      end++;
    }
    return (int) (end - name);
  }

  /** Walks through all nodes and properties. */
  public void visit(FdtVisitor visitor) {
    long at = structure;
    while (true) {
      switch (word(at)) {
        case BEGIN_NODE -> {
          int length = length(at + 4);
          visitor.beginNode(at + 4, length);
          at = aligned(at + 4 + length + 1);
        }
        case END_NODE -> {
          visitor.endNode();
          at += 4;
        }
        case PROPERTY -> {
          int length = word(at + 4);
          long name = strings + u32(at + 8);
          visitor.property(name, length(name), at + 12, length);
          at = aligned(at + 12 + length);
        }
        case NOP -> at += 4;
        default -> {
          return;
        }
      }
    }
  }

  /** How many bytes the blob has, its header's total size. */
  public long size() {
    return bytes.byteSize();
  }

  /** The number of the processor that boots. */
  public int bootProcessor() {
    return word(28);
  }

  /** The memory reservation block, without the entry that ends it. */
  public List<FdtReservation> reservations() {
    List<FdtReservation> all = new ArrayList<>();
    for (long at = reservations; at < reservationsEnd - 16; at += 16) {
      all.add(new FdtReservation(data.getLong((int) at), data.getLong((int) (at + 8))));
    }
    return all;
  }

  /**
   * A part of the blob, read only and in place.
   *
   * @throws IndexOutOfBoundsException if it is not within the blob
   */
  public MemorySegment bytes(long at, long length) {
    return bytes.asSlice(at, length);
  }

  /**
   * A name.
   *
   * @throws IndexOutOfBoundsException if it is not within the blob
   */
  public String text(long at, int length) {
    return new String(copy(at, length), StandardCharsets.US_ASCII);
  }

  private byte[] copy(long at, int length) {
    long checked = Objects.checkFromIndexSize(at, length, bytes.byteSize());
    byte[] copy = new byte[length];
    data.get((int) checked, copy);
    return copy;
  }

  /**
   * Copies the tree out of the blob.
   *
   * @throws FdtException if a node has two properties, or two children, of one name
   */
  public FdtTree tree() {
    List<FdtNode> open = new ArrayList<>();
    FdtNode[] root = new FdtNode[1];
    visit(
        new FdtVisitor() {
          @Override
          public void beginNode(long nameAt, int nameLength) {
            FdtNode node;
            if (open.isEmpty()) {
              node = new FdtNode("");
              root[0] = node;
            } else {
              String name = text(nameAt, nameLength);
              if (open.getLast().child(name).isPresent()) {
                throw new FdtException(nameAt, "a second node " + name);
              }
              node = open.getLast().add(name);
            }
            open.add(node);
          }

          @Override
          public void property(long nameAt, int nameLength, long valueAt, int valueLength) {
            String name = text(nameAt, nameLength);
            if (open.getLast().property(name).isPresent()) {
              throw new FdtException(valueAt - 12, "a second property " + name);
            }
            var _ = open.getLast().set(name, copy(valueAt, valueLength));
          }

          @Override
          public void endNode() {
            var _ = open.removeLast();
          }
        });
    return new FdtTree(bootProcessor(), reservations(), root[0]);
  }
}
