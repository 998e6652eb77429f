package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Linux;
import io.holdfast.linux.UnixSocket;
import io.holdfast.varlink.json.Json;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;

/**
 * A guest's wall clock, as QEMU's guest agent in it tells. Asked by hand: a scenario must not share
 * a mistake with what it checks.
 */
final class GuestWallClock {
  private static final Duration PATIENCE = Duration.ofSeconds(20);
  private static final int READINGS = 5;

  private GuestWallClock() {}

  /** The guest's less the host's, in nanoseconds, as precise as half of an answer's time. */
  static long offset(Linux linux, String vm) throws IOException {
    Path path = InstalledHoldfast.RUN.resolve("vms/" + vm + "/channel-org.qemu.guest_agent.0.sock");
    try (UnixSocket socket = linux.connect(path)) {
      // It may still answer what was asked before: this one is told by its number.
      long id = System.nanoTime() & 0x7fff_ffff;
      String _ = answer(linux, socket, "guest-sync\",\"arguments\":{\"id\":" + id + "}", id + "");
      long best = Long.MAX_VALUE;
      long offset = 0;
      for (int i = 0; i < READINGS; i++) {
        long before = now();
        String said = answer(linux, socket, "guest-get-time\"", "return");
        long after = now();
        if (after - before < best) {
          best = after - before;
          offset = Json.parse(said).number("return") - (before + after) / 2;
        }
      }
      return offset;
    }
  }

  private static long now() {
    Instant now = Instant.now();
    return now.getEpochSecond() * 1_000_000_000 + now.getNano();
  }

  /** The first line that has this in it. */
  private static String answer(Linux linux, UnixSocket socket, String request, String with)
      throws IOException {
    socket.send(("{\"execute\":\"" + request + "}\n").getBytes(StandardCharsets.US_ASCII));
    StringBuilder text = new StringBuilder();
    byte[] buffer = new byte[4096];
    while (true) {
      int end = text.indexOf("\n");
      if (end >= 0) {
        String line = text.substring(0, end);
        text.delete(0, end + 1);
        if (line.contains(with)) {
          return line;
        }
        continue;
      }
      boolean comes = !linux.poll(List.of(socket.fd()), PATIENCE).isEmpty();
      int bytes = comes ? socket.receive(buffer).bytes() : 0;
      if (bytes == 0) {
        throw new IOException("the guest's agent does not answer: " + request + " " + text);
      }
      text.append(new String(buffer, 0, bytes, StandardCharsets.ISO_8859_1));
    }
  }
}
