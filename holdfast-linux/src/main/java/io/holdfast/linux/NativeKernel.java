package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The C library's functions, all through one linked signature (six longs to a long): linking a
 * signature is what costs start-up time, not looking up a symbol, which happens at a function's
 * first use. The calling conventions of x86-64 and AArch64 let a callee ignore arguments and read
 * an int from a long's register.
 */
final class NativeKernel implements Kernel {
  static final NativeKernel INSTANCE = new NativeKernel();

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

  /** Where the linker leaves errno: a structure with that one int. */
  private static final ThreadLocal<MemorySegment> ERRNO_OF_THREAD =
      ThreadLocal.withInitial(() -> Arena.ofAuto().allocate(Linker.Option.captureStateLayout()));

  /** Each function's address, filled at its first use. */
  private final Map<Call, MemorySegment> addresses = new ConcurrentHashMap<>();

  private NativeKernel() {}

  @Override
  public long call(Call call, long a, long b, long c, long d, long e, long f) {
    MemorySegment address = addresses.get(call);
    if (address == null) {
      // Not within the map's own lock: looking one up may take calls of others.
      address = lookUp(call);
      addresses.put(call, address);
    }
    MemorySegment state = ERRNO_OF_THREAD.get();
    long result;
    try {
      result =
          call.systemCall() == Call.NO_NUMBER
              ? (long) SIX_LONGS.invokeExact(address, state, a, b, c, d, e, f)
              : (long)
                  SIX_LONGS.invokeExact(address, state, (long) call.systemCall(), a, b, c, d, e);
    } catch (Throwable t) {
      throw new LinkageError("calling " + call.function(), t);
    }
    return switch (call.returns()) {
      // The register's upper half is undefined after a function that returns an int.
      case ERROR -> -(long) (int) result;
      case INT -> (int) result == -1 ? -errno(state) : (int) result;
      case LONG -> result == -1 ? -errno(state) : result;
    };
  }

  private static long errno(MemorySegment state) {
    return Field.getInt(state, 0);
  }

  /** {@code rdtsc; shl rdx,32; or rax,rdx; ret}. */
  private static final byte[] RDTSC = {
    0x0f, 0x31, 0x48, (byte) 0xc1, (byte) 0xe2, 0x20, 0x48, 0x09, (byte) 0xd0, (byte) 0xc3
  };

  private static final int PROT_READ_WRITE_EXEC = 0x7;
  private static final int MAP_PRIVATE_ANONYMOUS = 0x22;

  /** The instruction as a function, in a page of its own that stays mapped. */
  private static MemorySegment rdtsc() {
    long page =
        SystemCallException.check(
            INSTANCE.call(
                Call.MMAP, 0, RDTSC.length, PROT_READ_WRITE_EXEC, MAP_PRIVATE_ANONYMOUS, -1, 0),
            Call.MMAP,
            "a page for rdtsc");
    MemorySegment code = MemorySegment.ofAddress(page).reinterpret(RDTSC.length);
    code.copyFrom(MemorySegment.ofArray(RDTSC));
    return code;
  }

  private static MemorySegment lookUp(Call call) {
    if (call == Call.RDTSC) {
      return rdtsc();
    }
    String function = call.systemCall() == Call.NO_NUMBER ? call.function() : "syscall";
    SymbolLookup libraries = Linker.nativeLinker().defaultLookup();
    if (call == Call.FUSE_GET_CONTEXT) {
      libraries = SymbolLookup.loaderLookup();
    }
    return libraries
        .find(function)
        .orElseThrow(
            () ->
                new UnsupportedOperationException(
                    call == Call.FUSE_GET_CONTEXT
                        ? "libfuse is not loaded"
                        : "this machine's C library has no "
                            + function
                            + "; Holdfast needs Linux with glibc 2.34 or newer"));
  }
}
