package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Network interfaces, TAPs and bridges of the running kernel, and TCP on loopback. */
@Timeout(60)
class NetworkTest {
  private static final Duration WAIT = Duration.ofSeconds(10);

  /** struct virtio_net_hdr. */
  private static final int HEADER = 10;

  private final Linux linux = Linux.system();

  /** Names that nobody else's are. */
  private final String own = Long.toString(ProcessHandle.current().pid(), 36);

  private final String tap = "hft" + own;
  private final String bridge = "hfb" + own;

  // ---- interfaces ----

  /** A bridge for one test. */
  private final class Bridge implements AutoCloseable {
    final NetworkInterface made = linux.networkInterface(bridge);

    Bridge() throws IOException {
      run("ip", "link", "add", bridge, "type", "bridge");
    }

    @Override
    public void close() throws IOException {
      run("ip", "link", "delete", bridge);
    }
  }

  private void assumeAllowed() throws IOException {
    assumeTrue(linux.effectiveUser() == 0, "needs root: it makes network interfaces");
    assumeTrue(Files.exists(Path.of("/dev/net/tun")), "this kernel has no TAPs");
    try (Bridge made = new Bridge()) {
      assertThat(made.made.exists()).isTrue();
    } catch (IOException e) {
      assumeTrue(false, "no bridge can be made here: " + e.getMessage());
    }
  }

