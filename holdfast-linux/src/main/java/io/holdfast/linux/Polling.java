package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Waiting for descriptors. */
final class Polling {
  private static final int POLLIN = 1;

  // struct pollfd: int fd, short events, short revents.
  private static final int POLLFD_BYTES = 8;
  private static final int EVENTS = 4;
  private static final int REVENTS = 6;

  /** Nobody waits longer than a century, and it keeps the sum of times far from overflowing. */
  private static final Duration LONGEST = Duration.ofDays(36_500);

  private Polling() {}

  /** Those of the descriptors that are ready for something, with what for. */
  static Map<Fd, Set<Readiness>> poll(
      Calls calls, Map<Fd, Set<Readiness>> wanted, Duration timeout) {
    List<Fd> all = List.copyOf(wanted.keySet());
    int[] events = new int[all.size()];
    for (int i = 0; i < events.length; i++) {
      for (Readiness each : wanted.getOrDefault(all.get(i), Set.of())) {
        events[i] |= each == Readiness.HUNG_UP ? 0 : each.events;
      }
    }
    int[] found = poll(calls, all, events, timeout);
    Map<Fd, Set<Readiness>> ready = new HashMap<>();
    for (int i = 0; i < found.length; i++) {
      Set<Readiness> these = EnumSet.noneOf(Readiness.class);
      for (Readiness each : Readiness.values()) {
        if ((found[i] & each.events) != 0) {
          these.add(each);
        }
      }
      if (!these.isEmpty()) {
        ready.put(all.get(i), these);
      }
    }
    return ready;
  }

  static List<Fd> poll(Calls calls, List<Fd> readable, Duration timeout) {
    int[] events = new int[readable.size()];
    Arrays.fill(events, POLLIN);
    int[] found = poll(calls, readable, events, timeout);
    List<Fd> ready = new ArrayList<>();
    for (int i = 0; i < found.length; i++) {
      if (found[i] != 0) {
        ready.add(readable.get(i));
      }
    }
    return ready;
  }

  private static int[] poll(Calls calls, List<Fd> all, int[] events, Duration timeout) {
    long nanos =
        timeout.compareTo(LONGEST) > 0
            ? LONGEST.toNanos()
            : timeout.isNegative() ? 0 : timeout.toNanos();
    long deadline = System.nanoTime() + nanos;
    List<Fd> borrowed = new ArrayList<>();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment set = arena.allocate((long) all.size() * POLLFD_BYTES, Long.BYTES);
      MemorySegment time = arena.allocate(ValueLayout.JAVA_LONG, 2);
      for (Fd fd : all) {
        long at = (long) borrowed.size() * POLLFD_BYTES;
        Field.setShort(set, at + EVENTS, events[borrowed.size()]);
        Field.setInt(set, at, fd.borrow());
        borrowed.add(fd);
      }
      while (true) {
        long left = Math.max(0, deadline - System.nanoTime());
        Field.setLong(time, 0, left / 1_000_000_000L);
        Field.setLong(time, 8, left % 1_000_000_000L);
        long n =
            calls.kernel().call(Call.PPOLL, set.address(), all.size(), time.address(), 0, 0, 0);
        // Not repeated as other calls are: the time left is less by then.
        if (n == -Errno.EINTR.number()) {
          continue;
        }
        SystemCallException.check(n, Call.PPOLL, all.size() + " descriptors");
        int[] found = new int[events.length];
        for (int i = 0; i < found.length; i++) {
          found[i] = Field.getShort(set, (long) i * POLLFD_BYTES + REVENTS);
        }
        return found;
      }
    } finally {
      borrowed.forEach(Fd::giveBack);
    }
  }
}
