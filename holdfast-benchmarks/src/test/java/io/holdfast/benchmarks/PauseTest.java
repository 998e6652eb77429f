package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.FaultyAgent.Fault;
import io.holdfast.benchmarks.FaultyAgent.Victim;
import io.holdfast.linux.Call;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A paused guest does not run one instruction until it is resumed, whatever is done with it
 * meanwhile: its heartbeat in its memory tells. A real guest in real QEMU; the same one lives
 * through all of it.
 */
@Tag("guest")
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class PauseTest {
  private Optional<Host> started = Optional.empty();
  private Optional<GuestMemory> mapped = Optional.empty();
  private Optional<Heartbeat> heartbeat = Optional.empty();

  @BeforeAll
  void start() throws IOException, InterruptedException {
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    started = Optional.of(Host.start());
    var _ = host().runVm(Host.qemu());
    try (VarlinkClient client =
            VarlinkClient.connect(Linux.system(), host().run().resolve("agent.sock"));
        Reply reply =
            client.call("io.holdfast.Vm.Memory", JsonObject.of("name", Host.VM), List.of());
        Fd ram = reply.descriptors().take(0)) {
      GuestMemory memory = GuestMemory.map(Linux.system(), ram);
      mapped = Optional.of(memory);
      heartbeat = Optional.of(memory.heartbeat(host().boot()));
    }
  }

  @BeforeEach
  void pause() {
    assertThat(host().call("Vm.Pause", JsonObject.of("name", Host.VM)).object("vm").string("state"))
        .isEqualTo("paused");
  }

  /** After each: it goes on from where it stood still, unbroken, and nothing is left over. */
  @AfterEach
  void resume() throws IOException {
    host().disarm();
    assertThat(
            host().call("Vm.Resume", JsonObject.of("name", Host.VM)).object("vm").string("state"))
        .isEqualTo("running");
    host().assertWhole();
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

  private long beats() {
    return mapped.orElseThrow().again(heartbeat.orElseThrow()).count();
  }

  private void assertPausedSince(long beats) {
    assertThat(host().show().string("state")).isEqualTo("paused");
    RunningGuest.pause(50);
    assertThat(beats()).as("heartbeats of a paused guest").isEqualTo(beats);
    assertThat(Host.qemus(host().run())).hasSize(1);
  }

  @Test
  @Promise("paused-guests")
  void pausedTwiceAndResumedTwice() {
    long before = beats();
    var _ = host().call("Vm.Pause", JsonObject.of("name", Host.VM));
    assertPausedSince(before);
    for (int i = 0; i < 2; i++) {
      var _ = host().call("Vm.Resume", JsonObject.of("name", Host.VM));
      Host.await("heartbeats", () -> beats() > before);
    }
  }

  @Test
  @Promise("paused-guests")
  void anotherAgentFindsItPaused() throws IOException {
    long before = beats();
    host().killAgent();
    host().startAgent();
    assertPausedSince(before);
  }

  @Test
  @Promise("paused-guests")
  void staysPausedThroughUpdates() {
    long before = beats();
    long generation = host().show().number("generation");
    for (int i = 1; i <= 3; i++) {
      JsonObject plan =
          host()
              .call("Update.Vmm", JsonObject.of("name", Host.VM, "dryRun", true))
              .object("report");
      assertThat(plan.string("outcome")).isEqualTo("planned");
      assertThat(plan.array("preserved").strings()).contains("the guest stays paused");
      JsonObject report = host().update(Host.qemu());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      assertThat(report.string("message"))
          .isEqualTo("VM vm1, paused as before, is on its successor");
      assertPausedSince(before);
      assertThat(host().show().number("generation")).isEqualTo(generation + i);
    }
  }

  private static String entered(String state) {
    return "^entered \\S+ " + state + " ";
  }

  /** Undone before its state was sent, it is as it was; and it can be updated again. */
  @Test
  @Promise("paused-guests")
  void staysPausedWhenAnUpdateIsUndone() throws IOException {
    long before = beats();
    host().arm(new Fault(true, Call.WRITE, entered("PREPARED"), Victim.SUCCESSOR));
    JsonObject report = host().update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("cancelled");
    assertPausedSince(before);
    assertThat(host().update(Host.qemu()).string("outcome")).isEqualTo("completed");
    assertPausedSince(before);
  }

  /**
   * Undone after that it is paused too, but QEMU hands a guest over once only: the next update says
   * so, and goes once the guest has run.
   */
  @Test
  @Promise("paused-guests")
  void staysPausedWhenItsStateWasSentAlready() throws IOException {
    long before = beats();
    host().arm(new Fault(false, Call.SENDMSG, "^QEVM", Victim.SUCCESSOR));
    JsonObject report = host().update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("cancelled");
    assertThat(report.string("message"))
        .contains("VM vm1, paused as before, is on its predecessor");
    assertPausedSince(before);
    JsonObject again = host().update(Host.qemu());
    if (again.string("outcome").equals("refused")) {
      JsonObject obstacle = again.array("obstacles").objects().getFirst();
      assertThat(obstacle.string("why")).contains("does only once before the guest has run");
      assertThat(obstacle.string("advice")).contains("holdfast vm resume vm1");
    } else {
      assertThat(again.string("outcome")).as("%s", again).isEqualTo("completed");
    }
    assertPausedSince(before);
    var _ = host().call("Vm.Resume", JsonObject.of("name", Host.VM));
    var _ = host().call("Vm.Pause", JsonObject.of("name", Host.VM));
    assertThat(host().update(Host.qemu()).string("outcome")).isEqualTo("completed");
  }

  static Stream<Arguments> steps() {
    Stream<String> records =
        Stream.of(
            entered("PREPARING"),
            "^fact \\S+ vm1 successor starting ",
            "^fact \\S+ vm1 successor [0-9]",
            entered("PREPARED"),
            entered("FREEZING"),
            "^fact \\S+ vm1 paused ",
            entered("FROZEN"),
            entered("HANDED_OVER"),
            entered("RESTORING"),
            entered("RESTORED"),
            entered("COMMITTED"),
            entered("RESUMED"),
            entered("NORMAL"));
    return records.flatMap(each -> Stream.of(Arguments.of(each, false), Arguments.of(each, true)));
  }

  @ParameterizedTest
  @MethodSource("steps")
  @Promise("paused-guests")
  void theAgentDies(String record, boolean after) throws IOException {
    long before = beats();
    long generation = host().show().number("generation");
    host().arm(new Fault(after, Call.WRITE, record, Victim.AGENT));
    assertThatThrownBy(() -> host().update(Host.qemu()))
        .isInstanceOf(VarlinkConnectionException.class);
    host().awaitAgentDeath();
    assertThat(host().armed()).as("the moment %s never came", record).isFalse();
    host().startAgent();
    assertPausedSince(before);
    boolean committed =
        Stream.of("RESUMED", "NORMAL").anyMatch(record::contains)
            || (record.contains("COMMITTED") && after);
    assertThat(host().show().number("generation"))
        .isEqualTo(committed ? generation + 1 : generation);
  }

  /** It has not run in its successor, so that can be started again at any time. */
  @ParameterizedTest
  @ValueSource(strings = {"COMMITTED", "RESUMED"})
  @Promise("paused-guests")
  void theSuccessorDiesAfterTheCommit(String state) throws IOException {
    long before = beats();
    host().arm(new Fault(true, Call.WRITE, entered(state), Victim.SUCCESSOR));
    JsonObject report = host().update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isIn("completed", "recovered");
    assertPausedSince(before);
  }

  /** What has the VM is named, and the update goes on as if nobody had asked. */
  @ParameterizedTest
  @ValueSource(strings = {"Pause", "Resume"})
  @Promise("paused-guests")
  void isRefusedDuringAnUpdate(String method) {
    long before = beats();
    CountDownLatch asked = new CountDownLatch(1);
    try (VarlinkClient client =
        VarlinkClient.connect(Linux.system(), host().run().resolve("agent.sock"))) {
      client.callMore(
          "io.holdfast.Update.Vmm",
          JsonObject.of("name", Host.VM, "qemu", Host.qemu()),
          List.of(),
          reply -> {
            if (reply.parameters().has("progress") && asked.getCount() > 0) {
              asked.countDown();
              JsonObject vm = host().show();
              assertThat(vm.string("state")).as("%s", vm).isEqualTo("updating");
              assertThat(vm.string("reason"))
                  .isEqualTo(
                      "update %s is under way"
                          .formatted(reply.parameters().object("progress").string("id")));
              assertThatThrownBy(() -> host().call("Vm." + method, JsonObject.of("name", Host.VM)))
                  .isInstanceOf(VarlinkException.class)
                  .hasMessageContaining("VM vm1 is taken by update ");
            }
          });
    }
    assertThat(asked.getCount()).isZero();
    assertPausedSince(before);
  }

  /** One that has powered itself off, as its QEMU was told to stay. */
  @Test
  void aGuestThatStandsStillByItselfIsNamedAndRefused() {
    JsonObject definition =
        host()
            .definition(Host.qemu())
            .with("name", "off")
            .with("disks", List.of())
            .with("extra", List.of("-no-reboot", "-no-shutdown"));
    var _ = host().call("Vm.Run", JsonObject.of("definition", definition));
    try {
      JsonObject name = JsonObject.of("name", "off");
      var _ = host().call("Vm.Qmp", name.with("command", "system_reset"));
      Host.await(
          "the guest's end",
          () -> host().call("Vm.Show", name).object("vm").string("state").equals("stopped"));
      assertThat(host().call("Vm.Show", name).object("vm").string("reason"))
          .isEqualTo("it has shut itself down");
      for (String method : List.of("Vm.Pause", "Vm.Resume")) {
        assertThatThrownBy(() -> host().call(method, name))
            .isInstanceOf(VarlinkException.class)
            .hasMessageContaining("it has shut itself down. Stop it with `holdfast vm stop off`");
      }
      JsonObject report = host().call("Update.Vmm", name).object("report");
      assertThat(report.string("outcome")).isEqualTo("refused");
      assertThat(report.array("obstacles").objects().getFirst().string("why"))
          .isEqualTo("it has shut itself down");
    } finally {
      var _ = host().call("Vm.Stop", JsonObject.of("name", "off"));
    }
  }
}
