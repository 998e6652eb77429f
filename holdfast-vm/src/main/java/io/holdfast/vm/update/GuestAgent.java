package io.holdfast.vm.update;

import io.holdfast.linux.Linux;
import io.holdfast.linux.Received;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixSocket;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Vm;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * QEMU's guest agent (qemu-ga) in a guest, reached through a channel of its VM: a request and a
 * reply at a time, each a line of JSON. It may be absent, hang, or be asked by others too.
 */
final class GuestAgent implements AutoCloseable {
  /** The channel that it answers on, by its own choice. */
  static final String CHANNEL = "org.qemu.guest_agent.0";

  /**
   * Both sides forget what they have read of a message, and what comes next begins one. No part of
   * UTF-8.
   */
  private static final int RESET = 0xff;

  private final Linux linux;
  private final UnixSocket socket;
  private final byte[] buffer = new byte[4096];
  private final ByteArrayOutputStream read = new ByteArrayOutputStream();

  private GuestAgent(Linux linux, UnixSocket socket) {
    this.linux = linux;
    this.socket = socket;
  }

  /** Where the channel of a VM listens on the host, if it has one. */
  static Path socket(Vm vm) {
    return vm.directory().resolve("channel-" + CHANNEL + ".sock");
  }

  /**
   * Connects, and makes sure that it is this caller's request that is answered next.
   *
   * @throws IOException if nobody answers within {@code timeout}
   */
  static GuestAgent connect(Linux linux, Path path, Duration timeout) throws IOException {
    UnixSocket socket;
    try {
      socket = linux.connect(path);
    } catch (SystemCallException e) {
      throw new IOException("the guest agent's channel " + path + ": " + e.getMessage(), e);
    }
    GuestAgent agent = new GuestAgent(linux, socket);
    try {
      agent.synchronize(timeout);
      return agent;
    } catch (IOException e) {
      agent.close();
      throw e;
    }
  }

  private void synchronize(Duration timeout) throws IOException {
    long id = System.nanoTime() & 0x7fff_ffff;
    long end = System.nanoTime() + timeout.toNanos();
    ByteArrayOutputStream request = new ByteArrayOutputStream();
    request.write(RESET);
    request.writeBytes(request("guest-sync-delimited", JsonObject.of("id", id)));
    send(request.toByteArray());
    while (true) {
      // Answers to others' requests, or to what was cut off, come before.
      JsonObject reply = reply("guest-sync-delimited", end);
      if (reply.has("return") && reply.get("return").equals(Optional.of(id))) {
        return;
      }
    }
  }

  /**
   * Has it do something.
   *
   * @return its whole reply; the {@code return} member is what it returned
   * @throws IOException if it refuses, or does not answer in time
   */
  JsonObject execute(String command, JsonObject arguments, Duration timeout) throws IOException {
    long end = System.nanoTime() + timeout.toNanos();
    send(request(command, arguments));
    JsonObject reply = reply(command, end);
    if (reply.has("error")) {
      throw new IOException(
          "the guest agent refused " + command + ": " + reply.object("error").string("desc"));
    }
    return reply;
  }

  private static byte[] request(String command, JsonObject arguments) {
    return (JsonObject.of("execute", command, "arguments", arguments) + "\n")
        .getBytes(StandardCharsets.UTF_8);
  }

  private void send(byte[] bytes) throws IOException {
    try {
      socket.send(bytes);
    } catch (SystemCallException e) {
      throw new IOException("the guest agent's channel ended: " + e.getMessage(), e);
    }
  }

  private JsonObject reply(String command, long end) throws IOException {
    while (true) {
      String line = line(command, end);
      try {
        return Json.parse(line);
      } catch (JsonException e) {
        // The rest of something that began before this connection.
        System.getLogger(GuestAgent.class.getName())
            .log(System.Logger.Level.DEBUG, "not a message", e);
      }
    }
  }

  private String line(String command, long end) throws IOException {
    while (true) {
      byte[] all = read.toByteArray();
      for (int i = 0; i < all.length; i++) {
        if (all[i] == '\n') {
          int from = i;
          while (from > 0 && (all[from - 1] & 0xff) != RESET) {
            from--;
          }
          read.reset();
          read.write(all, i + 1, all.length - i - 1);
          return new String(all, from, i - from, StandardCharsets.UTF_8);
        }
      }
      Duration left = Duration.ofNanos(end - System.nanoTime());
      try {
        if (!left.isPositive() || linux.poll(List.of(socket.fd()), left).isEmpty()) {
          throw new IOException("the guest agent did not answer " + command + " in time");
        }
        Received received = socket.receive(buffer);
        received.closeDescriptors();
        if (received.bytes() == 0) {
          throw new IOException("the guest agent's channel ended before it answered " + command);
        }
        read.write(buffer, 0, received.bytes());
      } catch (SystemCallException e) {
        throw new IOException("the guest agent's channel: " + e.getMessage(), e);
      }
    }
  }

  @Override
  public void close() {
    socket.close();
  }
}
