package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;
import java.util.function.ToLongFunction;

/**
 * The demo: boots a Linux guest, replaces the QEMU under it three times, and shows from outside
 * that the guest went on as if nothing had happened but three pauses.
 *
 * <p>It starts an agent of its own ({@link AgentProcess} says which) in a temporary directory, and
 * leaves nothing behind, however it ends. HOLDFAST_GUEST names the test guest's folder,
 * HOLDFAST_QEMU_OTHER another QEMU to go to and back from. Its exit status is 0 only if everything
 * holds that it checks.
 */
@Promise("guest-unchanged")
public final class Demo {
  private static final long MEMORY = 1L << 30;
  private static final int UPDATES = 3;
  private static final String NAME = "demo";
  private static final String COLUMNS = "%-22s %9s %10s %18s %15s";

  /** Before and after an update: what the guest does undisturbed shows in the window, too. */
  private static final long AROUND_MILLIS = 500;

  private static final long POLL_MILLIS = 20;

  /**
   * For what the guest does several times a second when its host has time for it. A host that is
   * busy with other things may keep it from running for seconds.
   */
  private static final long PATIENCE_NANOS = 120_000_000_000L;

  private final AgentProcess agent;
  private final Screen screen;

  private Demo(AgentProcess agent, Screen screen) {
    this.agent = agent;
    this.screen = screen;
  }

  /** See {@link Demo}. */
  public static void main(String[] arguments) throws IOException {
    Screen screen = Screen.system();
    boolean good = false;
    screen.title("A running guest gets a new QEMU under it, " + UPDATES + " times");
    try (AgentProcess agent =
        AgentProcess.start(Linux.system(), Files.createTempDirectory("holdfast-demo"))) {
      good = new Demo(agent, screen).run();
    }
    System.exit(good ? 0 : 1);
  }

  private boolean run() {
    try {
      return show();
    } catch (IllegalStateException
        | UncheckedIOException
        | SystemCallException
        | VarlinkException
        | VarlinkConnectionException e) {
      // Ctrl-C ends the agent first, and that ends what goes on here.
      screen.failed(agent.isClosed() ? "Interrupted." : String.valueOf(e.getMessage()));
      return false;
    }
  }

