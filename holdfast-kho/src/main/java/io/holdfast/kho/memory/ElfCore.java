package io.holdfast.kho.memory;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/**
 * A memory dump as an ELF core file: what QEMU's {@code dump-guest-memory} writes, kdump's {@code
 * /proc/vmcore}, {@code makedumpfile -E}. Its PT_LOAD segments say which physical memory is where.
 *
 * <p>The file is mapped, not read: what is not looked at costs nothing. May be read by several
 * threads.
 */
public final class ElfCore implements PhysicalMemory, AutoCloseable {
  private final Arena arena;
  private final List<Part> parts;
  private final List<MemoryRange> ranges;

  private record Part(MemoryRange range, MemorySegment bytes) {}

  private ElfCore(Arena arena, List<Part> parts) {
    this.arena = arena;
    this.parts = parts;
    this.ranges = MemoryRange.merged(parts.stream().map(Part::range).toList());
  }

  /**
   * Opens a dump to read it.
   *
   * @throws MemoryException if there is no such file, it is no ELF core of an x86-64 machine, or it
   *     is cut off
   */
  public static ElfCore open(Path file) {
    return open(file, FileChannel.MapMode.READ_ONLY, StandardOpenOption.READ);
  }

  /**
   * Opens a dump as a copy that can be written: what is written is seen through this object only,
   * and never comes into the file.
   *
   * @throws MemoryException as {@link #open}, or if the file may not be written
   */
  public static ElfCore openCopy(Path file) {
    return open(
        file, FileChannel.MapMode.PRIVATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
  }

  @SuppressWarnings("MustBeClosedChecker") // whoever opens a core closes it, and the arena with it
  private static ElfCore open(Path file, FileChannel.MapMode mode, StandardOpenOption... options) {
    if (Files.isDirectory(file)) {
      throw new MemoryException(file + " is a folder, not a core file");
    }
    Arena arena = Arena.ofShared();
    boolean opened = false;
    try (FileChannel channel = FileChannel.open(file, options)) {
      long size = channel.size();
      MemorySegment all =
          size == 0 ? MemorySegment.ofArray(new byte[0]) : channel.map(mode, 0, size, arena);
      ElfCore core = new ElfCore(arena, parts(file.toString(), all));
      opened = true;
      return core;
    } catch (NoSuchFileException e) {
      throw new MemoryException("there is no file " + file, e);
    } catch (FileSystemException e) {
      throw new MemoryException(
          "%s can't be opened: %s"
              .formatted(file, e.getReason() == null ? e.getMessage() : e.getReason()),
          e);
    } catch (IOException e) {
      throw new MemoryException("%s can't be read: %s".formatted(file, e.getMessage()), e);
    } finally {
      if (!opened) {
        arena.close();
      }
    }
  }

  private static List<Part> parts(String name, MemorySegment all) {
    ElfHeader.Source source =
        new ElfHeader.Source() {
          @Override
          public MemorySegment read(long offset, long size) {
            long from = Math.min(offset, all.byteSize());
            return all.asSlice(from, Math.min(size, all.byteSize() - from));
          }

          @Override
          public long size() {
            return all.byteSize();
          }
        };
    List<Part> parts = new ArrayList<>();
    for (ElfHeader.Segment each : ElfHeader.read(name, source).loads()) {
      if (each.inFile() == 0) {
        // The memory was there, and was left out of the dump.
        continue;
      }
      long size = Math.min(each.inFile(), each.inMemory());
      if (each.offset() < 0 || size < 1 || size > all.byteSize() - each.offset()) {
        throw new MemoryException(
            "%s is cut off: %d bytes of memory at 0x%x would be at %d in the file, which has %d bytes"
                .formatted(name, each.inFile(), each.physical(), each.offset(), all.byteSize()));
      }
      MemoryRange range;
      try {
        range = new MemoryRange(each.physical(), size);
      } catch (IllegalArgumentException e) {
        throw new MemoryException(name + " is damaged: " + e.getMessage(), e);
      }
      parts.add(new Part(range, all.asSlice(each.offset(), size)));
    }
    parts.sort(Comparator.comparingLong(each -> each.range().address()));
    for (int i = 1; i < parts.size(); i++) {
      if (parts.get(i - 1).range().overlaps(parts.get(i).range())) {
        throw new MemoryException(
            "%s is damaged: it has %s and %s"
                .formatted(name, parts.get(i - 1).range(), parts.get(i).range()));
      }
    }
    if (parts.isEmpty()) {
      throw new MemoryException(name + " has no memory in it: it has no PT_LOAD segment");
    }
    return List.copyOf(parts);
  }

  @Override
  public List<MemoryRange> ranges() {
    return ranges;
  }

  @Override
  public MemorySegment at(long address, long size) {
    if (size < 1 || !contains(address, size)) {
      throw MemoryException.absent(address, size);
    }
    Part part = part(address);
    if (part.range().contains(address, size)) {
      return part.bytes().asSlice(address - part.range().address(), size);
    }
    // Over the seam between two parts: the only case in which bytes are copied.
    if (size > Integer.MAX_VALUE) {
      throw new MemoryException("%d bytes at 0x%x are in several parts".formatted(size, address));
    }
    MemorySegment copy = MemorySegment.ofArray(new byte[(int) size]);
    for (long done = 0; done < size; ) {
      Part from = part(address + done);
      long some = Math.min(size - done, from.range().end() - address - done);
      MemorySegment.copy(from.bytes(), address + done - from.range().address(), copy, done, some);
      done += some;
    }
    return copy;
  }

  private Part part(long address) {
    int low = 0;
    int high = parts.size() - 1;
    while (low < high) {
      int middle = (low + high + 1) >>> 1;
      if (parts.get(middle).range().address() <= address) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return parts.get(low);
  }

  /** Unmaps the file; what {@link #at} gave can't be read any more. */
  @Override
  public void close() {
    arena.close();
  }
}
