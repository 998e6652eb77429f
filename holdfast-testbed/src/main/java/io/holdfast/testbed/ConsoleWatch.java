package io.holdfast.testbed;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Reads a kernel's console line by line and tells trouble. Source of the texts: the kernel's {@code
 * kernel/panic.c}, {@code arch/x86/kernel/dumpstack.c}, {@code arch/x86/mm/fault.c}, {@code
 * arch/x86/kernel/traps.c}, {@code kernel/locking/lockdep.c}, {@code kernel/hung_task.c}, {@code
 * kernel/watchdog.c}, {@code kernel/rcu/tree_stall.h}, {@code kernel/sched/core.c} of Linux 7.3.
 */
final class ConsoleWatch {
  private static final Map<Pattern, Trouble.Kind> PATTERNS = new LinkedHashMap<>();

  static {
    // In this order: a line of several kinds is of the first.
    say(Trouble.Kind.PANIC, "Kernel panic - not syncing");
    say(
        Trouble.Kind.HANG,
        "watchdog: .*(soft|hard|hardware) ?lockup",
        "BUG: (soft|hard) lockup",
        "INFO: task .* blocked for more than",
        "rcu: INFO: .*(self-detected stall|detected stalls|detected expedited stalls)",
        "BUG: workqueue lockup");
    say(
        Trouble.Kind.LOCKDEP,
        "WARNING: possible (circular|recursive) locking",
        "WARNING: possible irq lock inversion",
        "WARNING: (inconsistent lock state|bad unlock balance|suspicious RCU usage)",
        "WARNING: .*-safe -> .*-unsafe lock order",
        "WARNING: lock held when returning to user space",
        "WARNING: held lock freed",
        "WARNING: Nested lock was not taken",
        "WARNING: bad contention detected",
        "BUG: sleeping function called from invalid context",
        "BUG: scheduling while atomic",
        "BUG: Invalid wait context",
        "DEBUG_LOCKS_WARN_ON");
    say(
        Trouble.Kind.OOPS,
        "Oops: ",
        "BUG: unable to handle",
        "BUG: kernel NULL pointer dereference",
        "kernel BUG at",
        "general protection fault",
        "invalid opcode: ",
        "divide error: ",
        "stack segment: ",
        "double fault: ",
        "traps: PANIC",
        "BUG: Bad (page|rss-counter)",
        "list_(add|del) corruption",
        "BUG: ");
    say(Trouble.Kind.WARN, "WARNING: ", "-{8,}\\[ cut here \\]-{8,}");
  }

  private static void say(Trouble.Kind kind, String... patterns) {
    for (String pattern : patterns) {
      PATTERNS.put(Pattern.compile(pattern), kind);
    }
  }

  private Optional<Trouble> first = Optional.empty();

  /** Reads a line, and says what it tells. */
  Optional<Trouble> line(String line) {
    Optional<Trouble> trouble = tell(line);
    // The line that only announces a warning is worth less than the one that names it.
    if (trouble.isPresent() && (first.isEmpty() || first.get().line().contains("cut here"))) {
      first = trouble;
    }
    return trouble;
  }

  /** The first that was told up to now: what follows is mostly its consequence. */
  Optional<Trouble> first() {
    return first;
  }

  static Optional<Trouble> tell(String line) {
    for (Map.Entry<Pattern, Trouble.Kind> e : PATTERNS.entrySet()) {
      if (e.getKey().matcher(line).find()) {
        return Optional.of(new Trouble(e.getValue(), line.strip()));
      }
    }
    return Optional.empty();
  }
}
