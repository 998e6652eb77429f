package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.FaultyAgent.Fault;
import io.holdfast.benchmarks.FaultyAgent.Victim;
import io.holdfast.linux.Call;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Received;
import io.holdfast.linux.UnixSocket;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * A guest's console and ports on the real thing: {@code holdfast vm console} stays attached through
 * updates, rollbacks and the agent's death; what the guest said is there once and in order, and
 * what was typed reached it once.
 */
@Tag("guest")
class ConsolesTest {
  private static final String PORT = "org.holdfast.echo";
  private static final String ECHO = "note: echo ";

  private Optional<Host> started = Optional.empty();
  private final List<Process> clients = new ArrayList<>();

  @BeforeEach
  void start() throws IOException, InterruptedException {
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    started = Optional.of(Host.start());
  }

  @AfterEach
  void end() throws IOException {
    clients.forEach(Process::destroyForcibly);
    if (started.isPresent()) {
      started.get().close();
    }
  }

  private Host host() {
    return started.orElseThrow();
  }

  private Path output() {
    return host().directory().resolve("viewer.out");
  }

  /** Starts {@code holdfast vm console} in a process of its own. */
  private Process viewer(String... options) throws IOException {
    List<String> arguments = new ArrayList<>(List.of("vm", "console", Host.VM));
    arguments.addAll(List.of(options));
    arguments.addAll(List.of("--socket", host().run().resolve("agent.sock").toString()));
    Process viewer =
        new ProcessBuilder(
                Jvm.command(
                    "io.holdfast.cli",
                    "io.holdfast.cli.Holdfast",
                    List.of("-XX:TieredStopAtLevel=1"),
                    arguments))
            .redirectOutput(output().toFile())
            .redirectError(host().directory().resolve("viewer.err").toFile())
            .start();
    clients.add(viewer);
    return viewer;
  }

  private void type(Process viewer, int line) throws IOException {
    OutputStream keys = viewer.getOutputStream();
    keys.write((line + "\n").getBytes(StandardCharsets.UTF_8));
    keys.flush();
  }

  private List<String> echoes() throws IOException {
    return Files.readAllLines(output()).stream()
        .filter(line -> line.startsWith(ECHO))
        .map(line -> line.substring(ECHO.length()))
        .toList();
  }

  private void awaitEchoes(int count) {
    Host.await(
        "echo of line " + (count - 1),
        () -> {
          try {
            return echoes().size() >= count;
          } catch (IOException e) {
            throw new AssertionError(e);
          }
        });
  }

  private static List<String> numbers(int count) {
    return IntStream.range(0, count).mapToObj(Integer::toString).toList();
  }

  /** Stops the VM; what the viewer got until its end must be the whole log. */
  private void assertViewerHasAll(Process viewer, int typed)
      throws IOException, InterruptedException {
    Path log = Path.of(host().show().string("consoleLog"));
    Path link = Files.createLink(host().directory().resolve("log"), log);
    awaitEchoes(typed);
    host().followConsole();
    host().stopVm();
    String said = Files.readString(host().directory().resolve("viewer.err"));
    assertThat(viewer.waitFor(30, TimeUnit.SECONDS)).as("the viewer ends: %s", said).isTrue();
    assertThat(viewer.exitValue()).as("the viewer said %s", said).isZero();
    assertThat(Files.readString(output())).isEqualTo(Files.readString(link));
    assertThat(echoes()).isEqualTo(numbers(typed));
    host().assertEmpty();
  }

  private Optional<JsonObject> update(String qemu) {
    try {
      return Optional.of(host().update(qemu));
    } catch (VarlinkConnectionException | VarlinkException e) {
      return Optional.empty();
    }
  }

  @Test
  @Promise("consoles")
  void serialConsoleThroughEightUpdatesAndARollback() throws Exception {
    serialConsole(8);
  }

  @Test
  @Tag("nightly")
  @Promise("consoles")
  void serialConsoleThroughTwentyUpdatesAndARollback() throws Exception {
    serialConsole(20);
  }

  private void serialConsole(int updates) throws Exception {
    String other = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    var _ = host().runVm(host().definition(Host.qemu()));
    Process viewer = viewer("--tail", "16M");
    int typed = 0;
    for (int i = 0; i < updates; i++) {
      String qemu = i % 2 == 0 && !other.isEmpty() ? other : Host.qemu();
      boolean rollBack = i == updates / 2 - 1;
      if (rollBack) {
        host().arm(new Fault(true, Call.SENDMSG, "^QEVM", Victim.SUCCESSOR));
      }
      CompletableFuture<Optional<JsonObject>> update =
          CompletableFuture.supplyAsync(() -> update(qemu));
      while (!update.isDone()) {
        type(viewer, typed++);
        RunningGuest.pause(10);
      }
      JsonObject report = update.get().orElseThrow();
      assertThat(report.string("outcome"))
          .as(report.string("message"))
          .isEqualTo(rollBack ? "cancelled" : "completed");
    }
    assertThat(typed).isGreaterThan(100);
    assertViewerHasAll(viewer, typed);
  }

