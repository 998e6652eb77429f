package io.holdfast.linux;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * An owned file descriptor: exactly one owner, closed once, refused after it is closed.
 *
 * <p>Whoever holds the {@code Fd} owns the descriptor. A method that takes ownership says so in its
 * contract; any other method only borrows. All methods may be called from any thread.
 *
 * <pre>{@code
 * try (Fd fd = linux.memfd("ram", 1L << 30)) {
 *   box.put("ram", fd.duplicate()); // the box owns the duplicate
 * }
 * }</pre>
 */
public final class Fd implements AutoCloseable {
  private static final int F_DUPFD_CLOEXEC = 1030;
  private static final int CLOSED = 1 << 30;
  private static final int RELEASED = 1 << 29;
  private static final int GONE = CLOSED | RELEASED;

  private final Kernel kernel;
  private final int number;
  private final String what;

  /**
   * How many calls run on the descriptor, and whether it is gone. A close during a call waits for
   * the call's end: the kernel would reuse the number at once, and the call could land on another
   * file.
   */
  private final AtomicInteger state = new AtomicInteger();

  private Fd(Kernel kernel, int number, String what) {
    this.kernel = kernel;
    this.number = number;
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
    if (!isOpen()) {
      throw gone("used");
    }
    return number;
  }

  /** What this descriptor is, for people. */
  public String what() {
    return what;
  }

  /** Whether this object still owns a descriptor. */
  public boolean isOpen() {
    return (state.get() & GONE) == 0;
  }

  /**
   * A second descriptor of the same open file (so it shares the file's position), close-on-exec,
   * owned by the caller.
   *
   * @throws SystemCallException EMFILE when the process has no descriptor left
   * @throws IllegalStateException if this one was closed or released
   */
  public Fd duplicate() {
    return duplicateFrom(0);
  }

  /** As {@link #duplicate}, with a number of at least {@code lowest}. */
  Fd duplicateFrom(int lowest) {
    int copy = (int) new Calls(kernel).on(Call.FCNTL, this, F_DUPFD_CLOEXEC, lowest);
    return new Fd(kernel, copy, what);
  }

  /**
   * Gives ownership up without closing.
   *
   * @return the number, now the caller's to close
   * @throws IllegalStateException if it was closed or released already
   */
  public int release() {
    int before = state.getAndUpdate(s -> (s & GONE) == 0 ? s | RELEASED : s);
    if ((before & GONE) != 0) {
      throw gone("given away");
    }
    return number;
  }

  /**
   * Closes the descriptor; does nothing the second time or after {@link #release}. While another
   * thread's call runs on it, it is closed when that call returns. An error of close(2) leaves it
   * closed, and is not reported.
   */
  @Override
  public void close() {
    int before = state.getAndUpdate(s -> (s & GONE) == 0 ? s | CLOSED : s);
    if (before == 0) {
      closeNow();
    }
  }

  /**
   * Borrows the number for one call.
   *
   * @throws IllegalStateException if it was closed or released
   */
  int borrow() {
    int before = state.getAndUpdate(s -> (s & GONE) == 0 ? s + 1 : s);
    if ((before & GONE) != 0) {
      throw gone("used");
    }
    return number;
  }

  /** Ends what {@link #borrow} began. */
  void giveBack() {
    if (state.decrementAndGet() == CLOSED) {
      closeNow();
    }
  }

  private void closeNow() {
    // Never repeated after EINTR: on Linux the number is free by then, and may be another file's.
    kernel.call(Call.CLOSE, number, 0, 0, 0, 0, 0);
  }

  private IllegalStateException gone(String how) {
    return new IllegalStateException(
        "descriptor " + how + " after it was closed or given away: " + what);
  }

  @Override
  public String toString() {
    return what + (isOpen() ? " (descriptor " + number + ")" : " (closed)");
  }
}
