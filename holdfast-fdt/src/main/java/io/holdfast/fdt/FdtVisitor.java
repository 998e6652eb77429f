package io.holdfast.fdt;

/**
 * Is told of a blob's nodes and properties in their order. Names and values are told by their place
 * in the blob, so that a walk copies nothing; {@link FdtBlob#text} and {@link FdtBlob#bytes} read
 * them.
 */
public interface FdtVisitor {
  /**
   * A node begins. Its properties follow, then its children, then its end.
   *
   * @param nameAt where its name is; the root's is empty
   * @param nameLength the name's length in bytes, without the NUL behind it
   */
  void beginNode(long nameAt, int nameLength);

  /**
   * A property of the node that began last.
   *
   * @param nameAt where its name is
   * @param nameLength the name's length in bytes, without the NUL behind it
   * @param valueAt where its value is; a multiple of four
   * @param valueLength the value's length in bytes
   */
  void property(long nameAt, int nameLength, long valueAt, int valueLength);

  /** The node that began last, and has not ended, ends. */
  void endNode();
}
