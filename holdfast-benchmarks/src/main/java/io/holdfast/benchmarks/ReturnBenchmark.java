package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.locks.LockSupport;

/**
 * What Holdfast itself adds to the blackout of an update of the kernel, on this machine and without
 * a kexec: a guest stands still with its memory held and its device state kept, no agent and no
 * QEMU of its own run, and an agent is started. The figure is the time from that start to the
 * guest's next heartbeat: the JVM, the agent's recovery, a QEMU, the load of the state, and the
 * guest's first steps.
 *
 * <p>What a kexec has besides is the kernel's own boot and fetching descriptors from it. Files are
 * in the page cache here, which they are not on a new kernel.
 *
 * <p>Options: {@code --rounds N} (20), {@code --memory MIB} (1024). HOLDFAST_BIN names the
 * installed command, whose agent has its AOT cache; without it the agent runs from this JVM's
 * modules.
 */
@Promise("figures")
public final class ReturnBenchmark {
  private static final String VM = "bench";
  private static final Duration PATIENCE = Duration.ofSeconds(60);
  private static final Duration STILL = Duration.ofMillis(300);

  private final Linux linux = Linux.system();
  private final long memory;

  private ReturnBenchmark(long memory) {
    this.memory = memory;
  }

  /** See {@link ReturnBenchmark}. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    int rounds = 20;
    long memory = 1024;
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      switch (arguments[i]) {
        case "--rounds" -> rounds = Integer.parseInt(arguments[i + 1]);
        case "--memory" -> memory = Long.parseLong(arguments[i + 1]);
        default -> throw new IllegalArgumentException("there is no option " + arguments[i]);
      }
    }
    ReturnBenchmark benchmark = new ReturnBenchmark(memory << 20);
    List<Return> returns = new ArrayList<>();
    for (int i = 0; i < rounds; i++) {
      returns.add(benchmark.round());
    }
    System.out.printf(Locale.ROOT, "%d rounds, %d MiB, medians (least – most)%n", rounds, memory);
    tell("start of the agent to the guest's next heartbeat", returns, Return::beats);
    tell("  until its QEMU is started, and the guest's first steps", returns, Return::agent);
    tell("  QEMU up", returns, Return::qemuUp);
    tell("  load", returns, Return::load);
    tell("  resume", returns, Return::resume);
    System.exit(0);
  }

  /**
   * One round's lengths of time, in nanoseconds.
   *
   * @param beats from the agent's start to the guest's next heartbeat, which the others are of
   * @param agent until its QEMU is started, and the guest's first steps
   * @param qemuUp from then until that answers
   * @param load until the device state is loaded
   * @param resume until the guest is let run
   */
  private record Return(long beats, long agent, long qemuUp, long load, long resume) {
    /**
     * @param started when the agent was
     * @param beaten when the guest's heart beat
     * @param report the update's, by that agent
     */
    static Return of(long started, long beaten, JsonObject report) throws IOException {
      JsonObject restore = span(report, "restore");
      JsonObject resume = span(report, "resume");
      Optional<String> micros = restore.object("notes").optionalString("qemu-up.us");
      if (micros.isEmpty()) {
        throw new IOException("no QEMU was started again: " + report);
      }
      long up = Long.parseLong(micros.get()) * 1000;
      long load = restore.number("length") - up;
      long resuming = end(resume) - end(restore);
      long agent = beaten - started - up - load - resuming;
      return new Return(beaten - started, agent, up, load, resuming);
    }

    private static long end(JsonObject span) {
      return span.number("start") + span.number("length");
    }

    private static JsonObject span(JsonObject report, String step) throws IOException {
      List<JsonObject> found =
          report.array("spans").objects().stream()
              .filter(span -> span.string("participant").equals(VM))
              .filter(span -> span.string("step").equals(step))
              .toList();
      if (found.isEmpty()) {
        throw new IOException("the report has no " + step + ": " + report);
      }
      return found.getLast();
    }
  }

