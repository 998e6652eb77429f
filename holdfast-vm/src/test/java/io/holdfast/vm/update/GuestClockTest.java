package io.holdfast.vm.update;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.vm.spec.Findings;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A guest says what it likes. With QEMU's guest agent: GuestTimeTest (holdfast-benchmarks). */
@Promise("pauses")
class GuestClockTest {
  @TempDir private Path directory;

  @ParameterizedTest
  @ValueSource(
      strings = {
        "\"noon\"",
        "{}",
        "[]",
        "null",
        "true",
        "1e400",
        "123456789012345678901234567890",
        "1.5"
      })
  void aTimeThatIsNoneIsALossAndRefusesNothing(String time) throws Exception {
    Path socket = directory.resolve("guest-agent");
    try (ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      server.bind(UnixDomainSocketAddress.of(socket));
      Thread guest = Thread.ofPlatform().daemon().start(() -> serve(server, time));
      Findings findings = new Findings();
      new GuestClock(Linux.system(), socket, GuestClock.Choice.CORRECT)
          .plan(findings, Optional.of(Duration.ofMillis(15)));
      guest.join();
      assertThat(findings.obstacles()).isEmpty();
      assertThat(findings.losses())
          .singleElement()
          .asString()
          .contains("the guest's wall clock will lag by about 15 ms");
    }
  }

  /** A guest agent that answers one client, and tells the same time always. */
  private static void serve(ServerSocketChannel server, String time) {
    try (SocketChannel client = server.accept();
        BufferedReader in =
            new BufferedReader(
                new InputStreamReader(
                    Channels.newInputStream(client), StandardCharsets.ISO_8859_1))) {
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        String answer =
            line.contains("guest-sync-delimited")
                ? "\u00ff{\"return\": " + line.replaceAll(".*\"id\": *(\\d+).*", "$1") + "}\n"
                : "{\"return\": " + time + "}\n";
        client.write(ByteBuffer.wrap(answer.getBytes(StandardCharsets.ISO_8859_1)));
      }
    } catch (IOException e) {
      // The client has what it wanted.
    }
  }
}
