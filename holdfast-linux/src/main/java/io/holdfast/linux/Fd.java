package io.holdfast.linux;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * An owned file descriptor: exactly one owner, closed once, refused after it is closed.
 *
 * <p>Whoever holds the {@code Fd} owns the descriptor. A method that takes ownership says so in its contract; any other
 * method only borrows.
 *
 * <pre>{@code
 * try (Fd fd = linux.memfd("ram", 1L << 30)) {
 *   box.put("ram", fd.duplicate()); // the box owns the duplicate
 * }
 * }</pre>
 */
public final class Fd implements AutoCloseable {
  private static final int GONE = -1;

  private final Kernel kernel;
  private final AtomicInteger number;
  private final String what;

  private Fd(Kernel kernel, int number, String what) {
    this.kernel = kernel;
    this.number = new AtomicInteger(number);
    this.what = what;
  }

  /**
   * Takes ownership of an open descriptor.
   *
   * @param kernel what closes it
   * @param number the descriptor, 0 or more
   * @param what names it in errors, such as {@code memfd ram}
   * @throws IllegalArgumentException if {@code number} is negative
   */
  public static Fd own(Kernel kernel, int number, String what) {
    if (number < 0) {
      throw new IllegalArgumentException("not a descriptor: " + number + " (" + what + ")");
    }
    return new Fd(kernel, number, what);
  }

  /**
   * The descriptor's number, which stays this object's to close.
   *
   * @throws IllegalStateException if it was closed or released
   */
  public int number() {
    int n = number.get();
    if (n == GONE) {
      throw new IllegalStateException("descriptor used after it was closed or given away: " + what);
    }
    return n;
  }

  /** What this descriptor is, for people. */
  public String what() {
    return what;
  }

  /** Whether this object still owns a descriptor. */
  public boolean isOpen() {
    return number.get() != GONE;
  }

  /**
   * A second descriptor of the same open file, close-on-exec, owned by the caller.
   *
   * @throws SystemCallException EMFILE when the process has no descriptor left
   * @throws IllegalStateException if this one was closed
   */
  public Fd duplicate() {
    int copy = (int) SystemCallException.check(kernel.call(Call.FCNTL, number(), 1030, 0, 0, 0, 0), Call.FCNTL, what);
    return new Fd(kernel, copy, what);
  }

  /**
   * Gives ownership up without closing.
   *
   * @return the number, now the caller's to close
   * @throws IllegalStateException if it was closed already
   */
  public int release() {
    int n = number.getAndSet(GONE);
    if (n == GONE) {
      throw new IllegalStateException("descriptor given away after it was closed: " + what);
    }
    return n;
  }

  /** Closes the descriptor; does nothing the second time. An error of close(2) leaves it closed, and is not reported. */
  @Override
  public void close() {
    int n = number.getAndSet(GONE);
    if (n != GONE) {
      long unused = kernel.call(Call.CLOSE, n, 0, 0, 0, 0, 0);
    }
  }

  @Override
  public String toString() {
    int n = number.get();
    return what + (n == GONE ? " (closed)" : " (descriptor " + n + ")");
  }
}
