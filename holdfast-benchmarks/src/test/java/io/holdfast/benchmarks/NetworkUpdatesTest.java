package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.FaultyAgent.Fault;
import io.holdfast.benchmarks.FaultyAgent.Victim;
import io.holdfast.linux.Call;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A guest on a bridge goes on talking while what runs it is replaced: no byte of a stream is lost
 * or doubled, and of datagrams only what a guest that stands still can't take. Real guests, a
 * bridge, and a peer beyond it, all in network namespaces of the test's own.
 */
@Tag("guest")
@Timeout(300)
class NetworkUpdatesTest {
  private Optional<NetworkLab> made = Optional.empty();
  private Optional<Host> started = Optional.empty();

  /** When the guest stood still, by System.nanoTime. */
  private final List<JournalWatch.Standstill> windows = new ArrayList<>();

  @BeforeEach
  void start() throws IOException, InterruptedException {
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    made = Optional.of(new NetworkLab());
    started = Optional.of(Host.start(lab().onHost()));
  }

  @AfterEach
  void end() throws IOException {
    try {
      if (started.isPresent()) {
        started.get().close();
      }
    } finally {
      if (made.isPresent()) {
        made.get().close();
      }
    }
  }

  private NetworkLab lab() {
    return made.orElseThrow();
  }

  private Host host() {
    return started.orElseThrow();
  }

  private JsonObject definition(int queues) {
    JsonObject plain = host().definition(Host.qemu());
    return plain
        .with("append", plain.string("append") + " holdfast.net=" + NetworkLab.GUEST + "/24")
        .with("cpus", queues)
        .with(
            "networks",
            List.of(JsonObject.of("kind", "tap", "bridge", NetworkLab.BRIDGE, "queues", queues)));
  }

  /** Updates, and notes when the guest stood still. */
  private JsonObject update(String qemu) {
    JsonObject[] report = {JsonObject.empty()};
    within(List.of("RESUMED", "NORMAL"), () -> report[0] = host().update(qemu));
    return report[0];
  }

  /**
   * Does something with an update in it, and notes when the guest stood still.
   *
   * @param ends the states that end a standstill
   */
  private void within(List<String> ends, Runnable what) {
    try (JournalWatch watch = new JournalWatch(host().run().resolve("updates"))) {
      what.run();
      windows.addAll(watch.standstills(ends));
    }
  }

  private void assertNothingLost(JsonObject result) {
    System.out.println(
        "datagrams: %d to the guest, %d lost; %d from it, %d lost; streams: %d bytes to, %d from; it stood still for %s ms"
            .formatted(
                result.number("datagramsSent"),
                lost(result, "lostToGuest"),
                result.number("guestSent"),
                lost(result, "lostFromGuest"),
                result.number("acknowledged"),
                result.number("received"),
                windows.stream()
                    .map(window -> (window.to() - window.from()) / 1_000_000)
                    .toList()));
    assertThat(result.array("errors").strings()).isEmpty();
    assertThat(result.number("doubled")).as("doubled datagrams").isZero();
    assertThat(result.number("wrong")).as("wrong datagrams").isZero();
    for (String way : List.of("lostToGuest", "lostFromGuest")) {
      List<JsonObject> lost = result.array(way).objects();
      assertThat(lost.stream().filter(run -> !excused(run)).map(this::when).toList())
          .as("%s, when the guest ran", way)
          .isEmpty();
    }
    assertThat(host().complaints()).isEmpty();
  }

  private static long lost(JsonObject result, String way) {
    return result.array(way).objects().stream().mapToLong(run -> run.number("count")).sum();
  }

  /**
   * Whether a run of lost datagrams reaches into a standstill. What waited for QEMU when the guest
   * stopped is lost as one run with what follows, however long QEMU had not come to it: queues are
   * first in, first out. A run between two datagrams that both were there before, or both came
   * after, has no excuse.
   */
  private boolean excused(JsonObject run) {
    return windows.stream()
        .anyMatch(window -> run.number("by") > window.from() && run.number("after") < window.to());
  }

