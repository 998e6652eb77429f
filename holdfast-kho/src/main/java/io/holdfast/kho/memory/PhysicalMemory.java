package io.holdfast.kho.memory;

import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * Physical memory that can be read.
 *
 * <pre>{@code
 * try (ElfCore core = ElfCore.open(Path.of("memory.elf"))) {
 *   long first = core.at(0x100000, 8).get(ValueLayout.JAVA_LONG, 0);
 * }
 * }</pre>
 */
public interface PhysicalMemory {
  /** What is there, in order of address; no range touches another. */
  List<MemoryRange> ranges();

  /**
   * So many bytes at an address: where they lie if that can be, else a copy of them. Who writes
   * into it may or may not change the memory.
   *
   * @param address a physical address
   * @param size bytes, at least 1
   * @throws MemoryException if not all of it is there, or it can't be read
   */
  MemorySegment at(long address, long size);

  /** Whether all of these bytes are there. Any numbers may be asked for. */
  default boolean contains(long address, long size) {
    return ranges().stream().anyMatch(each -> each.contains(address, size));
  }
}
