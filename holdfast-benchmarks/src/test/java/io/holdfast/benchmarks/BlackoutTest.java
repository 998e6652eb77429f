package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.FaultyAgent.Fault;
import io.holdfast.benchmarks.FaultyAgent.Victim;
import io.holdfast.linux.Call;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;

/**
 * The blackout that a report has is the time for which QEMU had the guest stopped. A real guest in
 * real QEMU, watched from outside. No bound is a time: each compares two measurements of one stop,
 * whose order no scheduler can change.
 */
@Tag("guest")
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
@Promise("pauses")
class BlackoutTest {
  /** What a wall clock that is slewed may differ by from the monotonic one. */
  private static final long SLACK_NANOS = 2_000_000;

  private static final int BUSY = 4;

  private Optional<Host> started = Optional.empty();
  private Optional<ObserverProcess> watching = Optional.empty();

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
      watching = Optional.of(ObserverProcess.start(ram, host().boot()));
    }
  }

  @AfterAll
  void end() throws IOException {
    watching.ifPresent(ObserverProcess::close);
    if (started.isPresent()) {
      started.get().close();
    }
  }

  private Host host() {
    return started.orElseThrow();
  }

  /**
   * An update, as it is reported and as it is seen from outside.
   *
   * @param stoodStill the longest time for which the guest's heartbeat may have stood still, ns
   */
  private record Seen(JsonObject report, long stoodStill) {
    long blackout() {
      return report.number("blackout");
    }

    long controller() {
      return report.number("controllerBlackoutNanos");
    }
  }

  private Seen update(String outcome) {
    ObserverProcess observer = watching.orElseThrow();
    var _ = observer.mark("before");
    JsonObject report = host().update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo(outcome);
    Observation during = observer.mark("during");
    long[] longest = {during.longest().atMost()};
    // A gap counts in the window in which it ends: the first beat of a window that began later.
    Host.await(
        "the guest's next beat",
        () -> {
          Observation after = observer.mark("after");
          longest[0] = Math.max(longest[0], after.longest().atMost());
          return after.counted() > 0;
        });
    return new Seen(report, longest[0]);
  }

  private static void assertByQemu(Seen seen) {
    assertThat(seen.report().string("blackoutSource")).as("%s", seen).isEqualTo("qemu");
    assertThat(seen.report().has("blackoutReason")).as("%s", seen).isFalse();
    assertThat(seen.blackout()).as("%s", seen).isPositive();
    assertThat(seen.blackout())
        .as("stopped, by QEMU, for longer than seen from outside: %s", seen)
        .isLessThanOrEqualTo(seen.stoodStill() + SLACK_NANOS);
    assertThat(seen.blackout()).as("%s", seen).isLessThanOrEqualTo(seen.controller() + SLACK_NANOS);
  }

  /** The agent reads that the guest runs long after QEMU has said so. */
  @Test
  void doesNotContainHowLongTheAgentTakesToReadEvents() throws IOException {
    host().arm(new Fault(true, Call.RECVMSG, "\"event\": *\"RESUME\"", Victim.NOBODY));
    Seen seen = update("completed");
    assertThat(host().armed()).as("the moment never came").isFalse();
    assertByQemu(seen);
    // The agent had the event when its delay began, which is in the controller's view as a whole.
    assertThat(seen.blackout() + FaultyAgent.LATE.toNanos())
        .as("%s", seen)
        .isLessThanOrEqualTo(seen.controller() + SLACK_NANOS);
    host().assertWhole();
  }

  @Test
  void isNeverMoreThanAnObserverSawOnABusyHost() throws IOException {
    List<Process> busy = new ArrayList<>();
    try {
      for (int i = 0; i < BUSY; i++) {
        busy.add(new ProcessBuilder("sh", "-c", "while :; do :; done").start());
      }
      for (int i = 0; i < 5; i++) {
        Seen seen = update("completed");
        assertByQemu(seen);
        System.out.printf(
            "stopped for %.1f ms by QEMU, %.1f ms by the controller; seen from outside: %.1f ms%n",
            seen.blackout() / 1e6, seen.controller() / 1e6, seen.stoodStill() / 1e6);
      }
    } finally {
      busy.forEach(Process::destroyForcibly);
    }
    host().assertWhole();
  }

  @Test
  void isMeasuredForAnUpdateThatIsUndoneToo() throws IOException {
    // The first bytes of the device state: the guest is stopped already.
    host().arm(new Fault(true, Call.SENDMSG, "^QEVM", Victim.SUCCESSOR));
    assertByQemu(update("cancelled"));
    host().assertWhole();
  }

  @Test
  void saysWhyItIsTheControllersViewForAPausedGuest() {
    var _ = host().call("Vm.Pause", JsonObject.of("name", Host.VM));
    try {
      JsonObject report = host().update(Host.qemu());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      assertThat(report.string("blackoutSource")).isEqualTo("controller");
      assertThat(report.string("blackoutReason"))
          .isEqualTo("the guest was paused before the update");
      assertThat(report.number("blackout")).isEqualTo(report.number("controllerBlackoutNanos"));
    } finally {
      var _ = host().call("Vm.Resume", JsonObject.of("name", Host.VM));
    }
    host().assertWhole();
  }
}
