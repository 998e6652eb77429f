package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.linux.Signal;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * How long a guest stands still while its QEMU is replaced: by Holdfast, and by QEMU's own
 * cpr-transfer, side by side.
 *
 * <p>Two guests that are the same but for who updates them: same QEMU binary before and after, same
 * machine, CPU, memory (a preallocated memfd), vCPUs, kernel, disk and work. Pairs alternate, and
 * so does which of a pair comes first. The heartbeat of each is sampled by an {@link Observer} of
 * its own. While one guest has its turn, the other's QEMU and its observer stand still by SIGSTOP;
 * after SIGCONT a guest has a second to settle before it is measured.
 *
 * <p>The figure is the longest gap in the heartbeat in the window of an update, as {@link
 * Gap#atMost} defines it; a pair with a void gap is left out and counted.
 *
 * <p>Options: {@code --pairs N} (100), {@code --cpus N} (1), {@code --memory MIB} (1024), {@code
 * --json FILE}. HOLDFAST_QEMU_OTHER names the QEMU, 10.0 or newer.
 */
public final class UpdateBenchmark {
  private final int pairs;
  private final int cpus;
  private final long memory;
  private final Optional<Path> json;
  private final String qemu;

  private UpdateBenchmark(String[] arguments) {
    int pairs = 100;
    int cpus = 1;
    long memory = 1024;
    Optional<Path> json = Optional.empty();
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      String value = arguments[i + 1];
      switch (arguments[i]) {
        case "--pairs" -> pairs = Integer.parseInt(value);
        case "--cpus" -> cpus = Integer.parseInt(value);
        case "--memory" -> memory = Long.parseLong(value);
        case "--json" -> json = Optional.of(Path.of(value));
        default -> throw new IllegalArgumentException("there is no option " + arguments[i]);
      }
    }
    this.pairs = pairs;
    this.cpus = cpus;
    this.memory = memory << 20;
    this.json = json;
    this.qemu = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    if (qemu.isEmpty() || arguments.length % 2 != 0 || pairs < 1) {
      throw new IllegalArgumentException(
          "usage: HOLDFAST_QEMU_OTHER=QEMU-10 UpdateBenchmark [--pairs N] [--cpus N] [--memory MIB]"
              + " [--json FILE]");
    }
  }

  /** See {@link UpdateBenchmark}. */
  public static void main(String[] arguments) throws IOException {
    UpdateBenchmark benchmark;
    try {
      benchmark = new UpdateBenchmark(arguments);
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.exit(2);
      return;
    }
    benchmark.run();
    System.exit(0);
  }

  private record Cpr(CprTransfer guest) implements Contender {
    @Override
    public String name() {
      return "cpr-transfer";
    }

    @Override
    public int qemu() {
      return guest.pid();
    }

    @Override
    public void update() throws IOException {
      guest.update();
    }
  }

  private void run() throws IOException {
    Linux linux = Linux.system();
    Path directory = Files.createTempDirectory("holdfast-bench");
    try (AgentProcess agent = AgentProcess.start(linux, directory);
        VarlinkClient client = agent.client();
        RunningGuest ours =
            RunningGuest.start(
                client,
                "bench",
                directory,
                Optional.of(qemu),
                Optional.of("qemu64"),
                memory,
                cpus);
        ObserverProcess ourObserver = ObserverProcess.start(ours.memory(), ours.boot())) {
      HoldfastContender us = new HoldfastContender(ours);
      Side holdfast = new Side(us, ourObserver);
      holdfast.signal(Signal.STOP);
      JsonObject vm = ours.state();
      try (CprTransfer theirs =
              CprTransfer.start(
                  linux,
                  directory,
                  qemu,
                  vm.string("machine"),
                  vm.string("cpu"),
                  vm.string("accelerator"),
                  memory,
                  cpus);
          ObserverProcess theirObserver =
              ObserverProcess.start(theirs.memory(), theirs.witness().boot())) {
        Side cpr = new Side(new Cpr(theirs), theirObserver);
        cpr.signal(Signal.STOP);
        try {
          measure(holdfast, cpr, us);
        } finally {
          // A stopped process neither answers nor ends in good order.
          holdfast.signal(Signal.CONT);
          cpr.signal(Signal.CONT);
        }
        report(vm, holdfast, cpr);
      }
    }
  }

  private void measure(Side holdfast, Side cpr, HoldfastContender us) throws IOException {
    for (int pair = 0; pair < pairs; pair++) {
      (pair % 2 == 0 ? holdfast : cpr).turn();
      (pair % 2 == 0 ? cpr : holdfast).turn();
      System.err.printf(
          Locale.ROOT,
          "pair %3d of %d: holdfast %s (controller's blackout %s), cpr-transfer %s%n",
          pair + 1,
          pairs,
          shown(holdfast.gaps().getLast()),
          Screen.millis(us.blackouts().getLast()),
          shown(cpr.gaps().getLast()));
    }
  }

  private static String shown(Gap gap) {
    return Screen.millis(gap.atMost()) + (gap.isVoid() ? " (void)" : "");
  }

  private void report(JsonObject vm, Side holdfast, Side cpr) throws IOException {
    List<Integer> sound = new ArrayList<>();
    for (int i = 0; i < pairs; i++) {
      if (!holdfast.gaps().get(i).isVoid() && !cpr.gaps().get(i).isVoid()) {
        sound.add(i);
      }
    }
    if (sound.isEmpty()) {
      throw new IOException("every pair was void: the observers were stalled all the time");
    }
    long[] ours = sound.stream().mapToLong(i -> holdfast.gaps().get(i).atMost()).toArray();
    long[] theirs = sound.stream().mapToLong(i -> cpr.gaps().get(i).atMost()).toArray();
    System.out.printf(
        Locale.ROOT,
        "%nQEMU %s, %s, %s, %d vCPU, %d MiB; %d pairs, %d of them void%n",
        vm.string("qemuVersion"),
        vm.string("machine"),
        vm.string("accelerator"),
        cpus,
        memory >> 20,
        pairs,
        pairs - sound.size());
    System.out.printf(
        "%nguest stood still, ms (95 %% interval)%n%-8s %24s %24s %24s%n",
        "", "holdfast", "cpr-transfer", "ratio");
    List<JsonObject> rows = new ArrayList<>();
    for (double percentile : new double[] {50, 90, 100}) {
      Statistics.Estimate our = Statistics.percentile(ours, percentile);
      Statistics.Estimate their = Statistics.percentile(theirs, percentile);
      Statistics.Estimate ratio = Statistics.ratio(ours, theirs, percentile);
      System.out.printf(
          "%-8s %24s %24s %24s%n",
          percentile == 100 ? "worst" : "p%.0f".formatted(percentile),
          our.shown(1e6),
          their.shown(1e6),
          ratio.shown(1));
      rows.add(
          JsonObject.of(
              "percentile", percentile,
              "holdfast", our.json(),
              "cprTransfer", their.json(),
              "ratio", ratio.json()));
    }
    if (json.isPresent()) {
      JsonObject all =
          JsonObject.of(
              "vm",
              vm,
              "pairs",
              pairs,
              "void",
              pairs - sound.size(),
              "unit",
              "ns",
              "percentiles",
              rows,
              "holdfast",
              holdfast.gaps().stream().map(Gap::atMost).toList(),
              "cprTransfer",
              cpr.gaps().stream().map(Gap::atMost).toList());
      Files.writeString(json.get(), all.pretty() + "\n");
    }
  }
}
