package io.holdfast.linux;

/**
 * Two connected sockets.
 *
 * @param left one end, owned by whoever holds the pair
 * @param right the other end, likewise
 */
public record FdPair(Fd left, Fd right) implements AutoCloseable {
  /** Closes both ends that are still open here. */
  @Override
  public void close() {
    left.close();
    right.close();
  }
}
