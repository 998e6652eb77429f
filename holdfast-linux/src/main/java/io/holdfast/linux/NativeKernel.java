package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * The C library's functions, all through one linked signature (six longs to a long): linking a signature is what costs
 * start-up time, not looking up a symbol. The x86-64 and AArch64 calling conventions let a callee ignore arguments.
 */
enum NativeKernel implements Kernel {
  INSTANCE;

  private static final Linker.Option ERRNO = Linker.Option.captureCallState("errno");
  private static final MethodHandle SIX_LONGS =
      Linker.nativeLinker()
          .downcallHandle(
              FunctionDescriptor.of(
                  ValueLayout.JAVA_LONG,
                  ValueLayout.JAVA_LONG,
                  ValueLayout.JAVA_LONG,
                  ValueLayout.JAVA_LONG,
                  ValueLayout.JAVA_LONG,
                  ValueLayout.JAVA_LONG,
                  ValueLayout.JAVA_LONG),
              ERRNO);
  private static final MemoryLayout STATE = Linker.Option.captureStateLayout();
  private static final ThreadLocal<MemorySegment> ERRNO_OF_THREAD =
      ThreadLocal.withInitial(() -> Arena.ofAuto().allocate(STATE));

  private final MemorySegment[] addresses = new MemorySegment[Call.values().length];

  NativeKernel() {
    for (Call call : Call.values()) {
      addresses[call.ordinal()] = Linker.nativeLinker().defaultLookup().findOrThrow(call.function());
    }
  }

  @Override
  public long call(Call call, long a, long b, long c, long d, long e, long f) {
    MemorySegment state = ERRNO_OF_THREAD.get();
    long result;
    try {
      result = (long) SIX_LONGS.invokeExact(addresses[call.ordinal()], state, a, b, c, d, e, f);
    } catch (Throwable t) {
      throw new LinkageError("calling " + call.function(), t);
    }
    // An int function leaves the upper half undefined; -1 is what tells failure in both sizes.
    if (call.returnsInt()) {
      result = (int) result;
    }
    return result == -1 ? -(long) state.get(ValueLayout.JAVA_INT, 0) : result;
  }
}
