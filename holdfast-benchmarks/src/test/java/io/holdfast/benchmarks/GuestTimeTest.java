package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.FaultyAgent.Fault;
import io.holdfast.benchmarks.FaultyAgent.Victim;
import io.holdfast.linux.Call;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Signal;
import io.holdfast.linux.UnixSocket;
import io.holdfast.promise.Promise;
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
import java.util.ArrayList;
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
  private static final long STOPPED_MILLIS = 2000;

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
    var _ = reading();
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

  /** A number of ns that is certainly not less than {@code from} and not more than {@code to}. */
  private record Range(long from, long to) {
    Range less(Range other) {
      return new Range(from - other.to, to - other.from);
    }

    boolean contains(long value) {
      return from <= value && value <= to;
    }
  }

  /**
   * The guest's wall clock at one moment, as bounds that hold however late any process or thread
   * was run: what it is compared with was read before the question and after the answer.
   *
   * @param offset its distance to the host's
   * @param sinceBoot its distance to the guest's monotonic clock, which only setting it changes
   */
  private record Reading(Range offset, Range sinceBoot) {}

  /** Asked by hand: the test must not share a mistake with what it tests. */
  private Reading reading() {
    List<Reading> answers = new ArrayList<>();
    Host.await("a quick answer of the guest's agent", () -> ask(answers));
    return answers.getFirst();
  }

  private boolean ask(List<Reading> answers) {
    Path path = host().run().resolve("vms/" + Host.VM + "/channel-org.qemu.guest_agent.0.sock");
    try (UnixSocket socket = Linux.system().connect(path)) {
      // It may still answer what was asked before: this one is told by its number.
      long id = System.nanoTime() & 0x7fff_ffff;
      String sync = "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":" + id + "}}\n";
      if (answer(socket, sync, Long.toString(id)).isEmpty()) {
        return false;
      }
      long uptimeBefore = heartbeat().clock();
      long before = now();
      Optional<String> answer = answer(socket, "{\"execute\":\"guest-get-time\"}\n", "return");
      long after = now();
      if (answer.isEmpty()) {
        return false;
      }
      // The first heartbeat that is seen may have begun before the answer.
      awaitUptimeAfter(heartbeat().clock());
      long uptimeAfter = awaitUptimeAfter(heartbeat().clock());
      long guest = Json.parse(answer.get()).number("return");
      Reading reading =
          new Reading(
              new Range(guest - after, guest - before),
              new Range(guest - uptimeAfter, guest - uptimeBefore));
      // Right, but too vague to tell a clock that was set from one that was not.
      if (reading.sinceBoot().to() - reading.sinceBoot().from() > STOPPED_MILLIS * MILLI / 4) {
        return false;
      }
      answers.add(reading);
      return true;
    }
  }

  private long awaitUptimeAfter(long clock) {
    Host.await("a heartbeat", () -> heartbeat().clock() > clock);
    return heartbeat().clock();
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
   * An update that was made long.
   *
   * @param report the report
   * @param stopped for how many ns the guest certainly did not run
   * @param around how many more ns passed from the question before to the one after it
   * @param lag by how many ns the wall clock lags more than before
   * @param set by how many ns the wall clock was set forward
   */
  private record LongUpdate(JsonObject report, long stopped, long around, Range lag, Range set) {}

  /** Does something during which the guest is stopped, and tells what the guest's clocks saw. */
  private LongUpdate measured(StoppedGuest what) throws Exception {
    long before = System.nanoTime();
    Reading first = reading();
    Stop stop = what.run();
    Reading then = reading();
    long all = System.nanoTime() - before;
    return new LongUpdate(
        stop.report(),
        stop.nanos(),
        all - stop.nanos(),
        first.offset().less(then.offset()),
        then.sinceBoot().less(first.sinceBoot()));
  }

  private record Stop(JsonObject report, long nanos) {}

  private interface StoppedGuest {
    Stop run() throws Exception;
  }

  /**
   * Updates, with a blackout made so long: the host's agent is stopped as soon as its journal says
   * so. Again if the agent had resumed the guest before it stopped.
   *
   * @param record what the journal must have
   */
  private Stop updateWithBlackout(String clock, String record, long millis) throws Exception {
    while (true) {
      CompletableFuture<JsonObject> update = CompletableFuture.supplyAsync(() -> update(clock));
      Host.await("the moment " + record, () -> update.isDone() || journal().contains(record));
      long stopped = 0;
      try (PidFd agent = Linux.system().pidfd(Math.toIntExact(host().agentPid()))) {
        boolean _ = agent.signal(Signal.STOP);
        try {
          Host.await("a stopped agent", () -> Host.stopped(host().agentPid()));
          if (guestIsStopped(record)) {
            long from = System.nanoTime();
            Thread.sleep(millis);
            stopped = System.nanoTime() - from;
          }
        } finally {
          boolean _ = agent.signal(Signal.CONT);
        }
      }
      JsonObject report = update.get();
      if (stopped > 0) {
        return new Stop(report, stopped);
      }
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    }
  }

  /** The journal has each step before it is taken. */
  private boolean guestIsStopped(String record) {
    String journal = journal();
    return journal.contains(record)
        && !journal.contains(" RESUMED ")
        && !journal.contains(" " + Host.VM + " runs ");
  }

  /**
   * The agent asked for the time, set it and was asked again within what was measured around the
   * stop, so what that took is the most by which the clock can be off.
   */
  private static void assertCorrected(LongUpdate update) {
    assertThat(update.set().from())
        .as("ns that the clock was set forward; %s", update)
        .isPositive();
    assertThat(update.lag().from()).as("lag; %s", update).isLessThanOrEqualTo(update.around());
    assertThat(update.lag().to()).as("lag; %s", update).isGreaterThanOrEqualTo(-update.around());
  }

  private String journal() {
    StringBuilder text = new StringBuilder();
    try (DirectoryStream<Path> journals =
        Files.newDirectoryStream(host().run().resolve("updates"), "*.journal")) {
      for (Path each : journals) {
        text.append(Files.readString(each));
      }
    } catch (IOException e) {
      return ""; // It was removed meanwhile.
    }
    return text.toString();
  }

  private void assertSound(Heartbeat before, long problems) {
    host().assertWhole();
    Heartbeat after = heartbeat();
    assertThat(after.clock()).as("CLOCK_MONOTONIC").isGreaterThan(before.clock());
    if (after.problems() != problems) {
      Host.await("what the guest says of it", () -> !host().complaints().isEmpty());
    }
    assertThat(after.problems())
        .as("what the guest's kernel complained of: %s", host().complaints())
        .isEqualTo(problems);
  }

  @Test
  @Promise("pauses")
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
  @Promise("pauses")
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
  @Promise("pauses")
  void theWallClockIsCorrectedAndTheMonotonicOneGoesOn() throws Exception {
    Heartbeat before = heartbeat();
    LongUpdate update =
        measured(() -> updateWithBlackout("correct", " HANDED_OVER ", STOPPED_MILLIS));
    assertThat(update.report().string("outcome")).as("%s", update).isEqualTo("completed");
    assertThat(update.report().number("blackout")).isGreaterThanOrEqualTo(update.stopped());
    assertCorrected(update);
    assertSound(before, before.problems());
  }

  @Test
  @Promise("pauses")
  void theWallClockLagsByTheBlackoutIfThatIsWanted() throws Exception {
    Heartbeat before = heartbeat();
    LongUpdate update = measured(() -> updateWithBlackout("lag", " HANDED_OVER ", STOPPED_MILLIS));
    assertThat(update.report().string("outcome")).as("%s", update).isEqualTo("completed");
    assertThat(update.set().contains(0)).as("the clock was not set; %s", update).isTrue();
    assertThat(update.lag().to()).as("%s", update).isGreaterThanOrEqualTo(update.stopped());
    assertThat(update.lag().from())
        .as("%s", update)
        .isLessThanOrEqualTo(update.stopped() + update.around());
    assertSound(before, before.problems());
  }

  /** Far beyond every deadline, so it is undone; and longer than what a kernel calls a lockup. */
  @Test
  @Promise("pauses")
  void standingStillForLongIsNoLockupAndIsCorrectedToo() throws Exception {
    Heartbeat before = heartbeat();
    LongUpdate update = measured(() -> updateWithBlackout("correct", " vm1 stopped ", 25_000));
    // The agent may find the answer there when it goes on, or its deadline passed: as they wake up.
    assertThat(update.report().string("outcome")).as("%s", update).isIn("cancelled", "completed");
    assertCorrected(update);
    // The guest looks into its kernel's log once a second.
    long uptime = heartbeat().clock();
    Host.await("the guest's next looks", () -> heartbeat().clock() > uptime + 2500 * MILLI);
    assertSound(before, before.problems());
  }

  /** It reads where the clock was from the journal. */
  @Test
  @Promise("pauses")
  void anotherAgentCorrectsItToo() throws Exception {
    Heartbeat before = heartbeat();
    assertCorrected(
        measured(
            () -> {
              host()
                  .arm(new Fault(true, Call.WRITE, "^entered \\S*vm1\\S* RESTORED ", Victim.AGENT));
              assertThatThrownBy(() -> update("correct"))
                  .isInstanceOf(VarlinkConnectionException.class);
              host().awaitAgentDeath();
              long from = System.nanoTime();
              Thread.sleep(STOPPED_MILLIS);
              long stopped = System.nanoTime() - from;
              host().startAgent();
              return new Stop(JsonObject.empty(), stopped);
            }));
    assertSound(before, before.problems());
  }
}
