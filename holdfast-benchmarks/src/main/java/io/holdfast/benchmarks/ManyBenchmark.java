package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * How long guests stand still when many are updated at once, against one that is updated by itself
 * while the others run. All guests are the same and never idle.
 *
 * <p>Each round updates some of the guests one after the other, then all at once. The figure is the
 * blackout as the controller sees it; that of a guest in an update of many is compared with those
 * of the same rounds' single ones.
 *
 * <p>Options: {@code --vms N} (10), {@code --rounds N} (10), {@code --parallel N} (all of them),
 * {@code --memory MIB} (256), {@code --json FILE}.
 */
@Promise("figures")
public final class ManyBenchmark {
  private static final int ALONE = 5;
  private static final long SETTLE_MILLIS = 1500;

  private final int vms;
  private final int rounds;
  private final int parallel;
  private final long memory;
  private final Optional<Path> json;
  private final List<Long> alone = new ArrayList<>();
  private final List<Long> together = new ArrayList<>();
  private final List<Long> brownouts = new ArrayList<>();
  private final List<Long> lengths = new ArrayList<>();

  private ManyBenchmark(String[] arguments) {
    int vms = 10;
    int rounds = 10;
    int parallel = 0;
    long memory = 256;
    Optional<Path> json = Optional.empty();
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      String value = arguments[i + 1];
      switch (arguments[i]) {
        case "--vms" -> vms = Integer.parseInt(value);
        case "--rounds" -> rounds = Integer.parseInt(value);
        case "--parallel" -> parallel = Integer.parseInt(value);
        case "--memory" -> memory = Long.parseLong(value);
        case "--json" -> json = Optional.of(Path.of(value));
        default -> throw new IllegalArgumentException("there is no option " + arguments[i]);
      }
    }
    if (arguments.length % 2 != 0 || vms < 1 || rounds < 1 || parallel < 0) {
      throw new IllegalArgumentException(
          "usage: ManyBenchmark [--vms N] [--rounds N] [--parallel N] [--memory MIB] [--json"
              + " FILE]");
    }
    this.vms = vms;
    this.rounds = rounds;
    this.parallel = parallel == 0 ? vms : parallel;
    this.memory = memory << 20;
    this.json = json;
  }

  /** See {@link ManyBenchmark}. */
  public static void main(String[] arguments) throws IOException {
    ManyBenchmark benchmark;
    try {
      benchmark = new ManyBenchmark(arguments);
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.exit(2);
      return;
    }
    benchmark.run();
    System.exit(0);
  }

  private void run() throws IOException {
    Path directory = Files.createTempDirectory("holdfast-bench");
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        RunningGuests guests =
            RunningGuests.start(agent, vms, directory, Optional.empty(), memory)) {
      for (int round = 0; round < rounds; round++) {
        round(guests, round);
      }
      report(guests.get(0).state());
    }
  }

  private void round(RunningGuests guests, int round) throws IOException {
    List<Long> singles = new ArrayList<>();
    for (int i = 0; i < ALONE; i++) {
      RunningGuest.pause(SETTLE_MILLIS);
      RunningGuest guest = guests.get((round * ALONE + i) % vms);
      singles.add(blackout(guest.update(Optional.empty(), _ -> {})));
    }
    RunningGuest.pause(SETTLE_MILLIS);
    long begun = System.nanoTime();
    List<JsonObject> reports =
        guests.update(Optional.empty(), OptionalLong.of(parallel), _ -> {}, _ -> {});
    lengths.add(System.nanoTime() - begun);
    List<Long> many = new ArrayList<>();
    for (JsonObject report : reports) {
      many.add(blackout(report));
      brownouts.add(report.number("brownout"));
    }
    alone.addAll(singles);
    together.addAll(many);
    System.err.printf(
        Locale.ROOT,
        "round %d of %d: alone %s; together %s, all in %s%n",
        round + 1,
        rounds,
        shown(singles),
        shown(many),
        Screen.millis(lengths.getLast()));
  }

  private static long blackout(JsonObject report) throws IOException {
    if (!report.string("outcome").equals("completed")) {
      throw new IOException("an update was " + report.string("outcome") + ": " + report);
    }
    return report.number("controllerBlackoutNanos");
  }

  private static String shown(List<Long> blackouts) {
    return String.join(
        " ", blackouts.stream().map(ns -> String.format(Locale.ROOT, "%.1f", ns / 1e6)).toList());
  }

  private void report(JsonObject vm) throws IOException {
    System.out.printf(
        Locale.ROOT,
        "%nQEMU %s, %s, %d guests of %d MiB, %d at once, %d rounds%n%n%-12s %24s %24s%n",
        vm.string("qemuVersion"),
        vm.string("accelerator"),
        vms,
        memory >> 20,
        parallel,
        rounds,
        "blackout, ms",
        "alone",
        "together");
    List<JsonObject> rows = new ArrayList<>();
    for (double percentile : new double[] {50, 90, 100}) {
      Statistics.Estimate one = Statistics.percentile(longs(alone), percentile);
      Statistics.Estimate many = Statistics.percentile(longs(together), percentile);
      System.out.printf(
          "%-12s %24s %24s%n",
          percentile == 100 ? "worst" : "p%.0f".formatted(percentile), shown(one), shown(many));
      rows.add(
          JsonObject.of("percentile", percentile, "alone", one.json(), "together", many.json()));
    }
    long typical = Statistics.histogram(longs(alone)).getValueAtPercentile(50);
    long within = together.stream().filter(ns -> ns <= 2 * typical).count();
    System.out.printf(
        Locale.ROOT,
        "%n%d of %d within twice the median of one alone; all updated in %s, brownout of each %s%n",
        within,
        together.size(),
        Screen.millis(Statistics.histogram(longs(lengths)).getValueAtPercentile(50)),
        Screen.millis(Statistics.histogram(longs(brownouts)).getValueAtPercentile(50)));
    if (json.isPresent()) {
      JsonObject all =
          JsonObject.of(
              "vm",
              vm,
              "vms",
              vms,
              "parallel",
              parallel,
              "unit",
              "ns",
              "percentiles",
              rows,
              "alone",
              alone,
              "together",
              together,
              "lengths",
              lengths);
      Files.writeString(json.get(), all.pretty() + "\n");
    }
  }

  private static long[] longs(List<Long> values) {
    return values.stream().mapToLong(Long::longValue).toArray();
  }

  private static String shown(Statistics.Estimate e) {
    return String.format(
        Locale.ROOT, "%.1f (%.1f – %.1f)", e.value() / 1e6, e.low() / 1e6, e.high() / 1e6);
  }
}
