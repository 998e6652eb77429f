package io.holdfast.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/** Where the agent's socket is, unless {@code --socket} says otherwise. */
final class Places {
  private Places() {}

  /** HOLDFAST_SOCKET, else {@code agent.sock} in the run directory. */
  static Path socket(Map<String, String> environment) {
    String socket = environment.getOrDefault("HOLDFAST_SOCKET", "");
    return socket.isEmpty() ? run(environment).resolve("agent.sock") : Path.of(socket);
  }

  /** HOLDFAST_RUN, else /run/holdfast for root, else in the user's own run directory or /tmp. */
  private static Path run(Map<String, String> environment) {
    String run = environment.getOrDefault("HOLDFAST_RUN", "");
    if (!run.isEmpty()) {
      return Path.of(run);
    }
    int user = user();
    if (user == 0) {
      return Path.of("/run/holdfast");
    }
    String own = environment.getOrDefault("XDG_RUNTIME_DIR", "");
    return own.isEmpty() ? Path.of("/tmp/holdfast-" + user) : Path.of(own, "holdfast");
  }

  private static int user() {
    try {
      return (Integer) Files.getAttribute(Path.of("/proc/self"), "unix:uid");
    } catch (IOException e) {
      throw new UncheckedIOException(
          "Who runs this could not be read from /proc/self: is /proc mounted?", e);
    }
  }
}
