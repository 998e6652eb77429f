package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;

/**
 * A process that shares the table of descriptors (clone(2), CLONE_FILES). It begins in the C
 * library's {@code pause} and never runs anything of ours: a JVM's copy could not.
 */
final class Sharing {
  private static final int CLONE_FILES = 0x400;
  private static final int SIGCHLD = 17;
  private static final int STACK_BYTES = 64 * 1024;

  private Sharing() {}

  /** Where the child begins. */
  static MemorySegment pause() {
    return Linker.nativeLinker()
        .defaultLookup()
        .find("pause")
        .orElseThrow(() -> new UnsupportedOperationException("the C library has no pause"));
  }

  static ChildProcess start(Calls calls) {
    MemorySegment pause = pause();
    int pid;
    try (Arena arena = Arena.ofConfined()) {
      // The child has a copy of the memory, and its stack grows downwards in that.
      MemorySegment stack = arena.allocate(STACK_BYTES, 16);
      pid =
          (int)
              calls.make(
                  Call.CLONE,
                  "a process that shares descriptors",
                  pause.address(),
                  stack.address() + STACK_BYTES,
                  CLONE_FILES | SIGCHLD,
                  0);
    }
    return Spawning.handle(calls, pid, "what shares descriptors");
  }
}