  @Test
  @Promise("consoles")
  void agentKilledAtEightMomentsWhileTheGuestTalks() throws Exception {
    agentKilled(8);
  }

  @Test
  @Tag("nightly")
  @Promise("consoles")
  void agentKilledAtManyMomentsWhileTheGuestTalks() throws Exception {
    agentKilled(40);
  }

  private void agentKilled(int times) throws Exception {
    long seed = Long.getLong("holdfast.seed", System.nanoTime());
    System.out.println("ConsolesTest: seed " + seed);
    Random random = new Random(seed);
    var _ = host().runVm(host().definition(Host.qemu()));
    Process viewer = viewer("--tail", "16M");
    type(viewer, 0);
    awaitEchoes(1);
    int typed = 1;
    for (int i = 0; i < times; i++) {
      boolean updating = i % 3 != 0;
      CompletableFuture<Optional<JsonObject>> update =
          updating
              ? CompletableFuture.supplyAsync(() -> update(Host.qemu()))
              : CompletableFuture.completedFuture(Optional.empty());
      long killAt = System.nanoTime() + random.nextInt(1200) * 1_000_000L;
      while (System.nanoTime() < killAt) {
        type(viewer, typed++);
        RunningGuest.pause(5);
      }
      host().killAgent();
      // The console takes what is typed while there is no agent, too.
      type(viewer, typed++);
      host().startAgent();
      type(viewer, typed++);
      var _ = update.get();
    }
    assertThat(Files.readString(host().directory().resolve("viewer.err")))
        .as("seed %d", seed)
        .contains("the agent is there again")
        .doesNotContain("no longer in the log");
    assertViewerHasAll(viewer, typed);
  }

  @Test
  @Promise("consoles")
  void virtioConsoleAndANamedPortThroughUpdates() throws Exception {
    var _ =
        host()
            .runVm(
                host()
                    .definition(Host.qemu())
                    .with("console", "virtio")
                    .with("channels", List.of(PORT)));
    JsonObject channel = host().show().array("channels").objects().getFirst();
    assertThat(channel.string("name")).isEqualTo(PORT);
    Process viewer = viewer("--tail", "16M");
    int typed = 0;
    StringBuilder sent = new StringBuilder();
    StringBuilder got = new StringBuilder();
    byte[] buffer = new byte[1 << 16];
    try (UnixSocket client = Linux.system().connect(Path.of(channel.string("socket")))) {
      for (int i = 0; i < 6; i++) {
        CompletableFuture<Optional<JsonObject>> update =
            CompletableFuture.supplyAsync(() -> update(Host.qemu()));
        for (int line = 0; !update.isDone(); line++) {
          type(viewer, typed++);
          String request = "update " + i + " line " + line + "\n";
          client.send(request.getBytes(StandardCharsets.UTF_8));
          sent.append(request);
          RunningGuest.pause(10);
          for (Optional<Received> next = client.receiveNow(buffer);
              next.isPresent() && !next.get().end();
              next = client.receiveNow(buffer)) {
            got.append(new String(buffer, 0, next.get().bytes(), StandardCharsets.UTF_8));
          }
        }
        assertThat(update.get().orElseThrow().string("outcome")).isEqualTo("completed");
        if (i == 2) {
          // The port's client outlives the agent as well.
          host().killAgent();
          host().startAgent();
        }
      }
      while (got.length() < sent.length()) {
        Received next = client.receive(buffer);
        assertThat(next.end()).as("the port's end after %s", got).isFalse();
        got.append(new String(buffer, 0, next.bytes(), StandardCharsets.UTF_8));
      }
      assertThat(got.toString()).isEqualTo(sent.toString());
    }
    assertViewerHasAll(viewer, typed);
  }

  @Test
  @Promise("consoles")
  void logBeginsAnewAtItsLimit() throws Exception {
    long limit = 64 << 10;
    var _ = host().runVm(host().definition(Host.qemu()).with("consoleLogLimit", limit));
    Process viewer = viewer("--tail", "16M");
    Path log = Path.of(host().show().string("consoleLog"));
    Path old = log.resolveSibling("console.log.1");
    OutputStream keys = viewer.getOutputStream();
    for (int i = 0; !Files.exists(old); i++) {
      assertThat(i).isLessThan(3000);
      keys.write(("x".repeat(180) + "\n").getBytes(StandardCharsets.UTF_8));
      keys.flush();
      RunningGuest.pause(20);
    }
    assertThat(Files.size(old)).isEqualTo(limit);
    JsonObject report = host().update(Host.qemu());
    assertThat(report.string("outcome")).as(report.string("message")).isEqualTo("completed");
    Path oldLink = Files.createLink(host().directory().resolve("log.1"), old);
    Path link = Files.createLink(host().directory().resolve("log"), log);
    host().stopVm();
    assertThat(viewer.waitFor(30, TimeUnit.SECONDS)).isTrue();
    assertThat(Files.readString(output()))
        .isEqualTo(Files.readString(oldLink) + Files.readString(link));
    host().assertEmpty();
  }
}
