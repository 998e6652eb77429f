package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * What the agent costs: how long it takes from its start to its first answer, and how much memory
 * of its own it has with ten VMs, each of them updated once.
 *
 * <p>HOLDFAST_BIN names the installed command, whose agent has its AOT cache; without it the agent
 * runs from this JVM's modules.
 */
@Promise("figures")
public final class AgentBenchmark {
  private static final int STARTS = 20;
  private static final int VMS = 10;
  private static final long MEMORY = 192L << 20;

  private AgentBenchmark() {}

  /** See {@link AgentBenchmark}. */
  public static void main(String[] arguments) throws IOException {
    long[] starts = new long[STARTS];
    for (int i = 0; i < STARTS; i++) {
      try (AgentProcess agent = agent()) {
        starts[i] = agent.startTime().toNanos();
      }
    }
    Arrays.sort(starts);
    System.out.printf(
        Locale.ROOT,
        "start to first answer, %d starts: median %s (%s – %s)%n",
        STARTS,
        Screen.millis((starts[STARTS / 2 - 1] + starts[STARTS / 2]) / 2),
        Screen.millis(starts[0]),
        Screen.millis(starts[STARTS - 1]));
    try (AgentProcess agent = agent();
        VarlinkClient client = agent.client()) {
      System.out.printf("RssAnon without a VM: %s%n", anonymous(agent));
      List<RunningGuest> guests = new ArrayList<>();
      try {
        for (int i = 0; i < VMS; i++) {
          guests.add(
              RunningGuest.start(
                  client,
                  "vm" + i,
                  agent.directory(),
                  Optional.empty(),
                  Optional.empty(),
                  MEMORY,
                  1));
        }
        System.out.printf("RssAnon with %d VMs: %s%n", VMS, anonymous(agent));
        for (RunningGuest guest : guests) {
          JsonObject report = guest.update(Optional.empty(), _ -> {});
          if (!report.string("outcome").equals("completed")) {
            throw new IOException("an update was " + report.string("outcome") + ": " + report);
          }
        }
        System.out.printf("RssAnon with %d VMs, each updated once: %s%n", VMS, anonymous(agent));
      } finally {
        guests.forEach(RunningGuest::close);
      }
    }
    System.exit(0);
  }

  private static AgentProcess agent() throws IOException {
    return AgentProcess.start(Linux.system(), Files.createTempDirectory("holdfast-bench"));
  }

  /** RssAnon of /proc/PID/status (proc(5)). */
  private static String anonymous(AgentProcess agent) throws IOException {
    Path status = Path.of("/proc/" + agent.pid() + "/status");
    long kib =
        Files.readAllLines(status).stream()
            .filter(line -> line.startsWith("RssAnon:"))
            .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")))
            .findFirst()
            .orElseThrow(() -> new IOException(status + " has no RssAnon"));
    return String.format(Locale.ROOT, "%.1f MiB", kib / 1024.0);
  }
}
