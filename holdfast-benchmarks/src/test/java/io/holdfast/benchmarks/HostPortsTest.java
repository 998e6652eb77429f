package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.FaultyAgent.Fault;
import io.holdfast.benchmarks.FaultyAgent.Victim;
import io.holdfast.linux.Call;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;

/**
 * Ports of the host into a guest on QEMU's own network are Holdfast's: nobody who connects is
 * refused, not in an update, not while there is no agent; connections that an update ends are
 * reset. On loopback only.
 */
@Tag("guest")
@Timeout(300)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class HostPortsTest {
  private static final long SEED = 4711;

  /** Descriptors that the agent may have: few, so that a flood needs few connections. */
  private static final int DESCRIPTORS = 512;

  /** Half of all places, which are an eighth of the descriptors. */
  private static final int PLACES_OF_ONE_VM = DESCRIPTORS / 8 / 2;

  private Optional<Host> started = Optional.empty();
  private int port;

  /** Tests share a guest for as long as each of them leaves it whole. */
  @BeforeEach
  void start() throws IOException, InterruptedException {
    if (started.isPresent()) {
      return;
    }
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    started = Optional.of(Host.start(List.of("prlimit", "--nofile=" + DESCRIPTORS, "--")));
    port = freePort();
    JsonObject plain = host().definition(Host.qemu());
    var _ =
        host()
            .runVm(
                plain
                    .with("append", plain.string("append") + " holdfast.net=10.0.2.15/24")
                    .with("networks", List.of(forwarding(port, TrafficPeer.SENDS))));
  }

  private static int freePort() throws IOException {
    try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return free.getLocalPort();
    }
  }

  private static JsonObject forwarding(int port, int guestPort) {
    return JsonObject.of(
        "kind",
        "user",
        "hostForwards",
        List.of(JsonObject.of("address", "127.0.0.1", "port", port, "guestPort", guestPort)));
  }

  @AfterEach
  void endUnlessWhole() throws IOException {
    if (started.isPresent() && host().runs()) {
      host().disarm();
      try {
        host().assertWhole();
        return;
      } catch (AssertionError e) {
        end();
        throw e;
      }
    }
    end();
  }

  @AfterAll
  void end() throws IOException {
    if (started.isPresent()) {
      started.get().close();
      started = Optional.empty();
    }
  }

  private Host host() {
    return started.orElseThrow();
  }

  private Socket connect() throws IOException {
    return connect(port);
  }

  private static Socket connect(int port) throws IOException {
    Socket socket = new Socket();
    socket.setSoTimeout(60_000);
    socket.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 10_000);
    return socket;
  }

  /** Asks for a stream and checks its beginning. */
  private static void talk(Socket socket) throws IOException {
    socket
        .getOutputStream()
        .write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(SEED).array());
    byte[] got = socket.getInputStream().readNBytes(100_000);
    assertThat(got).hasSize(100_000);
    for (int i = 0; i < got.length; i++) {
      if (got[i] != TrafficPeer.streamByte(SEED, i)) {
        throw new AssertionError("byte " + i + " is wrong");
      }
    }
  }

  @Test
  @Promise("networks")
  void nobodyIsRefused() throws IOException, InterruptedException {
    AtomicBoolean enough = new AtomicBoolean();
    AtomicInteger whole = new AtomicInteger();
    AtomicInteger reset = new AtomicInteger();
    List<String> refused = new CopyOnWriteArrayList<>();
    Thread clients =
        Thread.ofPlatform()
            .start(
                () -> {
                  while (!enough.get()) {
                    Socket socket;
                    try {
                      socket = connect();
                    } catch (IOException e) {
                      refused.add(e.toString());
                      continue;
                    }
                    try (socket) {
                      talk(socket);
                      whole.incrementAndGet();
                    } catch (IOException | AssertionError e) {
                      // Under way when the guest changed hands.
                      reset.incrementAndGet();
                      if (!(e instanceof SocketException)) {
                        refused.add("broken, but not reset: " + e);
                      }
                    }
                  }
                });
    for (int i = 0; i < 5; i++) {
      int before = whole.get();
      Host.await("clients", () -> whole.get() > before + 3);
      JsonObject report = host().update(Host.qemu());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      assertThat(report.array("losses").strings().toString()).contains("QEMU's own network");
    }
    int before = whole.get();
    Host.await("clients", () -> whole.get() > before + 3);
    enough.set(true);
    clients.join();
    assertThat(refused).isEmpty();
    assertThat(reset.get()).isLessThanOrEqualTo(5);
    host().stopVm();
    assertThatThrownBy(this::connect).hasMessageContaining("refused");
    host().assertEmpty();
  }

  @Test
  @Promise("networks")
  void anOldConnectionIsResetAndOneWithoutAByteIsNot() throws IOException {
    try (Socket used = connect();
        Socket silent = connect()) {
      talk(used);
      JsonObject report = host().update(Host.qemu());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      assertThatThrownBy(() -> used.getInputStream().readAllBytes())
          .isInstanceOf(SocketException.class)
          .hasMessageContaining("reset");
      talk(silent);
    }
  }

  @Test
  @Promise("networks")
  void aCancelledUpdateResetsNothing() throws IOException {
    try (Socket used = connect()) {
      talk(used);
      host().arm(new Fault(true, Call.SENDMSG, "^QEVM", Victim.SUCCESSOR));
      JsonObject report = host().update(Host.qemu());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("cancelled");
      byte[] more = used.getInputStream().readNBytes(100_000);
      for (int i = 0; i < more.length; i++) {
        assertThat(more[i]).isEqualTo(TrafficPeer.streamByte(SEED, 100_000 + i));
      }
      try (Socket other = connect()) {
        talk(other);
      }
    }
  }

  @Test
  @Promise("networks")
  void whileThereIsNoAgentConnectionsWait() throws IOException {
    long generation = host().show().number("generation");
    host().killAgent();
    try (Socket waiting = connect()) {
      host().startAgent();
      talk(waiting);
    }
    host().arm(new Fault(true, Call.WRITE, "^entered \\S*vm1\\S* COMMITTED ", Victim.AGENT));
    assertThatThrownBy(() -> host().update(Host.qemu()))
        .isInstanceOf(VarlinkConnectionException.class);
    host().awaitAgentDeath();
    try (Socket waiting = connect()) {
      host().startAgent();
      talk(waiting);
    }
    assertThat(host().show().number("generation")).isEqualTo(generation + 1);
  }

  @Test
  @Promise("networks")
  void aPortThatIsTakenIsNamed() {
    JsonObject other =
        host()
            .definition(Host.qemu())
            .with("name", "other")
            .with("disks", List.of())
            .with("networks", List.of(forwarding(port, 1)));
    assertThatThrownBy(() -> host().call("Vm.Run", JsonObject.of("definition", other)))
        .isInstanceOf(VarlinkException.class)
        .hasMessageContaining("127.0.0.1:" + port)
        .hasMessageContaining("EADDRINUSE");
    host().assertWhole();
  }

  @Test
  @Promise("budgets")
  void aFloodOfOneVmsPortIsNotNoticedByAnother() throws IOException {
    int floodedPort = freePort();
    var _ =
        host()
            .call(
                "Vm.Run",
                JsonObject.of(
                    "definition",
                    host()
                        .definition(Host.qemu())
                        .with("name", "flooded")
                        .with("disks", List.of())
                        .with("networks", List.of(forwarding(floodedPort, 1)))));
    // QEMU itself takes connections; the guest is not needed.
    var _ = host().call("Vm.Pause", JsonObject.of("name", "flooded"));
    long refusedBefore = refused();
    long before = agentSockets();
    List<Socket> flood = new ArrayList<>();
    try {
      for (int i = 0; i < DESCRIPTORS; i++) {
        try {
          flood.add(connect(floodedPort));
          flood.getLast().setSoLinger(true, 0);
        } catch (SocketException e) {
          // Reset before this thread had seen that it was made.
          assertThat(e).hasMessageContaining("reset");
        }
      }
      Host.await("the flood's end", () -> refused() - refusedBefore > DESCRIPTORS / 2);
      // And what calls of the agent have at the moment.
      assertThat(agentSockets()).isLessThanOrEqualTo(before + 2 * PLACES_OF_ONE_VM + 4);
      JsonObject report = host().update(Host.qemu());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      try (Socket socket = connect()) {
        talk(socket);
      }
    } finally {
      for (Socket each : flood) {
        each.close();
      }
    }
    Host.await("room that those have left who ended", () -> agentSockets() <= before);
    try (Socket again = connect(floodedPort)) {
      again.setSoTimeout(500);
      assertThatThrownBy(() -> again.getInputStream().read())
          .isInstanceOf(SocketTimeoutException.class);
      again.setSoLinger(true, 0);
    }
    assertThat(host().said().lines().filter(line -> line.contains("VM flooded has"))).hasSize(1);
    var _ = host().call("Vm.Stop", JsonObject.of("name", "flooded"));
  }

  /** What an agent has not loaded by then it would never find again. */
  @Test
  @Promise("budgets")
  void anAgentWithoutADescriptorLeftWorksAgainOnceItHasSome()
      throws IOException, InterruptedException {
    try (VarlinkClient client =
        VarlinkClient.connect(Linux.system(), host().run().resolve("agent.sock"))) {
      JsonObject update = JsonObject.of("name", Host.VM, "qemu", Host.qemu());
      var _ = client.call("io.holdfast.Agent.Status", JsonObject.empty());
      Host.await("all to be loaded", () -> host().said().contains("descriptors at most"));
      limit(8);
      try {
        assertThatThrownBy(() -> client.call("io.holdfast.Update.Vmm", update))
            .isInstanceOf(VarlinkException.class)
            .hasMessageContaining("EMFILE");
      } finally {
        limit(DESCRIPTORS);
      }
      JsonObject report = client.call("io.holdfast.Update.Vmm", update).object("report");
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    }
    assertThat(host().said()).doesNotContain("NoClassDefFoundError");
  }

  private void limit(int descriptors) throws IOException, InterruptedException {
    Process process =
        new ProcessBuilder(
                "prlimit", "--nofile=" + descriptors + ":", "--pid", "" + host().agentPid())
            .inheritIO()
            .start();
    assertThat(process.waitFor()).isZero();
  }

  private long refused() {
    return host().call("Agent.Status", JsonObject.empty()).number("refusedConnections");
  }

  private long agentSockets() {
    return Host.descriptors(host().agentPid()).getOrDefault("socket:[N]", 0L);
  }
}
