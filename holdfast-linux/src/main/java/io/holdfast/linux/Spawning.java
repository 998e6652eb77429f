package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;

/**
 * Starting programs, through posix_spawn: a JVM has too much memory and too many threads to fork.
 */
final class Spawning {
  private static final int O_RDWR = 2;
  private static final int P_PID = 1;
  private static final int WEXITED = 4;
  private static final int SETSIGDEF = 0x04;
  private static final int SETSIGMASK = 0x08;
  private static final int SETSID = 0x80;
  private static final int STANDARD = 3;

  // Sizes of glibc's types on 64-bit machines (80, 336, 128 bytes), with room to spare.
  private static final int ACTIONS_BYTES = 256;
  private static final int ATTRIBUTES_BYTES = 512;
  private static final int SIGNALS_BYTES = 128;

  private Spawning() {}

  static ChildProcess spawn(Calls calls, SpawnRequest request) {
    String program = request.command().getFirst();
    NavigableMap<Integer, Fd> wanted = request.numbered();
    int highest = wanted.isEmpty() ? STANDARD - 1 : Math.max(STANDARD - 1, wanted.lastKey());
    TreeMap<Integer, Fd> sources = new TreeMap<>();
    int pid;
    try (Arena arena = Arena.ofConfined()) {
      // Above every number of the child's, so that placing one can't overwrite the source of
      // another.
      for (Map.Entry<Integer, Fd> e : wanted.entrySet()) {
        sources.put(e.getKey(), e.getValue().duplicateFrom(highest + 1));
      }
      Made actions =
          new Made(
              calls,
              arena.allocate(ACTIONS_BYTES, Long.BYTES),
              Call.POSIX_SPAWN_FILE_ACTIONS_DESTROY,
              program);
      Made attributes =
          new Made(
              calls,
              arena.allocate(ATTRIBUTES_BYTES, Long.BYTES),
              Call.POSIX_SPAWNATTR_DESTROY,
              program);
      actions.call(Call.POSIX_SPAWN_FILE_ACTIONS_INIT);
      try (actions) {
        place(actions, sources, highest, Field.string(arena, "/dev/null"));
        attributes.call(Call.POSIX_SPAWNATTR_INIT);
        try (attributes) {
          MemorySegment none = arena.allocate(SIGNALS_BYTES, Long.BYTES);
          MemorySegment every = arena.allocate(SIGNALS_BYTES, Long.BYTES).fill((byte) 0xff);
          attributes.call(Call.POSIX_SPAWNATTR_SETSIGMASK, none.address());
          attributes.call(Call.POSIX_SPAWNATTR_SETSIGDEFAULT, every.address());
          attributes.call(Call.POSIX_SPAWNATTR_SETFLAGS, SETSID | SETSIGMASK | SETSIGDEF);
          List<String> environment = new ArrayList<>();
          request.environment().forEach((name, value) -> environment.add(name + "=" + value));
          MemorySegment number = arena.allocate(ValueLayout.JAVA_INT);
          calls.make(
              Call.POSIX_SPAWNP,
              program,
              number.address(),
              Field.string(arena, program).address(),
              actions.at().address(),
              attributes.at().address(),
              strings(arena, request.command()).address(),
              strings(arena, environment).address());
          pid = Field.getInt(number, 0);
        }
      }
    } finally {
      sources.values().forEach(Fd::close);
    }
    return handle(calls, pid, program);
  }

  /**
   * Says what descriptors the child gets: those in {@code sources} at their numbers, and no other
   * but the standard ones.
   */
  private static void place(
      Made actions, Map<Integer, Fd> sources, int highest, MemorySegment devNull) {
    for (int n = 0; n <= highest; n++) {
      Fd source = sources.get(n);
      if (source != null) {
        actions.call(Call.POSIX_SPAWN_FILE_ACTIONS_ADDDUP2, source.number(), n);
      } else if (n < STANDARD) {
        actions.call(Call.POSIX_SPAWN_FILE_ACTIONS_ADDOPEN, n, devNull.address(), O_RDWR, 0);
      } else {
        // Not everything the JVM opens is close-on-exec; glibc allows closing what isn't open.
        actions.call(Call.POSIX_SPAWN_FILE_ACTIONS_ADDCLOSE, n);
      }
    }
    actions.call(Call.POSIX_SPAWN_FILE_ACTIONS_ADDCLOSEFROM_NP, highest + 1);
  }

  /**
   * A handle of a child; without one the child is not left running. Its number can't be another's:
   * it isn't reaped.
   */
  static ChildProcess handle(Calls calls, int pid, String program) {
    String what = program + ", process " + pid;
    long fd = calls.attempt(Call.PIDFD_OPEN, pid, 0);
    if (fd < 0) {
      calls.attempt(Call.KILL, pid, Signal.KILL.number());
      calls.attempt(Call.WAITID, P_PID, pid, 0, WEXITED);
      throw SystemCallException.failed(Call.PIDFD_OPEN, fd, what + " (killed again)");
    }
    return new ChildProcess(calls, new PidFd(calls, pid, calls.own(fd, what)));
  }

  private static MemorySegment strings(Arena arena, List<String> strings) {
    // The last one stays 0, as its end.
    long[] addresses = new long[strings.size() + 1];
    for (int i = 0; i < strings.size(); i++) {
      addresses[i] = Field.string(arena, strings.get(i)).address();
    }
    return Field.longs(arena, addresses);
  }

  /** One of posix_spawn's structures, whose insides glibc allocates and must be told to free. */
  private record Made(Calls calls, MemorySegment at, Call destroy, String program)
      implements AutoCloseable {
    void call(Call call, long... others) {
      long[] arguments = new long[others.length + 1];
      arguments[0] = at.address();
      System.arraycopy(others, 0, arguments, 1, others.length);
      calls.make(call, "for " + program, arguments);
    }

    @Override
    public void close() {
      calls.attempt(destroy, at.address());
    }
  }
}