  private static void run(String... command) throws IOException {
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String said =
        new String(
            process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
    try {
      if (process.waitFor() != 0) {
        throw new IOException(String.join(" ", command) + ": " + said.strip());
      }
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void everyMachineHasLoopback() {
    NetworkInterface loopback = linux.networkInterface("lo");
    assertThat(loopback.exists()).isTrue();
    assertThat(loopback.isBridge()).isFalse();
    assertThat(loopback.mtu()).isGreaterThan(1000);
  }

  @Test
  void aMissingOneIsMissing() {
    NetworkInterface missing = linux.networkInterface("hf-missing");
    assertThat(missing.exists()).isFalse();
    assertThatThrownBy(missing::mtu)
        .isInstanceOf(SystemCallException.class)
        .hasMessageContaining("MTU of network interface hf-missing: ENODEV")
        .hasMessageContaining("`ip link` shows");
    assertThatThrownBy(missing::isBridge).hasMessageContaining("ENODEV");
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "sixteen-letters-", "a\0b"})
  void namesThatNoneCanHave(String name) {
    assertThatIllegalArgumentException().isThrownBy(() -> linux.networkInterface(name));
    assertThatIllegalArgumentException().isThrownBy(() -> linux.tap(name, 1));
  }

  @Test
  @Promise("linux-layer")
  void aTapLivesAsLongAsItsQueues() throws IOException {
    assumeAllowed();
    NetworkInterface there = linux.networkInterface(tap);
    Fd last;
    try (Tap made = linux.tap(tap, 3)) {
      assertThat(made.queues()).hasSize(3);
      assertThat(there.exists()).isTrue();
      assertThat(there.isBridge()).isFalse();
      last = made.queues().get(2).duplicate();
    }
    assertThat(there.exists()).isTrue();
    last.close();
    assertThat(there.exists()).isFalse();
  }

  @Test
  @Promise("linux-layer")
  void aTapsNameIsItsOwn() throws IOException {
    assumeAllowed();
    try (Tap made = linux.tap(tap, 2)) {
      for (int queues = 1; queues <= 2; queues++) {
        int count = queues;
        assertThatThrownBy(() -> linux.tap(tap, count))
            .isInstanceOf(SystemCallException.class)
            .hasMessageContaining("TAP " + tap + ": EBUSY")
            .hasMessageContaining("ip link delete");
      }
      assertThat(made.networkInterface().exists()).isTrue();
    }
  }

  @Test
  @Promise("linux-layer")
  void aPortJoinsAndLeavesOnce() throws IOException {
    assumeAllowed();
    try (Bridge made = new Bridge();
        Tap port = linux.tap(tap, 1)) {
      made.made.setMtu(1400);
      assertThat(made.made.isBridge()).isTrue();
      NetworkInterface own = port.networkInterface();
      own.setMtu(made.made.mtu());
      assertThat(own.mtu()).isEqualTo(1400);
      own.setAddress(new byte[] {(byte) 0xfe, 1, 2, 3, 4, 5});
      assertThat(Self.text("/sys/class/net/" + tap + "/address")).isEqualTo("fe:01:02:03:04:05");
      own.up();
      own.up();
      assertThat(own.join(made.made)).isTrue();
      assertThat(own.join(made.made)).isFalse();
      assertThat(made.made.mtu()).isEqualTo(1400);
      assertThat(Path.of("/sys/class/net", bridge, "brif", tap)).exists();
      assertThat(own.leave(made.made)).isTrue();
      assertThat(own.leave(made.made)).isFalse();
      assertThat(Path.of("/sys/class/net", bridge, "brif", tap)).doesNotExist();
      assertThatThrownBy(() -> own.join(linux.networkInterface("lo")))
          .hasMessageContaining("port network interface " + tap + " into network interface lo")
          .hasMessageContaining("no bridge of the kernel's");
    }
  }

  @Test
  void aBridgeIsMadeOnceAndHasAddresses() throws IOException {
    assumeAllowed();
    NetworkInterface made = linux.networkInterface(bridge);
    assertThat(made.makeBridge()).isTrue();
    try {
      assertThat(made.makeBridge()).isFalse();
      assertThat(made.isBridge()).isTrue();
      assertThat(made.isUp()).isFalse();
      byte[] address = {0x52, 0x54, 0, 1, 2, 3};
      made.setAddress(address);
      made.up();
      assertThat(made.isUp()).isTrue();
      assertThat(made.address()).isEqualTo(address);
      // For documentation; nobody's.
      InterfaceAddress first = InterfaceAddress.of("192.0.2.1/30");
      assertThat(made.addIpAddress(first)).isTrue();
      assertThat(made.addIpAddress(first)).isFalse();
      assertThat(made.addIpAddress(InterfaceAddress.of("198.51.100.7/32"))).isTrue();
      run(
          "ip",
          "address",
          "add",
          "203.0.113.1/24",
          "valid_lft",
          "600",
          "preferred_lft",
          "600",
          "dev",
          bridge);
      assertThat(made.ipAddresses().stream().map(InterfaceAddress::toString))
          .as("not the one with an end")
          .contains("192.0.2.1/30", "198.51.100.7/32")
          .noneMatch(each -> each.startsWith("203."));
    } finally {
      run("ip", "link", "delete", bridge);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"192.0.2.1", "192.0.2.1/33", "192.0.2.1/-1", "web/24", "/24", "::1/129"})
  void noInterfaceAddress(String text) {
    assertThatIllegalArgumentException().isThrownBy(() -> InterfaceAddress.of(text));
  }

  @Test
  void interfaceAddressesAreReadAsTheyAreWritten() {
    for (String each : List.of("192.0.2.1/24", "2001:db8:0:0:0:0:0:1/64")) {
      assertThat(InterfaceAddress.of(each)).hasToString(each);
      assertThat(InterfaceAddress.of(each)).isEqualTo(InterfaceAddress.of(each));
    }
  }

  /** To all, from somebody, of an experiment's protocol, behind an empty virtio header. */
  private static MemorySegment packet(Arena arena, byte last) {
    MemorySegment packet = arena.allocate(HEADER + 60);
    packet.asSlice(HEADER, 6).fill((byte) 0xff);
    packet.set(ValueLayout.JAVA_BYTE, HEADER + 6, (byte) 0x52);
    packet.set(ValueLayout.JAVA_BYTE, HEADER + 12, (byte) 0x88);
    packet.set(ValueLayout.JAVA_BYTE, HEADER + 13, (byte) 0xb5);
    packet.set(ValueLayout.JAVA_BYTE, HEADER + 59, last);
    return packet;
  }

  /** What is sent out of the interface is read from the queue, behind the header of virtio. */
  @Test
  @Promise("linux-layer")
  void aPacketPassesThroughATap() throws IOException {
    assumeAllowed();
    try (Bridge made = new Bridge();
        Tap in = linux.tap(tap, 1);
        Tap out = linux.tap(tap + "o", 1);
        Arena arena = Arena.ofConfined()) {
      for (NetworkInterface each : List.of(in.networkInterface(), out.networkInterface())) {
        assertThat(each.join(made.made)).isTrue();
        each.up();
      }
      made.made.up();
      MemorySegment packet = packet(arena, (byte) 77);
      Fd reader = out.queues().getFirst();
      MemorySegment got = arena.allocate(2000);
      // The kernel's own packets may come before.
      for (int i = 0; i < 100; i++) {
        linux.write(in.queues().getFirst(), packet);
        if (linux.poll(List.of(reader), Duration.ofMillis(100)).isEmpty()) {
          continue;
        }
        int length = linux.read(reader, got);
        if (length == HEADER + 60 && got.get(ValueLayout.JAVA_BYTE, HEADER + 59) == 77) {
          return;
        }
      }
      throw new AssertionError("the packet did not come");
    }
  }

  @Test
  void whatWaitsInATapIsPassedOn() throws IOException {
    assumeAllowed();
    try (Bridge made = new Bridge();
        Tap in = linux.tap(tap, 1);
        Tap old = linux.tap(tap + "o", 1);
        Tap next = linux.tap(tap + "n", 1);
        Arena arena = Arena.ofConfined()) {
      for (Tap each : List.of(in, old)) {
        assertThat(each.networkInterface().join(made.made)).isTrue();
        each.networkInterface().up();
      }
      made.made.up();
      next.networkInterface().up();
      // The bridge may take a moment until it passes anything, and the kernel says things of its
      // own.
      MemorySegment got = arena.allocate(2000);
      for (byte i = 0; i < 100; i++) {
        linux.write(in.queues().getFirst(), packet(arena, i));
        if (linux.poll(old.queues(), Duration.ofMillis(100)).isEmpty()) {
          continue;
        }
        assertThat(linux.passOn(old.queues(), next.networkInterface(), 1000)).isPositive();
        while (!linux.poll(next.queues(), Duration.ofMillis(100)).isEmpty()) {
          int length = linux.read(next.queues().getFirst(), got);
          if (length == HEADER + 60 && got.get(ValueLayout.JAVA_BYTE, HEADER + 59) == i) {
            return;
          }
        }
      }
      throw new AssertionError("the packet did not come");
    }
  }

  // ---- TCP ----

  private static InetSocketAddress loopback(int port) {
    try {
      return new InetSocketAddress(InetAddress.getByAddress(new byte[] {127, 0, 0, 1}), port);
    } catch (UnknownHostException e) {
      throw new AssertionError(e);
    }
  }

  private void await(Fd fd, Readiness what) {
    assertThat(linux.poll(Map.of(fd, Set.of(what)), WAIT)).hasSize(1);
  }

  /** Two connected ends: who connected, and who was accepted. */
  private record Ends(TcpSocket client, TcpSocket server) implements AutoCloseable {
    @Override
    public void close() {
      client.close();
      server.close();
    }
  }

  private Ends ends() {
    try (TcpListener listener = linux.listen(loopback(0), 4)) {
      assertThat(listener.acceptNow()).isEmpty();
      TcpSocket client = linux.connect(listener.address());
      await(client.fd(), Readiness.WRITABLE);
      client.check();
      await(listener.fd(), Readiness.READABLE);
      return new Ends(client, listener.acceptNow().orElseThrow());
    }
  }

  @Test
  void bytesAndEndsGoBothWays() {
    try (Ends ends = ends();
        Arena arena = Arena.ofConfined()) {
      MemorySegment bytes = arena.allocateFrom("hello");
      MemorySegment room = arena.allocate(100);
      assertThat(ends.server.receiveNow(room)).isEqualTo(OptionalInt.empty());
      assertThat(ends.client.sendNow(bytes)).isEqualTo(6);
      ends.client.finishSending();
      await(ends.server.fd(), Readiness.READABLE);
      assertThat(ends.server.receiveNow(room)).hasValue(6);
      assertThat(room.getString(0)).isEqualTo("hello");
      await(ends.server.fd(), Readiness.READABLE);
      assertThat(ends.server.receiveNow(room)).hasValue(0);
      assertThat(ends.server.sendNow(bytes)).isEqualTo(6);
      await(ends.client.fd(), Readiness.READABLE);
      assertThat(ends.client.receiveNow(room)).hasValue(6);
    }
  }

  @Test
  void sendingStopsWhereThereIsNoRoom() {
    try (Ends ends = ends();
        Arena arena = Arena.ofConfined()) {
      MemorySegment much = arena.allocate(1 << 20);
      long sent = 0;
      for (int n = ends.client.sendNow(much); n > 0; n = ends.client.sendNow(much)) {
        sent += n;
      }
      assertThat(sent).isPositive();
      assertThat(linux.poll(Map.of(ends.client.fd(), Set.of(Readiness.WRITABLE)), Duration.ZERO))
          .isEmpty();
      MemorySegment room = arena.allocate(1 << 20);
      for (long got = 0; got < sent; ) {
        await(ends.server.fd(), Readiness.READABLE);
        got += ends.server.receiveNow(room).orElse(0);
      }
      await(ends.client.fd(), Readiness.WRITABLE);
    }
  }

  @Test
  @Promise("linux-layer")
  void aResetIsNoEnd() {
    try (Ends ends = ends();
        Arena arena = Arena.ofConfined()) {
      ends.server.resetOnClose();
      ends.server.close();
      await(ends.client.fd(), Readiness.READABLE);
      assertThatThrownBy(() -> ends.client.receiveNow(arena.allocate(10)))
          .isInstanceOfSatisfying(
              SystemCallException.class, e -> assertThat(e.errno()).isEqualTo(Errno.ECONNRESET));
    }
  }

  @Test
  void whereNobodyListens() {
    int port;
    try (TcpListener listener = linux.listen(loopback(0), 1)) {
      port = listener.address().getPort();
    }
    try (TcpSocket socket = linux.connect(loopback(port))) {
      await(socket.fd(), Readiness.WRITABLE);
      assertThatThrownBy(socket::check)
          .hasMessageContaining("127.0.0.1:" + port + ": ECONNREFUSED");
    } catch (SystemCallException e) {
      assertThat(e.errno()).isEqualTo(Errno.ECONNREFUSED);
    }
  }

  @Test
  void aPortIsTakenOnce() {
    try (TcpListener listener = linux.listen(loopback(0), 1)) {
      assertThatThrownBy(() -> linux.listen(listener.address(), 1))
          .hasMessageContaining("EADDRINUSE")
          .hasMessageContaining("Another process listens there");
    }
  }

  /** As when the agent that listens dies: its descriptor store's duplicate keeps the backlog. */
  @Test
  @Promise("linux-layer")
  void connectionsWaitWhileAnybodyHasTheListener() {
    Fd kept;
    InetSocketAddress address;
    try (TcpListener listener = linux.listen(loopback(0), 8)) {
      kept = listener.fd().duplicate();
      address = listener.address();
    }
    List<TcpSocket> clients = new ArrayList<>();
    try (TcpListener again = linux.adoptListener(kept)) {
      for (int i = 0; i < 3; i++) {
        TcpSocket client = linux.connect(address);
        clients.add(client);
        await(client.fd(), Readiness.WRITABLE);
        client.check();
      }
      assertThat(again.address()).isEqualTo(address);
      for (int i = 0; i < 3; i++) {
        again.acceptNow().orElseThrow().close();
      }
    } finally {
      clients.forEach(TcpSocket::close);
    }
  }

  @Test
  void onlyIpv4() throws UnknownHostException {
    InetSocketAddress six = new InetSocketAddress(InetAddress.getByAddress(new byte[16]), 80);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> linux.connect(six))
        .withMessageContaining("no IPv4 address");
  }
}
