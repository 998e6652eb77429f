package io.holdfast.kho.memory;

/** Memory is not there, or can't be read; the message says where and why. */
public final class MemoryException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** With what was tried, on what, and why it failed. */
  public MemoryException(String message) {
    super(message);
  }

  /** With what the system said. */
  public MemoryException(String message, Throwable cause) {
    super(message, cause);
  }

  static MemoryException absent(long address, long size) {
    return new MemoryException(
        "no memory is at 0x%x to 0x%x".formatted(address, address + size - 1));
  }
}
