package io.holdfast.vm.device.network;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Linux;
import io.holdfast.linux.TcpListener;
import io.holdfast.promise.Promise;
import io.holdfast.vm.Await;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Ports of several VMs over one budget; the test is the guests, which say what they hear. */
@Timeout(60)
@Promise("budgets")
class HostPortsFloodTest {
  private static final int PLACES = 32;
  private static final InetSocketAddress ANY =
      new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);

  private final Linux linux = Linux.system();
  private final ConnectionBudget budget = new ConnectionBudget(PLACES);
  private final List<AutoCloseable> open = new ArrayList<>();
  private ServerSocket guest;

  HostPortsFloodTest() throws IOException {
    guest = new ServerSocket(0, 200, InetAddress.getLoopbackAddress());
  }

  @BeforeEach
  void echo() {
    var _ =
        Thread.ofPlatform()
            .daemon()
            .start(
                () -> {
                  while (true) {
                    try {
                      Socket accepted = guest.accept();
                      var _ = Thread.ofPlatform().daemon().start(() -> echo(accepted));
                    } catch (IOException end) {
                      return;
                    }
                  }
                });
  }

  private static void echo(Socket socket) {
    try (socket) {
      var _ = socket.getInputStream().transferTo(socket.getOutputStream());
    } catch (IOException e) {
      // Its client was reset.
    }
  }

  @AfterEach
  void end() throws Exception {
    for (AutoCloseable each : open.reversed()) {
      each.close();
    }
    guest.close();
  }

  /** A VM's ports of the host, on as many cards. */
  private List<InetSocketAddress> vm(String name, int cards) {
    List<InetSocketAddress> addresses = new ArrayList<>();
    for (int i = 0; i < cards; i++) {
      HostPorts ports = new HostPorts(linux, name, "net" + i, budget);
      open.add(ports);
      TcpListener listener = linux.listen(ANY, 128);
      addresses.add(listener.address());
      ports.listen(listener);
      ports.passTo(1, List.of((InetSocketAddress) guest.getLocalSocketAddress()));
    }
    return addresses;
  }

  private Socket connect(InetSocketAddress to) {
    Socket socket = new Socket();
    open.add(socket);
    try {
      socket.connect(to, 10_000);
      socket.setSoTimeout(10_000);
    } catch (SocketException e) {
      // Reset before this thread had seen that it was made.
      assertThat(e).hasMessageContaining("reset");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return socket;
  }

  private static void talk(Socket socket) throws IOException {
    byte[] said = new byte[100_000];
    for (int i = 0; i < said.length; i++) {
      said[i] = (byte) (i * 31);
    }
    Thread sending =
        Thread.ofPlatform()
            .start(
                () -> {
                  try {
                    socket.getOutputStream().write(said);
                  } catch (IOException e) {
                    throw new UncheckedIOException(e);
                  }
                });
    assertThat(socket.getInputStream().readNBytes(said.length)).isEqualTo(said);
    try {
      sending.join();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  private static boolean isServed(Socket socket) {
    try {
      socket.getOutputStream().write(7);
      return socket.getInputStream().read() == 7;
    } catch (SocketException e) {
      return false;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void aFloodOfOneVmIsResetAndAnotherVmDoesNotNotice() throws IOException {
    List<InetSocketAddress> flooded = vm("flooded", 2);
    InetSocketAddress other = vm("other", 1).getFirst();
    Socket early = connect(other);
    talk(early);
    List<Socket> flood = new ArrayList<>();
    for (int i = 0; i < 3 * PLACES; i++) {
      flood.add(connect(flooded.get(i % 2)));
    }
    // With the other's one there are places for half of the rest.
    Await.until("the flood's end", () -> budget.refused() == 3 * PLACES - PLACES / 2);
    assertThat(budget.taken("flooded")).as("on both cards together").isEqualTo(PLACES / 2);
    List<Socket> served = flood.stream().filter(HostPortsFloodTest::isServed).toList();
    assertThat(served).as("whichever came first").hasSize(PLACES / 2);
    talk(early);
    for (int i = 0; i < PLACES / 8; i++) {
      talk(connect(other));
    }
    assertThat(budget.taken("other")).isEqualTo(1 + PLACES / 8);

    talk(served.getFirst());
    for (Socket each : flood) {
      each.close();
    }
    Await.until("the places of those that have ended", () -> budget.taken("flooded") == 0);
    talk(connect(flooded.getLast()));
  }

  @Test
  void whateverOthersHaveAVmWithFewConnectionsGetsOneMore() {
    for (int vm = 0; vm < 3; vm++) {
      while (budget.take("flooded" + vm)) {}
    }
    assertThat(budget.taken("flooded0")).isEqualTo(PLACES / 2);
    assertThat(budget.taken("flooded1")).isEqualTo(PLACES / 4);
    assertThat(budget.taken("flooded2")).isEqualTo(PLACES / 8);
    assertThat(budget.take("other")).isTrue();
    assertThat(budget.refused()).isEqualTo(3);
  }

  /** Connections of which neither side takes anything cost their bytes and nobody's way. */
  @Test
  void aConnectionThatNobodyReadsIsHeldUpAlone() throws IOException {
    InetSocketAddress stuck = vm("stuck", 1).getFirst();
    Socket unread = connect(stuck);
    unread.setSoTimeout(10_000);
    Thread sender =
        Thread.ofPlatform()
            .daemon()
            .start(
                () -> {
                  try {
                    byte[] much = new byte[1 << 20];
                    for (int i = 0; i < 64; i++) {
                      unread.getOutputStream().write(much);
                    }
                  } catch (IOException e) {
                    // Closed by the test.
                  }
                });
    talk(connect(stuck));
    assertThat(sender.isAlive()).isTrue();
    unread.setSoLinger(true, 0);
    unread.close();
    Await.until("its place", () -> budget.taken("stuck") == 1);
  }

  @Test
  void whoHasSaidAllGetsTheAnswer() throws IOException {
    Socket socket = connect(vm("vm", 1).getFirst());
    socket.getOutputStream().write(7);
    socket.shutdownOutput();
    assertThat(socket.getInputStream().readAllBytes()).containsExactly(7);
    Await.until("its place", () -> budget.taken("vm") == 0);
  }

  /** The generation before may have done what was said. */
  @Test
  void whoHasSaidAllAndHasNoAnswerIsResetByAnotherGeneration() throws IOException {
    try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      HostPorts ports = new HostPorts(linux, "vm", "net0", budget);
      open.add(ports);
      TcpListener listener = linux.listen(ANY, 1);
      ports.listen(listener);
      ports.passTo(1, List.of((InetSocketAddress) silent.getLocalSocketAddress()));
      Socket socket = connect(listener.address());
      socket.getOutputStream().write(7);
      socket.shutdownOutput();
      try (Socket accepted = silent.accept()) {
        assertThat(accepted.getInputStream().readAllBytes()).containsExactly(7);
        ports.passTo(2, List.of((InetSocketAddress) guest.getLocalSocketAddress()));
        assertThatThrownBy(() -> socket.getInputStream().read())
            .isInstanceOf(SocketException.class);
        Await.until("its place", () -> budget.taken("vm") == 0);
      }
    }
  }

  @Test
  void closingGivesAllPlacesBack() throws IOException {
    InetSocketAddress there = vm("vm", 1).getFirst();
    Socket socket = connect(there);
    talk(socket);
    socket.setSoTimeout(100);
    assertThatThrownBy(() -> socket.getInputStream().read())
        .isInstanceOf(SocketTimeoutException.class);
    ((HostPorts) open.getFirst()).close();
    assertThat(budget.taken("vm")).isZero();
  }
}
