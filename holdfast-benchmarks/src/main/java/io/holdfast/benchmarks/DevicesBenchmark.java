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
import java.util.function.ToLongFunction;

/**
 * What devices cost in an update: guests that are the same but for their devices are updated in
 * turn.
 *
 * <p>While one has its turn, the others' QEMUs and observers stand still by SIGSTOP. The order
 * rotates from round to round. The first guest has one disk and nothing else; the others' figures
 * are held against its. The figure is the longest gap in the heartbeat in the window of an update,
 * as in {@link UpdateBenchmark}, and the blackout as the controller sees it.
 *
 * <p>Options: {@code --rounds N} (30), {@code --bridge NAME}, for network cards in that bridge;
 * else they are on QEMU's own network. {@code --json FILE}.
 */
public final class DevicesBenchmark {
  private static final int DISK_BYTES = 64 << 20;
  private static final int MORE = 3;

  private final int rounds;
  private final Optional<String> bridge;
  private final Optional<Path> json;

  private DevicesBenchmark(String[] arguments) {
    int rounds = 30;
    Optional<String> bridge = Optional.empty();
    Optional<Path> json = Optional.empty();
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      String value = arguments[i + 1];
      switch (arguments[i]) {
        case "--rounds" -> rounds = Integer.parseInt(value);
        case "--bridge" -> bridge = Optional.of(value);
        case "--json" -> json = Optional.of(Path.of(value));
        default -> throw new IllegalArgumentException("there is no option " + arguments[i]);
      }
    }
    if (arguments.length % 2 != 0 || rounds < 1) {
      throw new IllegalArgumentException(
          "usage: DevicesBenchmark [--rounds N] [--bridge NAME] [--json FILE]");
    }
    this.rounds = rounds;
    this.bridge = bridge;
    this.json = json;
  }

  /** See {@link DevicesBenchmark}. */
  public static void main(String[] arguments) throws IOException {
    DevicesBenchmark benchmark;
    try {
      benchmark = new DevicesBenchmark(arguments);
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.exit(2);
      return;
    }
    benchmark.run();
    System.exit(0);
  }

  /** A guest's devices; the ones of the first are what everybody has. */
  private record Shape(String name, int disks, JsonObject more) {
    JsonObject definition(Path directory) throws IOException {
      String name = vm();
      List<JsonObject> all = new ArrayList<>();
      all.add(
          JsonObject.of("path", directory.resolve(name + ".qcow2").toString(), "format", "qcow2"));
      for (int i = 1; i < disks; i++) {
        Path image = directory.resolve(name + "-" + i + ".raw");
        Files.write(image, new byte[DISK_BYTES]);
        all.add(JsonObject.of("path", image.toString(), "format", "raw"));
      }
      return more.with("disks", all);
    }

    String vm() {
      return name.replaceAll("[^a-z0-9]+", "-");
    }
  }

  private List<Shape> shapes() {
    JsonObject card =
        bridge.isPresent()
            ? JsonObject.of("kind", "tap", "bridge", bridge.get())
            : JsonObject.of("kind", "user");
    JsonObject network = JsonObject.of("networks", List.of(card));
    return List.of(
        new Shape("1 disk", 1, JsonObject.empty()),
        new Shape("4 disks", 1 + MORE, JsonObject.empty()),
        new Shape("1 disk, network", 1, network),
        new Shape("4 disks, network", 1 + MORE, network),
        new Shape(
            "1 disk, rng, balloon, cd",
            1,
            JsonObject.of("rng", true, "balloon", true, "cdroms", List.of(JsonObject.empty()))));
  }

  private void run() throws IOException {
    Path directory = Files.createTempDirectory("holdfast-bench");
    List<Shape> shapes = shapes();
    List<AutoCloseable> open = new ArrayList<>();
    List<HoldfastContender> contenders = new ArrayList<>();
    List<Side> sides = new ArrayList<>();
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client()) {
      try {
        for (Shape shape : shapes) {
          RunningGuest guest =
              RunningGuest.start(client, shape.vm(), directory, shape.definition(directory));
          open.add(guest);
          ObserverProcess observer = ObserverProcess.start(guest.memory(), guest.boot());
          open.add(observer);
          HoldfastContender contender = new HoldfastContender(guest);
          Side side = new Side(contender, observer);
          contenders.add(contender);
          sides.add(side);
          side.signal(Signal.STOP);
        }
        for (int round = 0; round < rounds; round++) {
          for (int i = 0; i < sides.size(); i++) {
            sides.get((round + i) % sides.size()).turn();
          }
          System.err.printf("round %d of %d%n", round + 1, rounds);
        }
      } finally {
        // A stopped process neither answers nor ends in good order.
        sides.forEach(side -> side.signal(Signal.CONT));
        for (AutoCloseable each : open.reversed()) {
          close(each);
        }
      }
    }
    report(shapes, sides, contenders);
  }

  private static void close(AutoCloseable each) throws IOException {
    try {
      each.close();
    } catch (IOException e) {
      throw e;
    } catch (Exception e) {
      throw new IOException("at the end", e);
    }
  }

  private void report(List<Shape> shapes, List<Side> sides, List<HoldfastContender> contenders)
      throws IOException {
    System.out.printf(
        Locale.ROOT,
        "%n%d rounds, network %s; medians in ms (95 %% interval)%n%-26s %24s %10s %24s %6s%n",
        rounds,
        bridge.map(b -> "in a bridge").orElse("of QEMU's own"),
        "",
        "guest stood still",
        "more",
        "controller's blackout",
        "void");
    List<JsonObject> rows = new ArrayList<>();
    double base = 0;
    for (int i = 0; i < shapes.size(); i++) {
      long[] gaps = sound(sides.get(i).gaps(), Gap::atMost);
      long[] blackouts =
          contenders.get(i).blackouts().stream().mapToLong(Long::longValue).toArray();
      if (gaps.length == 0) {
        throw new IOException("every gap of " + shapes.get(i).name() + " was void");
      }
      Statistics.Estimate gap = Statistics.percentile(gaps, 50);
      Statistics.Estimate blackout = Statistics.percentile(blackouts, 50);
      base = i == 0 ? gap.value() : base;
      System.out.printf(
          Locale.ROOT,
          "%-26s %24s %+10.2f %24s %6d%n",
          shapes.get(i).name(),
          gap.shown(1e6),
          (gap.value() - base) / 1e6,
          blackout.shown(1e6),
          rounds - gaps.length);
      rows.add(
          JsonObject.of(
              "devices", shapes.get(i).name(), "gap", gap.json(), "blackout", blackout.json()));
    }
    if (json.isPresent()) {
      Files.writeString(
          json.get(), JsonObject.of("rounds", rounds, "unit", "ns", "rows", rows).pretty() + "\n");
    }
  }

  private static long[] sound(List<Gap> gaps, ToLongFunction<Gap> figure) {
    return gaps.stream().filter(gap -> !gap.isVoid()).mapToLong(figure).toArray();
  }
}
