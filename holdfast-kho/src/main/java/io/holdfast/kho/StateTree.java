package io.holdfast.kho;

import io.holdfast.fdt.FdtTree;
import java.util.List;

/**
 * The state tree: the flattened device tree at which a handover starts.
 *
 * @param format its version
 * @param address the physical address
 * @param size of the blob in bytes
 * @param tree its content; numbers in its properties are little-endian, unlike in other device
 *     trees
 * @param map the physical address of the preserved-memory map's root
 * @param subTrees what the parts of the kernel registered, in the tree's order
 */
public record StateTree(
    Format format, long address, long size, FdtTree tree, long map, List<SubTree> subTrees) {
  /** The property of the root that points to the map. */
  public static final String MAP = "preserved-memory-map";

  /** Copies the list. */
  public StateTree {
    subTrees = List.copyOf(subTrees);
  }

  /**
   * A blob that the state tree points to. It need not be a tree: its owner says what it is.
   *
   * @param name its node's name
   * @param address the physical address
   * @param size in bytes
   */
  public record SubTree(String name, long address, long size) {
    /** The property with the address. */
    public static final String ADDRESS = "preserved-data";

    /** The property with the size. */
    public static final String SIZE = "blob-size";
  }
}
