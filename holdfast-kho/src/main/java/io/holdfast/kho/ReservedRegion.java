package io.holdfast.kho;

import io.holdfast.kho.memory.MemoryRange;

/**
 * A region that the boot parameter {@code reserve_mem} reserved, and that the next kernel gets at
 * the same address.
 *
 * @param name as the parameter has it
 * @param range where it is
 */
public record ReservedRegion(String name, MemoryRange range) {
  /** The sub-tree's name. */
  public static final String SUB_TREE = "memblock";
}
