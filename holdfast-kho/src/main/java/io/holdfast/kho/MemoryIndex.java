package io.holdfast.kho;

import io.holdfast.kho.memory.MemoryRange;
import java.util.List;

/** Answers quickly whether a range is in one of some, which are sorted and apart. */
final class MemoryIndex {
  private final MemoryRange[] ranges;
  private int last;

  MemoryIndex(List<MemoryRange> ranges) {
    this.ranges = ranges.toArray(MemoryRange[]::new);
  }

  boolean contains(long address, long size) {
    if (ranges.length == 0 || size < 1) {
      return false;
    }
    if (ranges[last].contains(address, size)) {
      return true;
    }
    for (int i = 0; i < ranges.length; i++) {
      if (ranges[i].contains(address, size)) {
        last = i;
        return true;
      }
    }
    return false;
  }
}
