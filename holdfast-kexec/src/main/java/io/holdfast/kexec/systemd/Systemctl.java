package io.holdfast.kexec.systemd;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** systemd, asked through its own command. */
public final class Systemctl {
  /** There if systemd is the first program (sd_booted(3)). */
  private static final Path BOOTED = Path.of("/run/systemd/system");

  private final String command;

  /**
   * @param command its name, or a path
   */
  public Systemctl(String command) {
    this.command = command;
  }

  /** This host's. */
  public static Systemctl system() {
    return new Systemctl("systemctl");
  }

  /** Whether systemd is this host's first program. */
  public static boolean booted() {
    return Files.exists(BOOTED);
  }

  /**
   * Runs it.
   *
   * @return what it printed
   * @throws IOException if it fails, with what it said
   */
  public String run(String... arguments) throws IOException {
    Answer answer = ask(arguments);
    if (answer.exit() != 0) {
      throw new IOException(
          command + " " + String.join(" ", arguments) + " failed: " + answer.said().strip());
    }
    return answer.said();
  }

  /** What it said, and how it ended. */
  record Answer(int exit, String said) {}

  /** Runs it, whatever it comes to. */
  Answer ask(String... arguments) throws IOException {
    List<String> line = new ArrayList<>(List.of(command));
    line.addAll(List.of(arguments));
    Process process = new ProcessBuilder(line).redirectErrorStream(true).start();
    try {
      process.getOutputStream().close();
      String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      return new Answer(process.waitFor(), said);
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while waiting for " + command, e);
    }
  }

  /** Properties of a unit, by name; those that this systemd does not know are missing. */
  public Map<String, String> show(String unit, List<String> properties) throws IOException {
    Map<String, String> found = new LinkedHashMap<>();
    for (String line :
        run("show", "--property=" + String.join(",", properties), "--", unit).lines().toList()) {
      int equals = line.indexOf('=');
      if (equals > 0) {
        found.put(line.substring(0, equals), line.substring(equals + 1));
      }
    }
    return found;
  }
}
