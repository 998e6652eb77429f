package io.holdfast.core.box;

import io.holdfast.linux.Fd;

/**
 * A box on its way to the next kernel. The agent of that kernel has what is put into it in its
 * descriptor store, under the same label.
 */
public interface CrossingBox {
  /** The label under which a VM's record crosses. */
  String RECORD = "record";

  /**
   * Puts a descriptor in; from now on its size and its pages are fixed, its contents are not.
   *
   * @param label unique in the box; printable, without a slash
   * @param fd borrowed; the box keeps a duplicate until it crosses or is undone
   * @throws io.holdfast.linux.SystemCallException if the kernel can't preserve it
   */
  void put(String label, Fd fd);

  /** Takes everything out again. Idempotent. */
  void undo();
}