  private interface Part {
    long of(Return each);
  }

  private static void tell(String what, List<Return> returns, Part part) {
    long[] nanos = returns.stream().mapToLong(part::of).sorted().toArray();
    System.out.printf(
        "%s: %s (%s – %s)%n",
        what,
        Screen.millis(nanos[nanos.length / 2]),
        Screen.millis(Arrays.stream(nanos).min().orElseThrow()),
        Screen.millis(Arrays.stream(nanos).max().orElseThrow()));
  }

  private Return round() throws IOException, InterruptedException {
    Path directory = Files.createTempDirectory("holdfast-bench");
    Path run = Files.createDirectories(directory.resolve("run"));
    Process dying = dying(run);
    try (VarlinkClient client = connect(run);
        RunningGuest guest =
            RunningGuest.start(
                client, VM, directory, Optional.empty(), Optional.empty(), memory, 1);
        GuestMemory ram = GuestMemory.map(linux, guest.memory())) {
      Heartbeat page = ram.heartbeat(guest.boot());
      try {
        JsonObject report = guest.update(Optional.empty(), _ -> {});
        throw new IOException("the agent did not die in the update: " + report);
      } catch (VarlinkConnectionException _) {
        int _ = dying.waitFor();
      }
      KexecWithoutKernel.arrive(run, VM);
      long count = ram.again(page).count();
      Thread.sleep(STILL);
      if (ram.again(page).count() != count) {
        throw new IOException("the guest does not stand still, though nothing may run it");
      }
      long started = System.nanoTime();
      long[] beats = {0};
      Thread watch = new Thread(() -> beats[0] = awaitBeat(ram, page, count, started));
      watch.start();
      try (AgentProcess agent = AgentProcess.start(linux, directory);
          VarlinkClient now = agent.client()) {
        watch.join();
        if (beats[0] == 0) {
          throw new IOException("the guest did not come back; the agent said: " + agent.said());
        }
        return Return.of(started, beats[0], report(now));
      }
    } finally {
      dying.destroyForcibly();
      // Whatever a failure left is known to an agent of that directory, which ends it.
      if (Files.exists(directory)) {
        AgentProcess.start(linux, directory).close();
      }
    }
  }

  private static Process dying(Path run) throws IOException {
    List<String> command =
        Jvm.command(
            "io.holdfast.benchmarks",
            DyingAgent.class.getName(),
            List.of("-XX:TieredStopAtLevel=1"),
            List.of(run.toString()));
    return new ProcessBuilder(command).inheritIO().start();
  }

  private VarlinkClient connect(Path run) throws InterruptedException {
    long end = System.nanoTime() + PATIENCE.toNanos();
    while (true) {
      try {
        // The agent takes calls when it is ready for them.
        return VarlinkClient.connect(linux, run.resolve("agent.sock"));
      } catch (VarlinkConnectionException e) {
        if (System.nanoTime() > end) {
          throw e;
        }
        Thread.sleep(20);
      }
    }
  }

  /** When the guest's heart beat again, by {@link System#nanoTime}; 0 if it did not. */
  private static long awaitBeat(GuestMemory ram, Heartbeat page, long count, long started) {
    while (System.nanoTime() - started < PATIENCE.toNanos()) {
      if (ram.again(page).count() != count) {
        return System.nanoTime();
      }
      LockSupport.parkNanos(200_000);
    }
    return 0;
  }

  /** The agent answers before the update has ended. */
  private static JsonObject report(VarlinkClient agent) throws InterruptedException {
    long end = System.nanoTime() + PATIENCE.toNanos();
    while (true) {
      List<JsonObject> reports =
          agent.call("io.holdfast.Update.List", JsonObject.empty()).array("reports").objects();
      if (!reports.isEmpty() || System.nanoTime() > end) {
        return reports.getFirst();
      }
      Thread.sleep(20);
    }
  }
}
