package io.holdfast.linux;

import java.util.function.Function;

/**
 * A system call failed. The message says which call, on what, with which error, and where it is
 * known, what to do: {@code bind /run/holdfast/agent: EADDRINUSE (Address already in use). Another
 * process listens there, or …}
 */
public final class SystemCallException extends RuntimeException {
  private static final long serialVersionUID = 1L;
  private final Call call;
  private final Errno errno;
  private final String object;

  SystemCallException(Call call, Errno errno, String object, String advice) {
    super(message(call, errno, object, advice));
    this.call = call;
    this.errno = errno;
    this.object = object;
  }

  /**
   * The failure that a result of {@link Kernel#call} stands for.
   *
   * @param result below 0
   */
  static SystemCallException failed(Call call, long result, String object) {
    Errno errno = Errno.of((int) -result);
    String shown = errno == Errno.UNKNOWN ? object + " (error " + -result + ")" : object;
    return new SystemCallException(call, errno, shown, Advice.on(call, errno));
  }

  /** Returns {@code result} if it is 0 or more, else throws the failure it stands for. */
  static long check(long result, Call call, String object) {
    if (result < 0) {
      throw failed(call, result, object);
    }
    return result;
  }

  /**
   * As {@link #check(long, Call, String)}, with other advice than the call's.
   *
   * @param advice what to do about an error
   */
  static long check(long result, Call call, String object, Function<Errno, String> advice) {
    if (result < 0) {
      Errno errno = Errno.of((int) -result);
      throw new SystemCallException(call, errno, object, advice.apply(errno));
    }
    return result;
  }

  private static String message(Call call, Errno errno, String object, String advice) {
    String what = call.function() + " " + object + ": " + errno + " (" + errno.text() + ")";
    return advice.isEmpty() ? what : what + ". " + advice;
  }

  /** The call that failed. */
  public Call call() {
    return call;
  }

  /** Its error. */
  public Errno errno() {
    return errno;
  }

  /** What it was called on: a path, a descriptor's purpose, a process. */
  public String object() {
    return object;
  }
}
