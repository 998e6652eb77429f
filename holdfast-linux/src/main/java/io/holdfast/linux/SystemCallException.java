package io.holdfast.linux;

/** A system call failed: which, on what, with which errno, and what to do about it. */
public final class SystemCallException extends RuntimeException {
  private static final long serialVersionUID = 1L;
  private final Call call;
  private final int errno;

  private SystemCallException(Call call, int errno, String message) {
    super(message);
    this.call = call;
    this.errno = errno;
  }

  /** Returns {@code result} if it is 0 or more, else throws the failure it stands for. */
  static long check(long result, Call call, String object) {
    if (result < 0) {
      throw new SystemCallException(call, (int) -result, call.function() + " " + object + ": errno " + -result);
    }
    return result;
  }

  /** The call that failed. */
  public Call call() {
    return call;
  }

  /** Its errno, above 0. */
  public int errno() {
    return errno;
  }
}
