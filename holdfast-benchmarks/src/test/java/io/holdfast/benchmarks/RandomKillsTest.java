package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Signal;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * A real guest is updated back and forth, and each time somebody is killed with SIGKILL from
 * outside at a random moment: sixty times in each run, two hundred at night. The guest goes on in
 * exactly one process, its console and its disk never fork, repeat or skip, and nothing is left
 * over.
 *
 * <p>The seed is printed; {@code HOLDFAST_SEED=N ./test} repeats a run.
 */
@Tag("guest")
class RandomKillsTest {
  /** Longer than most updates: some of the kills come just after one. */
  private static final int LATEST_MILLIS = 700;

  private final Map<Victim, Integer> struck = new EnumMap<>(Victim.class);
  private final Map<String, Integer> ends = new TreeMap<>();
  private Optional<Host> started = Optional.empty();
  private String story = "";

  private enum Victim {
    AGENT,
    /** And the next one while it recovers. */
    AGENT_TWICE,
    CLIENT,
    /** Before the guest may have run in it. */
    SUCCESSOR,
    KEEPER
  }

  @AfterEach
  void end() throws IOException {
    if (started.isPresent()) {
      started.get().close();
    }
  }

  private Host host() {
    return started.orElseThrow();
  }

  @Test
  @Promise("never-twice")
  void sixtyKills() throws Exception {
    kills(60);
  }

  @Test
  @Tag("nightly")
  @Promise("never-twice")
  void twoHundredKills() throws Exception {
    kills(200);
  }

  private void kills(int rounds) throws Exception {
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    long seed = Long.getLong("holdfast.seed", System.nanoTime());
    System.out.println("RandomKillsTest: HOLDFAST_SEED=" + seed);
    Random random = new Random(seed);
    String other = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    started = Optional.of(Host.start());
    var _ = host().runVm(Host.qemu());
    long begun = System.nanoTime();
    for (int round = 1; round <= rounds; round++) {
      int dice = random.nextInt(100);
      Victim victim =
          dice < 55
              ? Victim.AGENT
              : dice < 65
                  ? Victim.AGENT_TWICE
                  : dice < 73 ? Victim.CLIENT : dice < 95 ? Victim.SUCCESSOR : Victim.KEEPER;
      long millis = random.nextInt(LATEST_MILLIS);
      boolean there = !other.isEmpty() && random.nextBoolean();
      story =
          "seed %d, round %d: %s after %d ms of an update to %s"
              .formatted(seed, round, victim, millis, there ? other : Host.qemu());
      try {
        round(victim, millis, there ? other : Host.qemu(), random);
      } catch (AssertionError e) {
        throw new AssertionError(story + ": " + e.getMessage(), e);
      }
    }
    System.out.printf(
        "RandomKillsTest: %d s, killed %s, updates %s%n",
        (System.nanoTime() - begun) / 1_000_000_000, struck, ends);
    // What it writes while it is stopped nobody could read on its console any more.
    var _ = host().call("Vm.Pause", JsonObject.of("name", Host.VM));
    RunningGuest.pause(300);
    host().followConsole();
    host().stopVm();
    assertThat(host().diskCheck().good()).as("disk: %s", host().diskCheck()).isTrue();
    host().assertEmpty();
  }

