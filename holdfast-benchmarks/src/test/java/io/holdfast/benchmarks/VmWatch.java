package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.function.Predicate;

/**
 * Lists the VMs all the time, as an operator does who wants to know what becomes of them, and
 * checks each answer: it names every VM, and of each that does not run, why not.
 *
 * <p>An agent that is not there answers nothing, and one that is stopped answers later.
 */
final class VmWatch implements AutoCloseable {
  /** An agent that is stopped for as long as one is here has long answered by then. */
  static final int ANSWER_SECONDS = 60;

  private static final long BETWEEN_MILLIS = 50;

  private final Path socket;
  private final Set<String> names;
  private final Predicate<String> mayBePaused;
  private final Map<String, Integer> seen;
  private final Thread thread;
  private volatile boolean enough;
  private volatile boolean answered;
  private volatile Optional<VarlinkClient> client = Optional.empty();
  private volatile Optional<String> fault = Optional.empty();

  /**
   * @param names all there are
   * @param mayBePaused whether somebody has paused this one
   * @param seen gets the states other than running that were seen with their reasons, and how often
   */
  VmWatch(
      Path socket,
      Set<String> names,
      Predicate<String> mayBePaused,
      ConcurrentSkipListMap<String, Integer> seen) {
    this.socket = socket;
    this.names = names;
    this.mayBePaused = mayBePaused;
    this.seen = seen;
    this.thread = Thread.ofPlatform().name("lists VMs").start(this::watch);
  }

  private void watch() {
    while (!enough && fault.isEmpty()) {
      Set<String> pausedBefore = new TreeSet<>(names);
      pausedBefore.removeIf(mayBePaused.negate());
      long begun = System.nanoTime();
      try (VarlinkClient made = VarlinkClient.connect(Linux.system(), socket)) {
        client = Optional.of(made);
        List<JsonObject> vms =
            made.call("io.holdfast.Vm.List", JsonObject.empty()).array("vms").objects();
        check(vms, pausedBefore, (System.nanoTime() - begun) / 1_000_000_000);
      } catch (VarlinkConnectionException _) {
        // No agent, or it was killed meanwhile.
      } catch (RuntimeException e) {
        fault = Optional.of("listing VMs fails: " + e);
      }
      RunningGuest.pause(BETWEEN_MILLIS);
    }
  }

  private void check(List<JsonObject> vms, Set<String> pausedBefore, long seconds) {
    answered = true;
    if (seconds > ANSWER_SECONDS) {
      fault = Optional.of("listing VMs took " + seconds + " s");
    }
    if (!vms.stream().map(vm -> vm.string("name")).toList().equals(List.copyOf(names))) {
      fault = Optional.of("these are not all VMs: " + vms);
    }
    for (JsonObject vm : vms) {
      String name = vm.string("name");
      String state = vm.string("state");
      String reason = vm.optionalString("reason").orElse("");
      if (!state.equals("running")) {
        var _ = seen.merge(plain(name, state + ": " + reason), 1, Integer::sum);
      }
      boolean paused = pausedBefore.contains(name) || mayBePaused.test(name);
      if (!explained(state, reason, paused)) {
        fault = Optional.of("a state that nothing explains: " + vm.with("definition", ""));
      }
    }
  }

  /** Whether a state may be, and its reason says by whom and why the guest may not run. */
  private static boolean explained(String state, String reason, boolean mayBePaused) {
    return switch (state) {
      case "running" -> true;
      case "paused" -> mayBePaused;
      case "updating" -> reason.contains("update ") || reason.contains("recovery");
      case "stuck" -> reason.matches("(?s)update \\S+ can't go on: .{10,}");
      case "unknown" -> reason.length() > 10;
      // Nothing that befalls a host here loses or breaks a guest.
      default -> false;
    };
  }

  /** Without what is another one each time. */
  private static String plain(String name, String text) {
    return text.replace(name, "NAME")
        .replaceAll("\\d{8}-\\d{6}-NAME-\\d+", "ID")
        .replaceAll("\\d+", "N");
  }

  /** Ends it. Throws if an answer was wrong, or none came. */
  @Override
  public void close() {
    enough = true;
    List<String> faults = new ArrayList<>();
    try {
      if (!thread.join(Duration.ofSeconds(ANSWER_SECONDS))) {
        faults.add("listing VMs was not answered within " + ANSWER_SECONDS + " s");
        client.ifPresent(VarlinkClient::close);
      }
      thread.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new AssertionError(e);
    }
    fault.ifPresent(faults::add);
    if (!answered) {
      faults.add("listing VMs was never answered");
    }
    if (!faults.isEmpty()) {
      throw new AssertionError(String.join("; ", faults));
    }
  }
}
