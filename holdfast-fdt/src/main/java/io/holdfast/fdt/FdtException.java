package io.holdfast.fdt;

import java.util.OptionalLong;

/** A device tree is not what it should be. */
public final class FdtException extends RuntimeException {
  private static final long serialVersionUID = 1;

  private final long offset;

  FdtException(long offset, String message) {
    super("at offset %d (0x%x) of the device tree: %s".formatted(offset, offset, message));
    this.offset = offset;
  }

  FdtException(String message) {
    super(message);
    this.offset = -1;
  }

  /** Where in the blob, in bytes from its start; empty for a tree that is not in a blob. */
  public OptionalLong offset() {
    return offset < 0 ? OptionalLong.empty() : OptionalLong.of(offset);
  }
}
