package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import io.holdfast.linux.UnixSocket;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Clients of VMs' QMP channels; there is no QEMU behind them. */
@Timeout(60)
@Promise("budgets")
class QmpServerTest {
  private final Linux linux = Linux.system();

  @TempDir Path directory;

  private QmpServer server(Linux on, String vm) throws IOException {
    Path own = Files.createDirectories(directory.resolve(vm));
    return new QmpServer(
        on,
        vm,
        own,
        (command, arguments) ->
            JsonObject.of("return", JsonObject.of("qemu", command, "package", "")));
  }

  private UnixSocket connect(String vm) {
    return linux.connect(QmpServer.path(directory.resolve(vm)));
  }

  private static String line(UnixSocket from) {
    StringBuilder line = new StringBuilder();
    byte[] one = new byte[1];
    while (line.indexOf("\n") < 0 && !from.receive(one).end()) {
      line.append((char) one[0]);
    }
    return line.toString();
  }

  private static void say(UnixSocket to, String line) {
    to.send((line + "\n").getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void aFloodOfClientsIsToldSoAndAnotherVmsChannelGoesOn() throws IOException {
    try (QmpServer _ = server(linux, "flooded");
        QmpServer _ = server(linux, "other");
        UnixSocket other = connect("other")) {
      assertThat(line(other)).contains("QMP");
      List<UnixSocket> flood = new ArrayList<>();
      try {
        for (int i = 0; i < QmpServer.MOST_CLIENTS; i++) {
          flood.add(connect("flooded"));
          assertThat(line(flood.getLast())).contains("QMP");
        }
        for (int i = 0; i < 40; i++) {
          try (UnixSocket more = connect("flooded")) {
            String why = Json.parse(line(more)).object("error").string("desc");
            assertThat(why).contains("VM flooded's QMP channel has 16 clients", "disconnect one");
            assertThat(line(more)).as("closed then").isEmpty();
          }
        }
        say(other, "{\"execute\": \"qmp_capabilities\"}");
        assertThat(line(other)).contains("return");
        say(flood.getFirst(), "{\"execute\": \"qmp_capabilities\"}");
        assertThat(line(flood.getFirst())).contains("return");
      } finally {
        flood.removeLast().close();
        String first;
        do {
          try (UnixSocket again = connect("flooded")) {
            first = line(again);
          }
        } while (!first.contains("QMP"));
        flood.forEach(UnixSocket::close);
      }
    }
  }

  @Test
  void aFullDescriptorTableDelaysAClientAndLosesNone() throws IOException {
    AtomicInteger refusals = new AtomicInteger(2);
    Kernel full =
        (call, a, b, c, d, e, f) ->
            call == Call.ACCEPT4 && refusals.getAndDecrement() > 0
                ? -Errno.EMFILE.number()
                : Kernel.system().call(call, a, b, c, d, e, f);
    try (QmpServer _ = server(new Linux(full), "vm");
        UnixSocket client = connect("vm")) {
      assertThat(line(client)).contains("QMP");
    }
  }

  @Test
  void aClientWhoseCommandHasNoEndIsDisconnectedAlone() throws IOException {
    try (QmpServer _ = server(linux, "vm");
        UnixSocket endless = connect("vm");
        UnixSocket other = connect("vm")) {
      assertThat(line(endless)).contains("QMP");
      assertThat(line(other)).contains("QMP");
      byte[] much = new byte[1 << 16];
      java.util.Arrays.fill(much, (byte) 'x');
      boolean open = true;
      for (int i = 0; i < 1000 && open; i++) {
        try {
          endless.send(much);
        } catch (RuntimeException e) {
          open = false;
        }
      }
      assertThat(open).isFalse();
      say(other, "{\"execute\": \"qmp_capabilities\"}");
      assertThat(line(other)).contains("return");
    }
  }
}
