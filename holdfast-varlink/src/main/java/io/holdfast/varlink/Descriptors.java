package io.holdfast.varlink;

import io.holdfast.linux.Fd;
import java.util.ArrayList;
import java.util.List;

/**
 * The descriptors that came with one message, in the order in which its parameters number them,
 * from 0. Owned by this object until {@link #take}n, and closed with it. For one thread.
 */
public final class Descriptors implements AutoCloseable {
  private final List<Fd> all;
  private final boolean[] taken;

  /** Takes ownership. */
  Descriptors(List<Fd> owned) {
    this.all = new ArrayList<>(owned);
    this.taken = new boolean[owned.size()];
  }

  /** How many came, taken or not. */
  public int size() {
    return all.size();
  }

  /** Whether there is a descriptor of this index that was not taken. */
  public boolean has(long index) {
    return index >= 0 && index < all.size() && !taken[(int) index];
  }

  /**
   * A descriptor, which stays this object's.
   *
   * @throws IndexOutOfBoundsException if none came with this index
   * @throws IllegalStateException if it was taken
   */
  public Fd borrow(int index) {
    Fd fd = all.get(index);
    if (taken[index]) {
      throw new IllegalStateException("descriptor " + index + " of the message was taken already");
    }
    return fd;
  }

  /**
   * A descriptor, from now on the caller's to close.
   *
   * @throws IndexOutOfBoundsException if none came with this index
   * @throws IllegalStateException if it was taken already
   */
  public Fd take(int index) {
    Fd fd = borrow(index);
    taken[index] = true;
    return fd;
  }

  /** Closes those that were not taken. */
  @Override
  public void close() {
    for (int i = 0; i < taken.length; i++) {
      if (!taken[i]) {
        all.get(i).close();
      }
    }
  }
}