  /**
   * A run of lost datagrams, in milliseconds from the beginning of the last standstill before it.
   */
  private String when(JsonObject run) {
    return windows.stream()
        .filter(window -> window.from() < run.number("by"))
        .reduce((_, last) -> last)
        .map(
            window ->
                "%d from %.1f to %.1f of %.1f"
                    .formatted(
                        run.number("count"),
                        (run.number("after") - window.from()) / 1e6,
                        (run.number("by") - window.from()) / 1e6,
                        (window.to() - window.from()) / 1e6))
        .orElse(run.number("count") + " before the first");
  }

  @Test
  @Promise("networks")
  void eightUpdatesUnderTraffic() throws IOException {
    updatesUnderTraffic(8);
  }

  @Test
  @Tag("nightly")
  @Promise("networks")
  void twentyUpdatesUnderTraffic() throws IOException {
    updatesUnderTraffic(20);
  }

  private void updatesUnderTraffic(int updates) throws IOException {
    JsonObject vm = host().runVm(definition(2));
    String mac = vm.object("definition").array("networks").objects().getFirst().string("mac");
    assertThat(mac).startsWith("52:54:00:");
    try (Traffic traffic = new Traffic(lab().atPeer(), NetworkLab.GUEST)) {
      for (int i = 0; i < updates; i++) {
        JsonObject report = update(Host.qemu());
        assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
        traffic.assertFlows();
        assertThat(lab().plugged())
            .hasSize(1)
            .allMatch(name -> name.endsWith("-" + host().show().number("generation")));
        assertThat(lab().taps()).hasSize(1);
      }
      assertNothingLost(traffic.stop());
    }
    host().assertWhole();
    host().stopVm();
    assertThat(lab().taps()).isEmpty();
    host().assertEmpty();
  }

  @Test
  void betweenTwoVersionsAndBack() throws IOException {
    String other = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    assumeTrue(!other.isEmpty(), "no second QEMU: HOLDFAST_QEMU_OTHER names none");
    var _ = host().runVm(definition(1));
    try (Traffic traffic = new Traffic(lab().atPeer(), NetworkLab.GUEST)) {
      for (int i = 0; i < 4; i++) {
        JsonObject report = update(i % 2 == 0 ? other : Host.qemu());
        // Debian 13's QEMU 10.0.13 has rings in its network cards that no other version can have.
        assumeFalse(
            report.string("outcome").equals("refused")
                && report.array("obstacles").toString().contains("rings of virtio-net"),
            () -> "these QEMUs have different network cards: " + report.array("obstacles"));
        assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
        assertPlugged(traffic, i + 2);
      }
      assertNothingLost(traffic.stop());
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"pc", "microvm"})
  void onOtherMachines(String machine) throws IOException {
    var _ = host().runVm(definition(2).with("machine", machine));
    try (Traffic traffic = new Traffic(lab().atPeer(), NetworkLab.GUEST)) {
      for (int i = 0; i < 2; i++) {
        JsonObject report = update(Host.qemu());
        assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
        assertPlugged(traffic, i + 2);
      }
      assertNothingLost(traffic.stop());
    }
  }

  /** Whatever is undone was never switched; whatever is taken forward is switched once. */
  @Test
  @Promise("networks")
  void rollbacksAndRecoveriesUnderTraffic() throws IOException {
    var _ = host().runVm(definition(1));
    try (Traffic traffic = new Traffic(lab().atPeer(), NetworkLab.GUEST)) {
      for (int i = 0; i < 3; i++) {
        // The first bytes of the device state: the guest stands still already.
        faulty(new Fault(true, Call.SENDMSG, "^QEVM", Victim.SUCCESSOR), "cancelled");
        assertPlugged(traffic, 1);
        faulty(new Fault(true, Call.WRITE, entered("PREPARED"), Victim.SUCCESSOR), "cancelled");
        assertPlugged(traffic, 1);
      }
      killAgentAt("FROZEN");
      assertPlugged(traffic, 1);
      faulty(new Fault(true, Call.WRITE, entered("COMMITTED"), Victim.SUCCESSOR), "completed");
      assertPlugged(traffic, 2);
      killAgentAt("COMMITTED");
      assertPlugged(traffic, 3);
      killAgentAt("RESUMED");
      assertPlugged(traffic, 4);
      assertNothingLost(traffic.stop());
    }
  }

