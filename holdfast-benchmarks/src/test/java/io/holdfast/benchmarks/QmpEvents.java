package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * When a VM's guest was stopped, by QEMU's events, as a client of the VM's own channel gets them.
 */
final class QmpEvents implements AutoCloseable {
  /** From STOP to RESUME, by QEMU's timestamps: microseconds since 1970. */
  record Stop(String vm, long from, long to) {}

  private final String vm;
  private final SocketChannel channel;
  private final BufferedReader lines;
  private long asked;

  /**
   * Watches from now on.
   *
   * @param run the agent's run directory
   */
  QmpEvents(Path run, String vm) throws IOException {
    this.vm = vm;
    this.channel = SocketChannel.open(StandardProtocolFamily.UNIX);
    this.lines =
        new BufferedReader(
            new InputStreamReader(Channels.newInputStream(channel), StandardCharsets.UTF_8));
    var _ = channel.connect(UnixDomainSocketAddress.of(run.resolve("vms/" + vm + "/qmp.sock")));
    assertThat(lines.readLine()).contains("QMP");
    assertThat(eventsUpTo("qmp_capabilities")).isEmpty();
  }

  /** Every stop since the last call, each of which has ended. */
  List<Stop> stops() throws IOException {
    List<Stop> stops = new ArrayList<>();
    long from = -1;
    // A reply comes after the events that QEMU sent before it.
    for (JsonObject event : eventsUpTo("query-status")) {
      JsonObject timestamp = event.object("timestamp");
      long at = timestamp.number("seconds") * 1_000_000 + timestamp.number("microseconds");
      switch (event.string("event")) {
        case "STOP" -> from = at;
        case "RESUME" -> {
          assertThat(from).as("RESUME of %s without STOP", vm).isPositive();
          stops.add(new Stop(vm, from, at));
          from = -1;
        }
        default -> {}
      }
    }
    assertThat(from).as("%s is stopped", vm).isNegative();
    return stops;
  }

  private List<JsonObject> eventsUpTo(String command) throws IOException {
    asked++;
    String request = JsonObject.of("execute", command, "id", asked) + "\n";
    var _ = channel.write(ByteBuffer.wrap(request.getBytes(StandardCharsets.UTF_8)));
    List<JsonObject> events = new ArrayList<>();
    while (true) {
      JsonObject message = Json.parse(lines.readLine());
      if (!message.has("event")) {
        assertThat(message.has("return")).as("%s", message).isTrue();
        assertThat(message.number("id")).isEqualTo(asked);
        return events;
      }
      events.add(message);
    }
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