  private boolean show() {
    Optional<String> other =
        Optional.of(System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", ""))
            .filter(o -> !o.isEmpty());
    screen.fact(
        "agent",
        "process %d, answers after %s"
            .formatted(agent.pid(), Screen.seconds(agent.startTime().toNanos())));
    screen.passing("the guest boots");
    try (VarlinkClient client = agent.client();
        RunningGuest guest =
            RunningGuest.start(
                client, NAME, agent.directory(), Optional.empty(), Optional.empty(), MEMORY, 1)) {
      JsonObject vm = guest.state();
      screen.fact(
          "guest",
          "Linux, %d MiB, %d vCPU, machine %s, ready after %s"
              .formatted(
                  MEMORY >> 20,
                  vm.number("cpus"),
                  vm.string("machine"),
                  Screen.seconds(guest.bootTime().toNanos())));
      screen.fact("", "%s: %s".formatted(vm.string("accelerator"), vm.string("acceleratorReason")));
      try (GuestMemory memory = GuestMemory.map(Linux.system(), guest.memory());
          ObserverProcess observer = ObserverProcess.start(guest.memory(), guest.boot())) {
        return new Run(guest, memory, observer, other).run();
      }
    }
  }

  /** The updates and what is judged of them. */
  private final class Run {
    private final RunningGuest guest;
    private final GuestMemory memory;
    private final ObserverProcess observer;
    private final Optional<String> other;
    private final List<Observation> windows = new ArrayList<>();
    private final Heartbeat first;

    Run(RunningGuest guest, GuestMemory memory, ObserverProcess observer, Optional<String> other) {
      this.guest = guest;
      this.memory = memory;
      this.observer = observer;
      this.other = other;
      this.first = memory.heartbeat(guest.boot());
    }

    boolean run() {
      Observation calm = mark("calm");
      screen.fact(
          "observer",
          "process %d, apart from the agent%s: looks every %s on average"
              .formatted(
                  observer.pid(),
                  observer.realTime() ? ", real-time" : "",
                  Screen.micros(calm.length() / Math.max(1, calm.samples()))));
      screen.line("");
      screen.row(COLUMNS, "update", "brownout", "blackout", "guest stood still", "observer blind");
      boolean completed = true;
      for (int i = 1; i <= UPDATES && completed; i++) {
        completed = update(i);
      }
      screen.line("");
      screen.passing("the memory, the CPU and the disk are checked");
      List<Verdict> verdicts = judge();
      verdicts.forEach(screen::verdict);
      screen.line("");
      boolean good = completed && verdicts.stream().allMatch(Verdict::holds);
      if (good) {
        screen.good("The guest has its third new QEMU and noticed only the pauses.");
      } else {
        screen.failed("Not everything holds.");
      }
      return good;
    }

    private boolean update(int number) {
      JsonObject before = guest.show();
      // There, back, there again; to the same binary in a new process without another.
      Optional<String> target = number % 2 == 1 ? other : Optional.of(guest.state().string("qemu"));
      Observation _ = mark("before update " + number);
      JsonObject report =
          guest.update(
              target,
              p ->
                  screen.passing(
                      "update %d: %s %s"
                          .formatted(number, p.string("state"), p.string("message"))));
      Observation window = mark("update " + number);
      if (!report.string("outcome").equals("completed")) {
        screen.failed(
            "update %d was %s: %s"
                .formatted(number, report.string("outcome"), report.string("message")));
        for (JsonObject o : report.array("obstacles").objects()) {
          screen.line(
              "    " + o.string("what") + ": " + o.string("why") + ". " + o.string("advice"));
        }
        return false;
      }
      JsonObject after = guest.show();
      screen.row(
          COLUMNS,
          "%d  %s → %s"
              .formatted(number, before.string("qemuVersion"), after.string("qemuVersion")),
          Screen.seconds(report.number("brownout")),
          Screen.millis(report.number("blackout")),
          gap(window),
          Screen.micros(window.longest().stall()));
      if (window.longest().isVoid() && !window.longestSound().equals(Gap.NONE)) {
        screen.line(
            "     the longest gap that the observer saw with open eyes: "
                + Screen.millis(window.longestSound().atMost()));
      }
      return true;
    }

    private String gap(Observation window) {
      return window.longest().isVoid()
          ? "void: observer stalled"
          : Screen.millis(window.longest().atMost());
    }

    private List<Verdict> judge() {
      Heartbeat last = awaitCpuid();
      Observation _ = mark("after");
      PatternCheck pattern = memory.verifyPattern(first);
      List<Heartbeat> pages = memory.heartbeats();
      Heartbeat end = memory.again(first);
      ChainCheck disk = guest.stopAndCheckDisk(end.diskSequence());
      Witness witness = guest.witness();
      return List.of(
          new Verdict(
              "memory is what the guest wrote",
              pattern.good() && end.patternFailures() == 0,
              describe(pattern) + found(end.patternFailures())),
          new Verdict(
              "the counter never went back, and rises",
              sum(Observation::backwards) == 0 && rises(),
              "%,d beats, backwards %d times"
                  .formatted(sum(Observation::counted), sum(Observation::backwards))),
          new Verdict(
              "the guest did not reboot",
              sum(Observation::boots) == 0 && pages.size() == 1 && end.boot() == first.boot(),
              "boot id %016x".formatted(end.boot())),
          new Verdict(
              "CPUID is as before",
              sum(Observation::cpuids) == 0
                  && last.cpuid() == first.cpuid()
                  && last.cpuidRuns() > first.cpuidRuns(),
              "digest %016x, %s"
                  .formatted(
                      last.cpuid(),
                      last.cpuidRuns() > first.cpuidRuns()
                          ? "computed anew"
                          : "not computed again in time")),
          chain("the console neither forks, repeats nor skips", witness.consoleCheck()),
          chain("the disk neither forks, repeats nor skips", disk),
          new Verdict(
              "the guest complained of nothing",
              witness.complaints().isEmpty(),
              witness.complaints().isEmpty()
                  ? "neither its clock nor its kernel"
                  : String.join("; ", witness.complaints())));
    }

    /** Ends a window, once the guest has counted on in it. */
    private Observation mark(String label) {
      RunningGuest.pause(AROUND_MILLIS);
      long begun = windows.isEmpty() ? first.count() : windows.getLast().heartbeat().count();
      Heartbeat _ = await(now -> now.count() > begun);
      Observation window = observer.mark(label);
      windows.add(window);
      return window;
    }

    /** Whether the guest counted in each window. */
    private boolean rises() {
      long before = first.count();
      for (Observation window : windows) {
        if (window.heartbeat().count() <= before) {
          return false;
        }
        before = window.heartbeat().count();
      }
      return true;
    }

    private long sum(ToLongFunction<Observation> figure) {
      return windows.stream().mapToLong(figure).sum();
    }

    /** The heartbeat page once CPUID was looked at after the last update. */
    private Heartbeat awaitCpuid() {
      // One may have been under way during the update, so the second is surely after it.
      long enough = memory.again(first).cpuidRuns() + 2;
      return await(now -> now.cpuidRuns() >= enough);
    }

    /** The heartbeat page once it is as wanted, or as it is when that takes too long. */
    private Heartbeat await(Predicate<Heartbeat> wanted) {
      long deadline = System.nanoTime() + PATIENCE_NANOS;
      Heartbeat now = memory.again(first);
      while (!wanted.test(now) && System.nanoTime() < deadline) {
        RunningGuest.pause(POLL_MILLIS);
        now = memory.again(first);
      }
      return now;
    }
  }

  private static Verdict chain(String what, ChainCheck check) {
    return new Verdict(
        what,
        check.good() && !(check instanceof ChainCheck.Unbroken u && u.last() == 0),
        switch (check) {
          case ChainCheck.Unbroken u -> "records %,d to %,d".formatted(u.first(), u.last());
          case ChainCheck.Broken b ->
              b.count() + " faults: " + String.join("; ", b.faults().stream().limit(5).toList());
        });
  }

  private static String describe(PatternCheck pattern) {
    return switch (pattern) {
      case PatternCheck.Right r ->
          "%,d pages right, %,d times rewritten".formatted(r.pages(), r.rewrites());
      case PatternCheck.Torn t ->
          "%,d pages right, %,d times rewritten, one being rewritten"
              .formatted(t.pages(), t.rewrites());
      case PatternCheck.Wrong w ->
          "%,d faults: page %d %s"
              .formatted(w.count(), w.faults().getFirst().page(), w.faults().getFirst().what());
    };
  }

  private static String found(long failures) {
    return failures == 0 ? "" : "; the guest itself found " + failures + " wrong";
  }
}