  private void round(Victim victim, long millis, String qemu, Random random) throws Exception {
    long begun = System.nanoTime();
    if (victim == Victim.CLIENT) {
      killClient(millis, qemu);
    } else {
      CompletableFuture<Optional<JsonObject>> update =
          CompletableFuture.supplyAsync(() -> update(qemu));
      RunningGuest.pause(Math.max(0, millis - (System.nanoTime() - begun) / 1_000_000));
      switch (victim) {
        case AGENT -> host().killAgent();
        case AGENT_TWICE -> {
          host().killAgent();
          host().startAgentAndKillIt(random.nextInt(LATEST_MILLIS));
        }
        case SUCCESSOR -> killSuccessor();
        case KEEPER -> kill(host().keeper(), Signal.KILL);
        case CLIENT -> throw new IllegalStateException("has a way of its own");
      }
      if (victim == Victim.AGENT || victim == Victim.AGENT_TWICE) {
        host().startAgent();
      }
      Optional<JsonObject> report = await(update);
      String outcome = report.map(each -> each.string("outcome")).orElse("cut off");
      assertThat(outcome)
          .as("%s; agent: %s", report, host().said())
          .isIn("completed", "recovered", "cancelled", "cut off");
      var _ = ends.merge(outcome, 1, Integer::sum);
    }
    var _ = struck.merge(victim, 1, Integer::sum);
    host().assertWhole();
  }

  /** The report; empty if the agent was killed. */
  private Optional<JsonObject> update(String qemu) {
    try {
      return Optional.of(host().update(qemu));
    } catch (VarlinkConnectionException e) {
      return Optional.empty();
    }
  }

  private static Optional<JsonObject> await(CompletableFuture<Optional<JsonObject>> update)
      throws ExecutionException, InterruptedException {
    try {
      return update.get(60, TimeUnit.SECONDS);
    } catch (TimeoutException e) {
      throw new AssertionError("the update does not end", e);
    }
  }

  /** The update goes on to its end without it. */
  private void killClient(long millis, String qemu) throws IOException, InterruptedException {
    long before = host().show().number("generation");
    Path said = host().directory().resolve("client.out");
    Process client =
        new ProcessBuilder(
                Jvm.command(
                    "io.holdfast.benchmarks",
                    UpdateClient.class.getName(),
                    List.of("-XX:TieredStopAtLevel=1"),
                    List.of(host().run().resolve("agent.sock").toString(), Host.VM, qemu)))
            .redirectErrorStream(true)
            .redirectOutput(said.toFile())
            .start();
    Host.await(
        "the update's begin: " + said, () -> said.toFile().length() > 0 || !client.isAlive());
    RunningGuest.pause(millis);
    client.destroyForcibly().waitFor();
    Host.await(
        "the update's end without its client",
        () -> !host().show().string("state").equals("updating"));
    assertThat(host().show().number("generation"))
        .as(
            "client said %s; last report: %s",
            Files.readString(said),
            host().call("Update.List", JsonObject.empty()).array("reports").objects().getLast())
        .isEqualTo(before + 1);
    var _ = ends.merge("completed", 1, Integer::sum);
  }

  /**
   * Kills the successor if there is one in which the guest has not run: the journal says so, while
   * the agent, which writes it, is stopped.
   */
  private void killSuccessor() throws IOException {
    kill(host().agentPid(), Signal.STOP);
    try {
      Host.await("an agent that stands still", () -> Host.stopped(host().agentPid()));
      long predecessor = Host.recordedProcess(host().run());
      boolean mayHaveRun = journals().stream().anyMatch(text -> text.contains(" vm1 runs "));
      if (!mayHaveRun) {
        for (long pid : Host.qemus(host().run())) {
          if (pid != predecessor) {
            kill(pid, Signal.KILL);
            Host.await("the end of process " + pid, () -> !Host.alive(pid));
          }
        }
      }
    } finally {
      kill(host().agentPid(), Signal.CONT);
    }
  }

  private List<String> journals() throws IOException {
    List<String> texts = new ArrayList<>();
    try (DirectoryStream<Path> found =
        Files.newDirectoryStream(host().run().resolve("updates"), "*.journal")) {
      for (Path each : found) {
        texts.add(Files.readString(each, StandardCharsets.US_ASCII));
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
    return texts;
  }

  private static void kill(long pid, Signal signal) {
    try (PidFd process = Linux.system().pidfd(Math.toIntExact(pid))) {
      boolean _ = process.signal(signal);
    }
  }
}
