package io.holdfast.kho.memory;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * What an ELF core file says of itself: ELF-64, little endian, x86-64, as the System V ABI and
 * elf(5) describe it.
 *
 * @param loads its PT_LOAD segments, in the file's order
 * @param notes its PT_NOTE segments, in the file's order
 */
record ElfHeader(List<Segment> loads, List<Segment> notes) {
  /** A file's header, without program headers. */
  static final int SIZE = 64;

  private static final int PROGRAM_HEADER = 56;
  private static final int SECTION_HEADER = 64;
  private static final int CORE = 4;
  private static final int X86_64 = 62;
  private static final int LOAD = 1;
  private static final int NOTE = 4;

  /** In place of the number of program headers: it is in section header 0. */
  private static final int MANY = 0xffff;

  private static final ValueLayout.OfShort U16 =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong U64 =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /**
   * A program header.
   *
   * @param offset where its bytes are in the file
   * @param virtual p_vaddr
   * @param physical p_paddr
   * @param inFile how many bytes the file has
   * @param inMemory how many the memory has
   */
  record Segment(long offset, long virtual, long physical, long inFile, long inMemory) {}

  /** Reads parts of the file. */
  interface Source {
    /** So many bytes from the file's start on; fewer only at its end. */
    MemorySegment read(long offset, long size);

    /** The file's size, or {@link Long#MAX_VALUE} if it has none to rely on. */
    long size();
  }

  /**
   * Reads headers.
   *
   * @param name the file, for messages
   * @throws MemoryException if it is not such a file, with what it is if that can be seen
   */
  static ElfHeader read(String name, Source file) {
    MemorySegment head = file.read(0, SIZE);
    refuseOthers(name, head);
    if (head.byteSize() < SIZE) {
      throw new MemoryException(name + " is no core file: it has " + head.byteSize() + " bytes");
    }
    if (head.get(ValueLayout.JAVA_BYTE, 4) != 2 || head.get(ValueLayout.JAVA_BYTE, 5) != 1) {
      throw new MemoryException(name + " is an ELF file, but not a 64-bit little-endian one");
    }
    int type = Short.toUnsignedInt(head.get(U16, 16));
    if (type != CORE) {
      throw new MemoryException(
          name + " is an ELF file, but no core: its type is " + type + ", a core's is " + CORE);
    }
    int machine = Short.toUnsignedInt(head.get(U16, 18));
    if (machine != X86_64) {
      throw new MemoryException(
          "%s is of machine %d; only x86-64, machine %d, can be read"
              .formatted(name, machine, X86_64));
    }
    long headers = head.get(U64, 32);
    int size = Short.toUnsignedInt(head.get(U16, 54));
    long count = Short.toUnsignedLong(head.get(U16, 56));
    if (size != PROGRAM_HEADER) {
      throw new MemoryException(
          "%s is damaged: a program header of %d bytes, not %d"
              .formatted(name, size, PROGRAM_HEADER));
    }
    if (count == MANY) {
      MemorySegment section = part(name, file, head.get(U64, 40), SECTION_HEADER);
      count = Integer.toUnsignedLong(section.get(U32, 44));
    }
    // The file's size is the one thing that nobody wrote into it.
    if (headers < 0 || headers > file.size() || count > (file.size() - headers) / size) {
      throw new MemoryException(
          "%s is damaged or cut off: %d program headers at %d, in %d bytes"
              .formatted(name, count, headers, file.size()));
    }
    MemorySegment table = part(name, file, headers, Math.max(1, count * size));
    List<Segment> loads = new ArrayList<>();
    List<Segment> notes = new ArrayList<>();
    for (long at = 0; at < count * size; at += size) {
      Segment segment =
          new Segment(
              table.get(U64, at + 8),
              table.get(U64, at + 16),
              table.get(U64, at + 24),
              table.get(U64, at + 32),
              table.get(U64, at + 40));
      switch (table.get(U32, at)) {
        case LOAD -> loads.add(segment);
        case NOTE -> notes.add(segment);
        default -> {
          // Others say nothing about memory.
        }
      }
    }
    return new ElfHeader(List.copyOf(loads), List.copyOf(notes));
  }

  private static void refuseOthers(String name, MemorySegment head) {
    byte[] bytes = head.asSlice(0, Math.min(8, head.byteSize())).toArray(ValueLayout.JAVA_BYTE);
    String magic = new String(bytes, StandardCharsets.ISO_8859_1);
    if (magic.startsWith("\u007fELF")) {
      return;
    }
    if (magic.startsWith("KDUMP") || magic.startsWith("DISKDUMP")) {
      throw new MemoryException(
          name
              + " is a kdump-compressed dump: write an ELF core instead, with dump-guest-memory"
              + " without -z, -l and -s, or makedumpfile -E");
    }
    throw new MemoryException(name + " is no core file: it does not begin with ELF's magic number");
  }

  private static MemorySegment part(String name, Source file, long offset, long size) {
    MemorySegment read = offset < 0 ? MemorySegment.ofArray(new byte[0]) : file.read(offset, size);
    if (read.byteSize() < size) {
      throw new MemoryException(
          "%s is cut off: %d bytes at %d are not there".formatted(name, size, offset));
    }
    return read;
  }
}
