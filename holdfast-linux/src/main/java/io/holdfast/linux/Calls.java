package io.holdfast.linux;

import java.lang.foreign.MemorySegment;

/**
 * Calls with what every call needs: repeated when a signal interrupts them, and their failure
 * turned into an exception.
 */
record Calls(Kernel kernel) {
  /** The result, or {@code -errno}. */
  long attempt(Call call, long... arguments) {
    while (true) {
      long result =
          kernel.call(
              call,
              argument(arguments, 0),
              argument(arguments, 1),
              argument(arguments, 2),
              argument(arguments, 3),
              argument(arguments, 4),
              argument(arguments, 5));
      if (result != -Errno.EINTR.number()) {
        return result;
      }
    }
  }

  /** The result; {@code object} names in errors what it is called on. */
  long make(Call call, String object, long... arguments) {
    return SystemCallException.check(attempt(call, arguments), call, object);
  }

  /** As {@link #attempt} on a descriptor, the first argument, that can't be closed meanwhile. */
  long attemptOn(Call call, Fd fd, long... others) {
    int number = fd.borrow();
    try {
      long[] arguments = new long[others.length + 1];
      arguments[0] = number;
      System.arraycopy(others, 0, arguments, 1, others.length);
      return attempt(call, arguments);
    } finally {
      fd.giveBack();
    }
  }

  /** As {@link #make} on a descriptor, the first argument, that can't be closed meanwhile. */
  long on(Call call, Fd fd, long... others) {
    return SystemCallException.check(attemptOn(call, fd, others), call, fd.what());
  }

  /** Takes ownership of the descriptor that a call made. */
  Fd own(long number, String what) {
    return Fd.own(kernel, (int) number, what);
  }

  /**
   * The address of memory that a call works on; it must stay valid until the call has returned.
   *
   * @throws IllegalStateException if it isn't valid any more, or is another thread's
   */
  static long address(MemorySegment segment) {
    if (!segment.scope().isAlive() || !segment.isAccessibleBy(Thread.currentThread())) {
      throw new IllegalStateException(
          "memory that was freed, or belongs to another thread: " + segment);
    }
    return segment.address();
  }

  private static long argument(long[] arguments, int i) {
    return i < arguments.length ? arguments[i] : 0;
  }
}
