package io.holdfast.linux;

/**
 * The kernel, as the one thing every system call of Holdfast goes through.
 *
 * <p>A call names a function of the C library and takes up to six integer or pointer arguments. A
 * test wraps {@link #system()} to refuse a call, delay it, or stop at it:
 *
 * <pre>{@code
 * Kernel full = (call, a, b, c, d, e, f) ->
 *     call == Call.MMAP
 *         ? -Errno.ENOMEM.number()
 *         : Kernel.system().call(call, a, b, c, d, e, f);
 * Linux linux = new Linux(full);
 * }</pre>
 */
@FunctionalInterface
public interface Kernel {
  /**
   * Makes one call. An interrupted call is not repeated here: it returns {@code -EINTR}, and the
   * caller decides.
   *
   * @param call which one
   * @param a first argument: an int, a size in bytes, or the address of native memory; likewise the
   *     others
   * @return the result, 0 or more, or {@code -errno} on failure
   */
  long call(Call call, long a, long b, long c, long d, long e, long f);

  /** The running kernel, through the C library. */
  static Kernel system() {
    return NativeKernel.INSTANCE;
  }
}
