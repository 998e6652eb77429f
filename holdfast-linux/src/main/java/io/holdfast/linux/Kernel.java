package io.holdfast.linux;

/**
 * The kernel, as the one thing every system call of Holdfast goes through.
 *
 * <p>A call names a function of the C library and takes up to six integer or pointer arguments. Tests wrap {@link
 * #system()} in another implementation to refuse a call ({@code return -errno}), delay it, or stop the process at it.
 */
@FunctionalInterface
public interface Kernel {
  /**
   * Makes one call.
   *
   * @param call which one
   * @param a first argument: an int, a size in bytes, or the address of native memory; likewise the others
   * @return the result, 0 or more, or {@code -errno} on failure
   */
  long call(Call call, long a, long b, long c, long d, long e, long f);

  /** The running kernel, through the C library. */
  static Kernel system() {
    return NativeKernel.INSTANCE;
  }
}
