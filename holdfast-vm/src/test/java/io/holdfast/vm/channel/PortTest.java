package io.holdfast.vm.channel;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.UnixSocket;
import io.holdfast.promise.Promise;
import io.holdfast.store.VmId;
import io.holdfast.vm.Await;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A named port with real sockets; the test is QEMU at one end and the client at the other. */
@Timeout(120)
@Promise("consoles")
class PortTest {
  private final Linux linux = Linux.system();
  private final MemoryStore store = new MemoryStore();

  @TempDir Path directory;

  private Path socket() {
    return directory.resolve("channel-x.sock");
  }

  private Port port() {
    return new Port(linux, store, VmId.named("vm"), "channel0", socket());
  }

  @AfterEach
  void end() {
    store.close();
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private void say(Fd to, String text) {
    linux.write(to, MemorySegment.ofArray(bytes(text)));
  }

  private String hear(Fd from, int length) {
    StringBuilder heard = new StringBuilder();
    byte[] buffer = new byte[1 << 16];
    Await.until(
        length + " bytes, has " + heard,
        () -> {
          while (!linux.poll(List.of(from), Duration.ZERO).isEmpty() && heard.length() < length) {
            int n = linux.read(from, MemorySegment.ofArray(buffer));
            heard.append(new String(buffer, 0, n, StandardCharsets.UTF_8));
          }
          return heard.length() >= length;
        });
    return heard.toString();
  }

  @Test
  void oneClientAtATimeAndNobodyMissesWhatWasSaidToNobody() throws IOException {
    try (Port port = port();
        Fd qemu = port.open(1)) {
      port.attached(1);
      assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(socket())))
          .isEqualTo("rw-------");
      say(qemu, "to nobody");
      Await.until("it to be dropped", () -> keeperIsIdle(qemu));
      try (UnixSocket one = linux.connect(socket());
          UnixSocket two = linux.connect(socket())) {
        one.send(bytes("from one"));
        two.send(bytes("from two"));
        assertThat(hear(qemu, 8)).isEqualTo("from one");
        say(qemu, "to one");
        assertThat(hear(one.fd(), 6)).isEqualTo("to one");
        one.shutdown();
        assertThat(hear(qemu, 8)).isEqualTo("from two");
        say(qemu, "to two");
        assertThat(hear(two.fd(), 6)).isEqualTo("to two");
      }
      port.drop(1);
      assertThat(directory).isEmptyDirectory();
      assertThat(store.size()).isZero();
    }
  }

  /** Room to write again, and a moment for the agent to drop what it took. */
  private boolean keeperIsIdle(Fd qemu) {
    try {
      Thread.sleep(100);
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
    return qemu.isOpen();
  }

  @Test
  void connectionLivesOnAcrossGenerationsAndAgents() throws IOException {
    Port port = port();
    Fd one = port.open(1);
    port.attached(1);
    try (UnixSocket client = linux.connect(socket())) {
      client.send(bytes("1"));
      assertThat(hear(one, 1)).isEqualTo("1");
      StringBuilder expected = new StringBuilder();
      StringBuilder got = new StringBuilder();
      Fd now = one;
      for (int generation = 2; generation < 12; generation++) {
        client.send(bytes("<" + generation));
        say(now, "(" + generation);
        Fd next = port.open(generation);
        port.frozen(generation - 1);
        client.send(bytes(">"));
        say(now, ")");
        String late = hear(now, 0);
        if (generation % 2 == 0) {
          // As an agent that dies: nothing is let go of in good order but its descriptors.
          port.close();
          port = port();
          port.attached(generation - 1);
        }
        port.running(generation);
        port.drop(generation - 1);
        say(next, "!");
        now.close();
        now = next;
        expected.append("(").append(generation).append(")!");
        got.append(late).append(hear(now, ("<" + generation + ">").length()));
      }
      assertThat(got.toString()).isEqualTo("<2><3><4><5><6><7><8><9><10><11>");
      assertThat(hear(client.fd(), expected.length())).isEqualTo(expected.toString());
      // Half closed: no more requests, but the answer still comes.
      port.drop(11);
      assertThat(linux.read(client.fd(), MemorySegment.ofArray(new byte[1]))).isZero();
      now.close();
    }
    port.close();
    assertThat(directory).isEmptyDirectory();
  }

  @Test
  void guestWaitsForAClientThatDoesNotReadAndNothingIsLost() throws IOException {
    try (Port port = port();
        Fd qemu = port.open(1)) {
      port.attached(1);
      linux.nonblocking(qemu);
      try (UnixSocket client = linux.connect(socket())) {
        client.send(bytes("x"));
        assertThat(hear(qemu, 1)).isEqualTo("x");
        long said = 0;
        String piece = "0123456789".repeat(100);
        for (int quiet = 0; quiet < 20; ) {
          try {
            say(qemu, piece);
            said += piece.length();
            quiet = 0;
          } catch (io.holdfast.linux.SystemCallException e) {
            quiet++;
            keeperIsIdle(qemu);
          }
        }
        assertThat(said).isLessThan(8 << 20);
        try (Fd next = port.open(2)) {
          port.frozen(1);
          port.running(2);
          port.drop(1);
          say(next, "end");
          long heard = 0;
          byte[] buffer = new byte[1 << 16];
          String last = "";
          while (!last.endsWith("end")) {
            int n = linux.read(client.fd(), MemorySegment.ofArray(buffer));
            heard += n;
            last = new String(buffer, 0, n, StandardCharsets.UTF_8);
          }
          assertThat(heard).isEqualTo(said + 3);
        }
      }
      port.drop(2);
    }
  }
}
