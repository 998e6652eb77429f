package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;

/** Waiting for descriptors. */
final class Polling {
  private static final int POLLIN = 1;
  private static final int POLLOUT = 4;

  // struct pollfd: int fd, short events, short revents.
  private static final int POLLFD_BYTES = 8;
  private static final int EVENTS = 4;
  private static final int REVENTS = 6;

  /** Nobody waits longer than a century, and it keeps the sum of times far from overflowing. */
  private static final Duration LONGEST = Duration.ofDays(36_500);

  private Polling() {}

  static List<Fd> poll(Calls calls, List<Fd> readable, Duration timeout) {
    List<Interest> interests = readable.stream().map(fd -> new Interest(fd, true, false)).toList();
    return poll(calls, interests, timeout).stream().map(Interest::fd).toList();
  }

  static List<Interest> poll(Calls calls, Collection<Interest> interests, Duration timeout) {
    long nanos =
        timeout.compareTo(LONGEST) > 0
            ? LONGEST.toNanos()
            : timeout.isNegative() ? 0 : timeout.toNanos();
    long deadline = System.nanoTime() + nanos;
    List<Interest> borrowed = new ArrayList<>();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment set = arena.allocate((long) interests.size() * POLLFD_BYTES, Long.BYTES);
      MemorySegment time = arena.allocate(ValueLayout.JAVA_LONG, 2);
      for (Interest each : interests) {
        long at = (long) borrowed.size() * POLLFD_BYTES;
        set.set(ValueLayout.JAVA_INT, at, each.fd().borrow());
        borrowed.add(each);
        int events = (each.read() ? POLLIN : 0) | (each.write() ? POLLOUT : 0);
        set.set(ValueLayout.JAVA_SHORT, at + EVENTS, (short) events);
      }
      while (true) {
        long left = Math.max(0, deadline - System.nanoTime());
        time.setAtIndex(ValueLayout.JAVA_LONG, 0, left / 1_000_000_000L);
        time.setAtIndex(ValueLayout.JAVA_LONG, 1, left % 1_000_000_000L);
        long n =
            calls
                .kernel()
                .call(Call.PPOLL, set.address(), borrowed.size(), time.address(), 0, 0, 0);
        // Not repeated as other calls are: the time left is less by then.
        if (n == -Errno.EINTR.number()) {
          continue;
        }
        SystemCallException.check(n, Call.PPOLL, borrowed.size() + " descriptors");
        List<Interest> ready = new ArrayList<>();
        for (int i = 0; i < borrowed.size(); i++) {
          int found = set.get(ValueLayout.JAVA_SHORT, (long) i * POLLFD_BYTES + REVENTS);
          if (found != 0) {
            // An error or a hangup is to be met by whatever was wanted.
            boolean broken = (found & ~(POLLIN | POLLOUT)) != 0;
            ready.add(
                new Interest(
                    borrowed.get(i).fd(),
                    broken || (found & POLLIN) != 0,
                    broken || (found & POLLOUT) != 0));
          }
        }
        return ready;
      }
    } finally {
      borrowed.forEach(each -> each.fd().giveBack());
    }
  }
}
