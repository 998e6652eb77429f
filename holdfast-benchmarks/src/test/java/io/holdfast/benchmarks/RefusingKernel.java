package io.holdfast.benchmarks;

import io.holdfast.core.journal.JournalException;
import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Kernel;
import java.util.EnumSet;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/**
 * A kernel that refuses one call of one thread with EIO: the first from a place that a test
 * chooses. A place is a call and the lines of Holdfast that lead to it, so that a loop is one
 * place.
 */
final class RefusingKernel implements Kernel {
  /** What becomes of a call that is refused. */
  enum When {
    /** It is not made. */
    BEFORE,

    /** It is made, and its result is lost. */
    AFTER
  }

  /** Calls whose failure is not reported, or that can't fail. */
  private static final Set<Call> NEVER =
      EnumSet.of(
          Call.CLOSE,
          Call.GETEUID,
          Call.MUNMAP,
          Call.POSIX_SPAWNATTR_DESTROY,
          Call.POSIX_SPAWN_FILE_ACTIONS_DESTROY,
          Call.RDTSC);

  /** Calls whose result is no descriptor or memory that would be lost with it. */
  private static final Set<Call> LOSABLE =
      EnumSet.of(
          Call.FALLOCATE,
          Call.FTRUNCATE,
          Call.KEXEC_FILE_LOAD,
          Call.KILL,
          Call.PIDFD_SEND_SIGNAL,
          Call.SENDMSG,
          Call.SETPRIORITY,
          Call.SHUTDOWN,
          Call.SPLICE,
          Call.WRITE);

  private static final StackWalker STACK = StackWalker.getInstance();

  private final Kernel kernel;
  private volatile Optional<Armed> armed = Optional.empty();

  /** A refusal to come. Only its own thread uses it. */
  private static final class Armed {
    final Thread thread = Thread.currentThread();
    final When when;
    final Predicate<String> chosen;
    Optional<String> struck = Optional.empty();

    Armed(When when, Predicate<String> chosen) {
      this.when = when;
      this.chosen = chosen;
    }
  }

  /**
   * @param kernel makes the calls that are not refused
   */
  RefusingKernel(Kernel kernel) {
    this.kernel = kernel;
  }

  /** Refuses the first call of the calling thread whose place is chosen. */
  void arm(When when, Predicate<String> chosen) {
    armed = Optional.of(new Armed(when, chosen));
  }

  /** Refuses nothing any more, and returns the place of the call that was refused, if one was. */
  Optional<String> disarm() {
    Optional<String> struck = armed.flatMap(each -> each.struck);
    armed = Optional.empty();
    return struck;
  }

  @Override
  public long call(Call call, long a, long b, long c, long d, long e, long f) {
    Optional<When> refused =
        NEVER.contains(call) ? Optional.empty() : strike(call.name(), LOSABLE.contains(call));
    if (refused.equals(Optional.of(When.BEFORE))) {
      return -Errno.EIO.number();
    }
    long result = kernel.call(call, a, b, c, d, e, f);
    return refused.isPresent() ? -Errno.EIO.number() : result;
  }

  /**
   * Appends to a journal, or refuses that as it refuses a call.
   *
   * @throws JournalException if it is refused
   */
  void append(String what, Runnable append) {
    Optional<When> refused = strike("append " + what, true);
    if (!refused.equals(Optional.of(When.BEFORE))) {
      append.run();
    }
    if (refused.isPresent()) {
      throw new JournalException("refused by the test");
    }
  }

  private Optional<When> strike(String what, boolean losable) {
    Optional<Armed> now = armed.filter(each -> each.thread == Thread.currentThread());
    if (now.isEmpty()
        || now.get().struck.isPresent()
        || (now.get().when == When.AFTER && !losable)) {
      return Optional.empty();
    }
    String place = what + " in " + place();
    if (!now.get().chosen.test(place)) {
      return Optional.empty();
    }
    now.get().struck = Optional.of(place);
    return Optional.of(now.get().when);
  }

  private static String place() {
    return STACK.walk(
        frames ->
            frames
                .filter(frame -> frame.getClassName().startsWith("io.holdfast."))
                .filter(frame -> !frame.getClassName().startsWith("io.holdfast.benchmarks."))
                .filter(frame -> !frame.getClassName().startsWith("io.holdfast.linux."))
                .map(
                    frame ->
                        frame.getClassName().substring(frame.getClassName().lastIndexOf('.') + 1)
                            + "."
                            + frame.getMethodName()
                            + ":"
                            + frame.getLineNumber())
                .collect(Collectors.joining(" ")));
  }
}