  private static String entered(String state) {
    return "^entered \\S*" + Host.VM + "\\S* " + state + " ";
  }

  /** Where somebody dies, RESUMED may be long before the guest is really told to run. */
  private static final List<String> END = List.of("NORMAL");

  private void faulty(Fault fault, String outcome) throws IOException {
    host().arm(fault);
    within(
        END,
        () -> {
          JsonObject report = host().update(Host.qemu());
          assertThat(report.string("outcome")).as("%s", report).isEqualTo(outcome);
        });
    assertThat(host().armed()).as("the moment never came").isFalse();
  }

  private void killAgentAt(String state) throws IOException {
    host().arm(new Fault(true, Call.WRITE, entered(state), Victim.AGENT));
    within(
        END,
        () -> {
          assertThatThrownBy(() -> host().update(Host.qemu()))
              .isInstanceOf(VarlinkConnectionException.class);
          host().awaitAgentDeath();
          try {
            host().startAgent();
          } catch (IOException e) {
            throw new UncheckedIOException(e);
          }
        });
  }

  private void assertPlugged(Traffic traffic, int generation) throws IOException {
    traffic.assertFlows();
    assertThat(host().show().number("generation")).isEqualTo(generation);
    Host.await(
        "one TAP, in the bridge: " + lab().taps(),
        () -> {
          try {
            return lab().taps().size() == 1 && lab().plugged().equals(lab().taps());
          } catch (IOException e) {
            throw new UncheckedIOException(e);
          }
        });
    assertThat(lab().plugged().getFirst()).endsWith("-" + generation);
  }

  @Test
  @Promise("plan-refuses-first")
  void withoutItsBridgeNothingIsChanged() throws IOException {
    var _ = host().runVm(definition(1));
    lab().ipOnHost("link", "delete", NetworkLab.BRIDGE);
    JsonObject report = host().update(Host.qemu());
    assertThat(report.string("outcome")).isEqualTo("refused");
    assertThat(report.array("obstacles").objects().getFirst().string("why"))
        .isEqualTo("bridge br0 is not there any more");
    host().assertWhole();
    assertThat(lab().taps()).hasSize(1);
  }

  @Test
  @Promise("plan-refuses-first")
  void badNetworks() {
    assertBad("there is no bridge nowhere", "kind", "tap", "bridge", "nowhere");
    assertBad("lo is no bridge of the kernel's", "kind", "tap", "bridge", "lo");
    assertBad("a tap without a bridge", "kind", "tap");
    assertBad("0 queues", "kind", "tap", "bridge", "br0", "queues", 0);
    assertBad("one card", "kind", "tap", "bridge", "br0", "mac", "01:00:5e:00:00:01");
    assertBad("one card", "kind", "user", "mac", "52:54:00");
    assertBad("take tap or user", "kind", "vde");
    assertBad("neither a bridge nor queues", "kind", "user", "bridge", "br0");
    assertBad(
        "port 65536",
        "kind",
        "user",
        "hostForwards",
        List.of(JsonObject.of("port", 65536, "guestPort", 1)));
    assertBad(
        "an IPv4 address",
        "kind",
        "user",
        "hostForwards",
        List.of(JsonObject.of("address", "localhost", "port", 1, "guestPort", 1)));
    assertBad(
        "is there twice",
        "kind",
        "user",
        "hostForwards",
        List.of(
            JsonObject.of("port", 80, "guestPort", 1), JsonObject.of("port", 80, "guestPort", 2)));
  }

  private void assertBad(String message, Object... network) {
    JsonObject definition =
        host().definition(Host.qemu()).with("networks", List.of(JsonObject.of(network)));
    assertThatThrownBy(() -> host().call("Vm.Run", JsonObject.of("definition", definition)))
        .isInstanceOf(VarlinkException.class)
        .hasMessageContaining(message);
  }
}
