package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Signal;
import io.holdfast.linux.UnixSocket;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;

/**
 * What the clocks of a real guest see of an update, as the guest itself tells: its wall clock
 * through QEMU's own guest agent, its monotonic clock in its heartbeat. Blackouts are made long by
 * stopping the agent of the host in them.
 */
@Tag("guest")
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class GuestTimeTest {
  private static final long MILLI = 1_000_000;

  private Optional<Host> started = Optional.empty();
  private Optional<GuestMemory> mapped = Optional.empty();
  private Optional<Heartbeat> first = Optional.empty();

  @BeforeAll
  void start() throws IOException, InterruptedException {
    String initramfs = System.getenv().getOrDefault("HOLDFAST_GUEST_AGENT", "");
    assumeTrue(
        Files.exists(Path.of(initramfs)) && !initramfs.isEmpty(),
        "needs the test guest with QEMU's guest agent: HOLDFAST_GUEST_AGENT, which ./test sets");
    started = Optional.of(Host.start());
    JsonObject definition =
        host()
            .definition(Host.qemu())
            .with("initrd", initramfs)
            .with("memory", 256L << 20)
            .with("channels", List.of("org.qemu.guest_agent.0"));
    var _ = host().runVm(definition);
    try (VarlinkClient client =
            VarlinkClient.connect(Linux.system(), host().run().resolve("agent.sock"));
        Reply reply =
            client.call("io.holdfast.Vm.Memory", JsonObject.of("name", Host.VM), List.of());
        Fd ram = reply.descriptors().take(0)) {
      GuestMemory memory = GuestMemory.map(Linux.system(), ram);
      mapped = Optional.of(memory);
      first = Optional.of(memory.heartbeat(host().boot()));
    }
    long _ = offset();
  }

  @AfterAll
  void end() throws IOException {
    mapped.ifPresent(GuestMemory::close);
    if (started.isPresent()) {
      started.get().close();
    }
  }

  private Host host() {
    return started.orElseThrow();
  }

  private static long now() {
    Instant now = Instant.now();
    return now.getEpochSecond() * 1_000_000_000 + now.getNano();
  }

  /**
   * The guest's wall clock less the host's in ns, right to some milliseconds. Asked by hand: the
   * test must not share a mistake with what it tests.
   */
  private long offset() {
    long[] offset = {0};
    Host.await("an answer of the guest's agent", () -> ask(offset));
    return offset[0];
  }

  private boolean ask(long[] offset) {
    Path path = host().run().resolve("vms/" + Host.VM + "/channel-org.qemu.guest_agent.0.sock");
    try (UnixSocket socket = Linux.system().connect(path)) {
      // It may still answer what was asked before: this one is told by its number.
      long id = System.nanoTime() & 0x7fff_ffff;
      String sync = "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":" + id + "}}\n";
      if (answer(socket, sync, Long.toString(id)).isEmpty()) {
        return false;
      }
      long best = Long.MAX_VALUE;
      for (int i = 0; i < 5; i++) {
        long before = now();
        Optional<String> answer = answer(socket, "{\"execute\":\"guest-get-time\"}\n", "return");
        long after = now();
        if (answer.isEmpty()) {
          return false;
        }
        if (after - before < best) {
          best = after - before;
          offset[0] = Json.parse(answer.get()).number("return") - (before + after) / 2;
        }
      }
      return true;
    }
  }

  /** The first line that has this in it; empty if none comes for some time. */
  private static Optional<String> answer(UnixSocket socket, String request, String with) {
    socket.send(request.getBytes(StandardCharsets.US_ASCII));
    StringBuilder text = new StringBuilder();
    byte[] buffer = new byte[4096];
    while (true) {
      int end = text.indexOf("\n");
      if (end >= 0) {
        String line = text.substring(0, end);
        text.delete(0, end + 1);
        if (line.contains(with)) {
          return Optional.of(line);
        }
        continue;
      }
      boolean comes = !Linux.system().poll(List.of(socket.fd()), Duration.ofSeconds(2)).isEmpty();
      int bytes = comes ? socket.receive(buffer).bytes() : 0;
      if (bytes == 0) {
        return Optional.empty();
      }
      text.append(new String(buffer, 0, bytes, StandardCharsets.ISO_8859_1));
    }
  }

  private Heartbeat heartbeat() {
    return mapped.orElseThrow().again(first.orElseThrow());
  }

  private JsonObject update(String clock) {
    return host()
        .call("Update.Vmm", JsonObject.of("name", Host.VM, "clock", clock))
        .object("report");
  }

  private JsonObject plan(String clock) {
    return host()
        .call("Update.Vmm", JsonObject.of("name", Host.VM, "clock", clock, "dryRun", true))
        .object("report");
  }

  /**
   * Updates, with a blackout made so long: the host's agent is stopped as soon as its journal says
   * so.
   *
   * @param record what the journal must have
   */
  private JsonObject updateWithBlackout(String clock, String record, long millis) throws Exception {
    CompletableFuture<JsonObject> update = CompletableFuture.supplyAsync(() -> update(clock));
    while (!journal().contains(record)) {
      assertThat(update).as("the moment never came").isNotDone();
      Thread.sleep(1);
    }
    try (PidFd agent = Linux.system().pidfd(Math.toIntExact(host().agentPid()))) {
      boolean _ = agent.signal(Signal.STOP);
      Thread.sleep(millis);
      boolean _ = agent.signal(Signal.CONT);
    }
    return update.get();
  }

  private String journal() throws IOException {
    StringBuilder text = new StringBuilder();
    try (DirectoryStream<Path> journals =
        Files.newDirectoryStream(host().run().resolve("updates"), "*.journal")) {
      for (Path each : journals) {
        text.append(Files.readString(each));
      }
    }
    return text.toString();
  }

  private void assertSound(Heartbeat before, long problems) {
    host().assertWhole();
    Heartbeat after = heartbeat();
    assertThat(after.clock()).as("CLOCK_MONOTONIC").isGreaterThan(before.clock());
    assertThat(after.problems()).as("what the guest's kernel complained of").isEqualTo(problems);
  }

  @Test
  void thePlanSaysWhatTheClockWillDo() {
    JsonObject corrected = plan("correct");
    assertThat(corrected.array("preserved").strings())
        .anyMatch(each -> each.contains("the guest's wall clock: its guest agent sets it"));
    assertThat(corrected.array("losses").strings()).noneMatch(each -> each.contains("clock"));
    assertThat(plan("lag").array("losses").strings())
        .anyMatch(
            each ->
                each.matches(
                    ".*wall clock will lag by about \\d+ ms \\(the blackout\\), as was asked for"));
  }

  /** One without a channel, and one with a channel on which nobody answers as an agent does. */
  @Test
  void withoutAnAgentThePlanSaysByHowMuchItLags() {
    for (List<String> channels : List.of(List.<String>of(), List.of("org.qemu.guest_agent.0"))) {
      JsonObject definition =
          host()
              .definition(Host.qemu())
              .with("name", "plain")
              .with("disks", List.of())
              .with("channels", channels);
      var _ = host().call("Vm.Run", JsonObject.of("definition", definition));
      try {
        JsonObject plan =
            host()
                .call("Update.Vmm", JsonObject.of("name", "plain", "dryRun", true))
                .object("report");
        assertThat(plan.string("outcome")).as("%s", plan).isEqualTo("planned");
        assertThat(plan.array("losses").strings())
            .anyMatch(
                each ->
                    each.matches(".*wall clock will lag by about \\d+ ms \\(the blackout\\): .*"));
      } finally {
        var _ = host().call("Vm.Stop", JsonObject.of("name", "plain"));
      }
    }
  }

  @Test
  void theWallClockIsCorrectedAndTheMonotonicOneGoesOn() throws Exception {
    Heartbeat before = heartbeat();
    long offset = offset();
    JsonObject report = updateWithBlackout("correct", " HANDED_OVER ", 2000);
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    assertThat(report.number("blackout")).isGreaterThan(1900 * MILLI);
    assertThat(Math.abs(offset() - offset))
        .as("ns that the wall clock is off; %s", report)
        .isLessThan(250 * MILLI);
    assertSound(before, before.problems());
  }

  @Test
  void theWallClockLagsByTheBlackoutIfThatIsWanted() throws Exception {
    Heartbeat before = heartbeat();
    long offset = offset();
    JsonObject report = updateWithBlackout("lag", " HANDED_OVER ", 2000);
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    long lag = offset - offset();
    assertThat(Math.abs(lag - report.number("blackout")))
        .as("lag of %d ns; %s", lag, report)
        .isLessThan(250 * MILLI);
    assertSound(before, before.problems());
  }

  /** Far beyond every deadline, so it is undone; and longer than what a kernel calls a lockup. */
  @Test
  void standingStillForLongIsNoLockupAndIsCorrectedToo() throws Exception {
    Heartbeat before = heartbeat();
    long offset = offset();
    JsonObject report = updateWithBlackout("correct", " vm1 stopped ", 25_000);
    // The agent may find the answer there when it goes on, or its deadline passed: as they wake up.
    assertThat(report.string("outcome")).as("%s", report).isIn("cancelled", "completed");
    assertThat(Math.abs(offset() - offset))
        .as("ns that the wall clock is off; %s", report)
        .isLessThan(250 * MILLI);
    // The guest looks into its kernel's log once a second.
    Thread.sleep(2500);
    assertSound(before, before.problems());
  }

  /** It reads where the clock was from the journal. */
  @Test
  void anotherAgentCorrectsItToo() throws Exception {
    Heartbeat before = heartbeat();
    long offset = offset();
    CompletableFuture<Void> update =
        CompletableFuture.runAsync(
            () ->
                assertThatThrownBy(() -> update("correct"))
                    .isInstanceOf(VarlinkConnectionException.class));
    while (!journal().contains(" RESTORED ")) {
      assertThat(update).isNotDone();
      Thread.sleep(1);
    }
    host().killAgent();
    update.get();
    Thread.sleep(1000);
    host().startAgent();
    assertThat(Math.abs(offset() - offset)).as("ns that it is off").isLessThan(250 * MILLI);
    assertSound(before, before.problems());
  }
}
