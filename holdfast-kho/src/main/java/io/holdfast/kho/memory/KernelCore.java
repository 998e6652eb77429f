package io.holdfast.kho.memory;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/**
 * The memory of the machine that this runs on, through {@code /proc/kcore} (proc_kcore(5)): an ELF
 * core whose segments of RAM carry their physical address. Root only, and not in every kernel
 * (CONFIG_PROC_KCORE).
 *
 * <p>What is read is a copy of a moment; others go on writing. May be read by several threads.
 */
public final class KernelCore implements PhysicalMemory, AutoCloseable {
  /** Where the kernel offers it. */
  public static final Path PROC_KCORE = Path.of("/proc/kcore");

  /** What a segment has that is no RAM, such as vmalloc's. */
  private static final long NO_ADDRESS = -1;

  private final FileChannel file;
  private final List<Part> parts;
  private final List<MemoryRange> ranges;

  private record Part(MemoryRange range, long offset) {}

  private KernelCore(FileChannel file, List<Part> parts) {
    this.file = file;
    this.parts = parts;
    this.ranges = MemoryRange.merged(parts.stream().map(Part::range).toList());
  }

  /**
   * Opens it.
   *
   * @param path {@link #PROC_KCORE}
   * @throws MemoryException if this kernel has none, it may not be read, or no RAM is in it
   */
  public static KernelCore open(Path path) {
    try {
      FileChannel file = FileChannel.open(path, StandardOpenOption.READ);
      try {
        return new KernelCore(file, parts(path.toString(), file));
      } catch (RuntimeException e) {
        file.close();
        throw e;
      }
    } catch (NoSuchFileException e) {
      throw new MemoryException(
          "there is no " + path + ": the kernel was built without CONFIG_PROC_KCORE", e);
    } catch (FileSystemException e) {
      throw new MemoryException(
          "%s can't be opened: %s; only root may read the machine's memory"
              .formatted(path, e.getReason() == null ? e.getMessage() : e.getReason()),
          e);
    } catch (IOException e) {
      throw new MemoryException("%s can't be read: %s".formatted(path, e.getMessage()), e);
    }
  }

  private static List<Part> parts(String name, FileChannel file) {
    ElfHeader.Source source =
        new ElfHeader.Source() {
          @Override
          public MemorySegment read(long offset, long size) {
            return KernelCore.read(name, file, offset, size);
          }

          @Override
          public long size() {
            // The file says 2^47 bytes or so; what is in it is said by the headers alone.
            return 1L << 20;
          }
        };
    List<Part> found = new ArrayList<>();
    for (ElfHeader.Segment each : ElfHeader.read(name, source).loads()) {
      if (each.physical() != NO_ADDRESS && each.inFile() > 0) {
        try {
          found.add(new Part(new MemoryRange(each.physical(), each.inFile()), each.offset()));
        } catch (IllegalArgumentException e) {
          // A segment of something that has no place in physical memory.
        }
      }
    }
    if (found.isEmpty()) {
      throw new MemoryException(name + " tells no physical address of any memory");
    }
    // The kernel's own text is in two segments: as RAM, and as text. The larger one wins.
    found.sort(
        Comparator.comparingLong((Part each) -> each.range().address())
            .thenComparingLong(each -> -each.range().size()));
    List<Part> parts = new ArrayList<>();
    long end = 0;
    for (Part each : found) {
      if (each.range().end() > end) {
        long skip = Math.max(0, end - each.range().address());
        parts.add(
            new Part(
                new MemoryRange(each.range().address() + skip, each.range().size() - skip),
                each.offset() + skip));
        end = each.range().end();
      }
    }
    return List.copyOf(parts);
  }

  private static MemorySegment read(String name, FileChannel file, long offset, long size) {
    if (size > Integer.MAX_VALUE) {
      throw new MemoryException(size + " bytes at once are too many");
    }
    ByteBuffer buffer = ByteBuffer.allocate((int) size);
    try {
      while (buffer.hasRemaining()) {
        if (file.read(buffer, offset + buffer.position()) < 0) {
          break;
        }
      }
    } catch (IOException e) {
      throw new MemoryException(
          "%s can't be read at %d: %s".formatted(name, offset, e.getMessage()), e);
    }
    return MemorySegment.ofArray(buffer.array()).asSlice(0, buffer.position());
  }

  @Override
  public List<MemoryRange> ranges() {
    return ranges;
  }

  @Override
  public MemorySegment at(long address, long size) {
    for (Part each : parts) {
      if (size > 0 && each.range().contains(address, size)) {
        MemorySegment bytes =
            read("/proc/kcore", file, each.offset() + address - each.range().address(), size);
        if (bytes.byteSize() == size) {
          return bytes;
        }
      }
    }
    throw MemoryException.absent(address, size);
  }

  @Override
  public boolean contains(long address, long size) {
    return parts.stream().anyMatch(each -> each.range().contains(address, size));
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
