package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.probe.QemuProbe;
import io.holdfast.vm.qemu.QemuBinary;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedSet;
import java.util.TreeSet;
import java.util.function.BooleanSupplier;
import java.util.function.Function;

/**
 * Updates a guest from every QEMU to every other one, and writes a table of what came of it.
 *
 * <p>For each ordered pair, a test guest is started in the first QEMU with one device of each kind
 * that most guests have, and one plugged in while it runs. The machine type is the newest q35 that
 * both know, the CPU model one of both. It is updated to the second QEMU, and must go on: the same
 * boot, the counter, the memory, CPUID, the disk, the console and the devices are checked.
 *
 * <p>Options: {@code --qemu NAME=PATH} for each QEMU, at least two; {@code --from NAME} and {@code
 * --to NAME} for a part; {@code --cpus LIST} (1,4); {@code --commit ID}, {@code --into FILE} for
 * the table, which goes to standard output without it or where a part was run; {@code --results
 * FILE}, to which each result is added, and from which those of the same commit and the same files
 * are taken that were no failures. The exit status is 1 if an update failed in the blackout or a
 * check does not hold. {@code tools/qemu-pairs} runs it.
 */
@Promise("qemu-pairs")
public final class QemuPairs {
  private static final String CPU = "Nehalem";
  private static final String Q35 = "pc-q35-";
  private static final int IMAGE_BYTES = 1 << 20;
  private static final int RECORDS = 5;
  private static final long SETTLE_MILLIS = 500;
  private static final long WAIT_NANOS = 300_000_000_000L;
  private static final long POLL_MILLIS = 20;

  /** A kernel tells of each SCSI disk that comes, in the level of a warning. */
  private static final String SCSI_DISK = "problem kernel: sd ";

  private final Map<String, QemuBinary> qemus;
  private final Optional<String> from;
  private final Optional<String> to;
  private final List<Integer> cpus;
  private final String commit;
  private final Optional<Path> into;
  private final Optional<Path> results;
  private final List<PairResult.Cell> cells = new ArrayList<>();
  private final SortedSet<String> accelerators = new TreeSet<>();

  private QemuPairs(
      Map<String, QemuBinary> qemus,
      Optional<String> from,
      Optional<String> to,
      List<Integer> cpus,
      String commit,
      Optional<Path> into,
      Optional<Path> results) {
    this.qemus = qemus;
    this.from = from;
    this.to = to;
    this.cpus = cpus;
    this.commit = commit;
    this.into = into;
    this.results = results;
  }

  /** See {@link QemuPairs}. */
  public static void main(String[] arguments) throws IOException {
    QemuPairs pairs;
    try {
      pairs = of(arguments);
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage());
      System.exit(2);
      return;
    }
    System.exit(pairs.run() ? 0 : 1);
  }

  private static QemuPairs of(String[] arguments) throws IOException {
    Map<String, String> paths = new LinkedHashMap<>();
    Map<String, String> options = new LinkedHashMap<>();
    for (int i = 0; i + 1 < arguments.length; i += 2) {
      String value = arguments[i + 1];
      switch (arguments[i]) {
        case "--qemu" ->
            paths.put(value.replaceFirst("=.*", ""), value.substring(value.indexOf('=') + 1));
        case "--from", "--to", "--cpus", "--commit", "--into", "--results" ->
            options.put(arguments[i], value);
        default -> throw new IllegalArgumentException("there is no option " + arguments[i]);
      }
    }
    if (arguments.length % 2 != 0 || paths.size() < 2) {
      throw new IllegalArgumentException(
          "usage: QemuPairs --qemu NAME=PATH --qemu NAME=PATH … [--from NAME] [--to NAME]"
              + " [--cpus 1,4] [--commit ID] [--into FILE] [--results FILE]");
    }
    for (String end : List.of("--from", "--to")) {
      if (options.containsKey(end) && !paths.containsKey(options.get(end))) {
        throw new IllegalArgumentException(
            "there is no QEMU " + options.get(end) + "; there are " + paths.keySet());
      }
    }
    Path scratch = Files.createTempDirectory("holdfast-pairs");
    try {
      QemuProbe probe = new QemuProbe(Linux.system(), scratch);
      Map<String, QemuBinary> qemus = new LinkedHashMap<>();
      for (var each : paths.entrySet()) {
        qemus.put(each.getKey(), probe.binary(each.getValue()));
      }
      return new QemuPairs(
          qemus,
          Optional.ofNullable(options.get("--from")),
          Optional.ofNullable(options.get("--to")),
          List.of(options.getOrDefault("--cpus", "1,4").split(",", -1)).stream()
              .map(Integer::valueOf)
              .toList(),
          options.getOrDefault("--commit", "unknown"),
          Optional.ofNullable(options.get("--into")).map(Path::of),
          Optional.ofNullable(options.get("--results")).map(Path::of));
    } finally {
      AgentProcess.remove(scratch);
    }
  }

  /** The newest q35 machine type that both know. */
  static Optional<String> newestCommon(List<String> some, List<String> others) {
    return some.stream()
        .filter(others::contains)
        .filter(machine -> machine.matches(Q35 + "[0-9]+\\.[0-9]+"))
        .max(
            Comparator.comparingInt((String machine) -> version(machine, 0))
                .thenComparingInt(machine -> version(machine, 1)));
  }

  private static int version(String machine, int part) {
    return Integer.parseInt(machine.substring(Q35.length()).split("\\.", -1)[part]);
  }

  private boolean run() throws IOException {
    try (AgentProcess agent =
            AgentProcess.start(Linux.system(), Files.createTempDirectory("holdfast-pairs"));
        VarlinkClient client = agent.client()) {
      for (int each : cpus) {
        for (String source : qemus.keySet()) {
          for (String target : qemus.keySet()) {
            boolean asked = source.equals(from.orElse(source)) && target.equals(to.orElse(target));
            if (asked && !source.equals(target)) {
              PairResult all = cell(agent, client, source, target, each, PairResult.Devices.ALL);
              // One device that cannot cross hides what becomes of the others.
              if (all instanceof PairResult.Refused) {
                var _ = cell(agent, client, source, target, each, PairResult.Devices.DISKS);
              }
            }
          }
        }
      }
    }
    String text = text();
    if (into.isPresent() && from.isEmpty() && to.isEmpty()) {
      Files.writeString(into.get(), text);
      System.err.println("written to " + into.get());
    } else {
      System.out.print(text);
    }
    long passed = cells.stream().filter(c -> c.result() instanceof PairResult.Passed).count();
    long failed = cells.stream().filter(c -> !c.result().acceptable()).count();
    // In the form in which every part of a night ends: docs/nightly.md.
    System.err.printf(
        "%d passed, %d failed, %d skipped%n", passed, failed, cells.size() - passed - failed);
    return !cells.isEmpty() && failed == 0;
  }

  /** What a result depends on besides its cell. */
  private JsonObject conditions(QemuBinary first, QemuBinary second) {
    return JsonObject.of("commit", commit, "first", first.package_(), "second", second.package_());
  }

  /** The result of an earlier run, with the accelerator that it had. */
  private Optional<JsonObject> earlier(
      String source, String target, int count, PairResult.Devices devices) throws IOException {
    if (results.isEmpty() || !Files.exists(results.get())) {
      return Optional.empty();
    }
    JsonObject now = conditions(qemu(source), qemu(target));
    return Files.readAllLines(results.get()).stream()
        .map((Function<String, JsonObject>) Json::parse)
        .filter(line -> line.object("conditions").equals(now))
        .filter(
            line -> {
              PairResult.Cell cell = PairResult.Cell.of(line.object("cell"));
              return cell.from().equals(source)
                  && cell.to().equals(target)
                  && cell.cpus() == count
                  && cell.devices() == devices
                  && cell.result().acceptable();
            })
        .reduce((_, last) -> last);
  }

  private PairResult cell(
      AgentProcess agent,
      VarlinkClient client,
      String source,
      String target,
      int count,
      PairResult.Devices devices)
      throws IOException {
    Optional<JsonObject> earlier = earlier(source, target, count, devices);
    if (earlier.isPresent()) {
      PairResult.Cell known = PairResult.Cell.of(earlier.get().object("cell"));
      cells.add(known);
      accelerators.add(earlier.get().string("accelerator"));
      return known.result();
    }
    QemuBinary first = qemu(source);
    QemuBinary second = qemu(target);
    String accelerator = "none";
    Optional<String> machine = newestCommon(first.machines(), second.machines());
    PairResult result;
    if (machine.isEmpty()) {
      result = new PairResult.Refused("there is no q35 machine type that both have");
    } else {
      try (Pair pair =
          new Pair(
              client,
              Files.createTempDirectory(agent.directory(), "pair"),
              "pair" + cells.size(),
              definition(first, machine.get(), count, devices))) {
        accelerator = pair.guest.state().string("accelerator");
        accelerators.add(accelerator);
        result = pair.update(second);
      } catch (IOException
          | UncheckedIOException
          | IllegalStateException
          | VarlinkException
          | VarlinkConnectionException e) {
        result = new PairResult.Failed(false, String.valueOf(e.getMessage()));
      }
    }
    PairResult.Cell cell =
        new PairResult.Cell(source, target, count, devices, machine.orElse("none"), result);
    cells.add(cell);
    if (results.isPresent()) {
      Files.writeString(
          results.get(),
          JsonObject.of(
                  "conditions",
                  conditions(first, second),
                  "accelerator",
                  accelerator,
                  "cell",
                  cell.json())
              + "\n",
          StandardOpenOption.CREATE,
          StandardOpenOption.APPEND);
    }
    System.err.println(cell.place() + ": " + result.cell());
    result.remarks().forEach(remark -> System.err.println("    " + remark));
    return result;
  }

  private QemuBinary qemu(String name) {
    return Optional.ofNullable(qemus.get(name)).orElseThrow();
  }

  private static JsonObject definition(
      QemuBinary qemu, String machine, int cpus, PairResult.Devices devices) {
    JsonObject disks =
        JsonObject.of(
            "qemu", qemu.path(), "machine", machine, "cpu", CPU, "cpus", cpus, "hotplugPorts", 1);
    return switch (devices) {
      case DISKS -> disks;
      case ALL ->
          disks
              .with("rng", true)
              .with("balloon", true)
              .with("console", "virtio")
              .with("networks", List.of(JsonObject.of("kind", "user")));
    };
  }

  /** One guest that is updated once. */
  private static final class Pair implements AutoCloseable {
    private final VarlinkClient client;
    private final Path directory;
    private final String name;
    private final RunningGuest guest;
    private boolean stopped;

    Pair(VarlinkClient client, Path directory, String name, JsonObject definition)
        throws IOException {
      this.client = client;
      this.directory = directory;
      this.name = name;
      JsonObject whole =
          definition
              .with(
                  "disks",
                  List.of(
                      JsonObject.of(
                          "path", directory.resolve(name + ".qcow2").toString(), "format", "qcow2"),
                      JsonObject.of("path", image("scsi"), "format", "raw", "bus", "scsi")))
              .with("cdroms", List.of(JsonObject.of("medium", image("cd"))));
      try {
        this.guest = RunningGuest.start(client, name, directory, whole);
      } catch (IllegalStateException e) {
        // It is slow or broken; the VM is there all the same.
        stop();
        throw e;
      }
    }

    private void stop() {
      JsonObject _ = client.call("io.holdfast.Vm.Stop", JsonObject.of("name", name));
    }

    private String image(String file) throws IOException {
      return Files.write(directory.resolve(file), new byte[IMAGE_BYTES]).toString();
    }

    PairResult update(QemuBinary to) throws IOException {
      plug();
      JsonObject asked = JsonObject.of("name", name, "qemu", to.path());
      JsonObject plan =
          client.call("io.holdfast.Update.Vmm", asked.with("dryRun", true)).object("report");
      List<String> corrections = new ArrayList<>();
      for (String each : plan.array("preserved").strings()) {
        if (each.contains("which the successor gets by")) {
          corrections.add(each);
        }
      }
      try (GuestMemory memory = GuestMemory.map(Linux.system(), guest.memory());
          ObserverProcess observer = ObserverProcess.start(guest.memory(), guest.boot())) {
        Heartbeat first = memory.heartbeat(guest.boot());
        String devices = devices();
        RunningGuest.pause(SETTLE_MILLIS);
        var _ = observer.mark("before");
        JsonObject report =
            guest.update(
                Optional.of(to.path()),
                progress -> {
                  String message = progress.string("message");
                  if (message.startsWith("starting it again: ")) {
                    corrections.add(message.substring("starting it again: ".length()));
                  }
                });
        RunningGuest.pause(SETTLE_MILLIS);
        Observation seen = observer.mark("update");
        String version = guest.show().string("qemuVersion");
        List<String> wrong = wrong(memory, first, devices);
        if (seen.boots() > 0 || seen.backwards() > 0 || seen.cpuids() > 0) {
          wrong.add("the observer saw another guest: " + seen);
        }
        String outcome = report.string("outcome");
        if (outcome.equals("completed") && !version.equals(to.version())) {
          wrong.add("it runs in QEMU " + version);
        }
        if (!wrong.isEmpty()) {
          return new PairResult.Failed(false, outcome + "; " + String.join("; ", wrong));
        }
        return switch (outcome) {
          case "completed" ->
              new PairResult.Passed(
                  seen.longest().atMost(), seen.longest().isVoid(), corrections, risks(plan));
          case "refused" -> new PairResult.Refused(obstacles(report));
          default ->
              outcome.equals("cancelled") && !dark(report)
                  ? new PairResult.Cancelled(report.string("message"))
                  : new PairResult.Failed(true, outcome + ": " + report.string("message"));
        };
      }
    }

    /** Without the VM's name, so that the same risk of several pairs is told once. */
    private List<String> risks(JsonObject plan) {
      return plan.has("risks")
          ? plan.array("risks").strings().stream()
              .map(risk -> risk.startsWith(name + ": ") ? risk.substring(name.length() + 2) : risk)
              .toList()
          : List.of();
    }

    private static String obstacles(JsonObject report) {
      return String.join(
          "; ",
          report.array("obstacles").objects().stream()
              .map(each -> each.string("what") + ": " + each.string("why"))
              .toList());
    }

    private static boolean dark(JsonObject report) {
      return report.array("spans").objects().stream()
          .anyMatch(span -> span.string("phase").equals("blackout"));
    }

    private JsonObject qmp(String command, JsonObject arguments) {
      return client
          .call(
              "io.holdfast.Vm.Qmp",
              JsonObject.of("name", name, "command", command, "arguments", arguments))
          .object("reply");
    }

    private JsonObject qmp(String command, String arguments) {
      return qmp(command, Json.parse(arguments));
    }

    /** Plugs a disk in, and waits until the guest has given it addresses. */
    private void plug() throws IOException {
      var _ =
          qmp(
              "blockdev-add",
              JsonObject.of(
                  "driver", "file", "node-name", "plugged", "filename", image("plugged")));
      var _ =
          qmp(
              "device_add",
              "{\"driver\":\"virtio-blk-pci\",\"id\":\"new\",\"bus\":\"port0\",\"drive\":\"plugged\"}");
      await("the guest takes the disk that was plugged in", () -> !devices().contains("@-1"));
    }

    /**
     * The devices by id and type, the PCI functions as the guest has programmed them, and media.
     */
    private String devices() {
      SortedSet<String> found = new TreeSet<>();
      for (JsonObject child :
          qmp("qom-list", "{\"path\":\"/machine/peripheral\"}").array("return").objects()) {
        if (child.string("type").startsWith("child<")) {
          found.add(child.string("name") + " " + child.string("type"));
        }
      }
      for (JsonObject bus : qmp("query-pci", "{}").array("return").objects()) {
        bus.array("devices").objects().forEach(device -> function(device, found));
      }
      for (JsonObject drive : qmp("query-block", "{}").array("return").objects()) {
        Optional<String> device = drive.optionalString("qdev");
        drive
            .optionalObject("inserted")
            .ifPresent(medium -> found.add(device.orElse("?") + " has " + medium.string("file")));
      }
      return String.join("\n", found);
    }

    private static void function(JsonObject device, SortedSet<String> found) {
      StringBuilder text = new StringBuilder();
      text.append(
          "PCI %d:%d.%d %04x:%04x"
              .formatted(
                  device.number("bus"),
                  device.number("slot"),
                  device.number("function"),
                  device.object("id").number("vendor"),
                  device.object("id").number("device")));
      for (JsonObject region : device.array("regions").objects()) {
        text.append(
            " BAR %d %d@%d"
                .formatted(region.number("bar"), region.number("size"), region.number("address")));
      }
      found.add(text.toString());
      device
          .optionalObject("pci_bridge")
          .filter(bridge -> bridge.has("devices"))
          .ifPresent(
              bridge ->
                  bridge.array("devices").objects().forEach(behind -> function(behind, found)));
    }

    /** What does not hold of the guest now. */
    private List<String> wrong(GuestMemory memory, Heartbeat first, String devices) {
      List<String> wrong = new ArrayList<>();
      Heartbeat now = memory.again(first);
      long told = guest.witness().last();
      if (!awaited(
          () ->
              guest.witness().last() > told + RECORDS
                  && memory.again(first).diskSequence() > now.diskSequence() + RECORDS)) {
        wrong.add("waited in vain: the guest writes on");
      }
      if (!awaited(() -> memory.again(first).count() > now.count())) {
        wrong.add("waited in vain: the guest's counter rises");
      }
      // One may have been under way during the update, so the second is surely after it.
      if (!awaited(() -> memory.again(first).cpuidRuns() > now.cpuidRuns() + 1)) {
        wrong.add("waited in vain: the guest computes CPUID's digest");
      }
      Heartbeat last = memory.again(first);
      if (last.boot() != first.boot()) {
        wrong.add("boot id %016x, not %016x".formatted(last.boot(), first.boot()));
      }
      if (last.cpuid() != first.cpuid()) {
        wrong.add("CPUID differs");
      }
      PatternCheck pattern = memory.verifyPattern(first);
      if (!pattern.good() || last.patternFailures() > 0) {
        wrong.add("memory: " + pattern);
      }
      String devicesNow = devices();
      if (!devicesNow.equals(devices)) {
        wrong.add("devices are " + devicesNow + ", and were " + devices);
      }
      ChainCheck disk = guest.stopAndCheckDisk(memory.again(first).diskSequence());
      stopped = true;
      if (!disk.good()) {
        wrong.add("disk: " + disk);
      }
      if (!guest.witness().consoleCheck().good()) {
        wrong.add("console: " + guest.witness().consoleCheck());
      }
      guest.witness().complaints().stream()
          .filter(complaint -> !complaint.startsWith(SCSI_DISK))
          .forEach(wrong::add);
      return wrong;
    }

    private static void await(String what, BooleanSupplier condition) throws IOException {
      if (!awaited(condition)) {
        throw new IOException("waited in vain: " + what);
      }
    }

    private static boolean awaited(BooleanSupplier condition) {
      long end = System.nanoTime() + WAIT_NANOS;
      while (!condition.getAsBoolean()) {
        if (System.nanoTime() > end) {
          return false;
        }
        RunningGuest.pause(POLL_MILLIS);
      }
      return true;
    }

    @Override
    public void close() {
      guest.close();
      if (!stopped) {
        stop();
      }
      AgentProcess.remove(directory);
    }
  }

  private String text() {
    StringBuilder text = new StringBuilder();
    text.append(
        """
        # Pairs of QEMU

        Which QEMU of Debian hands a running guest over to which other one, and for how long the guest was paused.
        `tools/qemu-pairs` writes this page; do not edit it.

        """);
    text.append(
        "Run on %s at commit %s, accelerator %s, CPU model %s. The guest has a disk, a SCSI disk, a network card, an rng, a\n"
            .formatted(
                DateTimeFormatter.ISO_LOCAL_DATE.format(Instant.now().atOffset(ZoneOffset.UTC)),
                commit,
                String.join(" and ", accelerators),
                CPU));
    text.append(
        """
        balloon, a virtio console, a CD-ROM drive and a disk that was plugged in while it ran. Its machine type is the newest
        q35 that both QEMUs know. Where the plan refuses that guest, one with the disks and the CD-ROM drive only is updated,
        too. "ok": the guest went on, the same boot, and its counter, memory, CPUID, disk, console and devices were checked.
        The time is the longest gap in its heartbeat, seen by an observer outside.

        | suite | QEMU | Debian's version |
        | --- | --- | --- |
        """);
    qemus.forEach(
        (suite, qemu) ->
            text.append(
                "| %s | %s | %s |%n"
                    .formatted(suite, qemu.version(), qemu.package_().replace("Debian ", ""))));
    for (int count : cpus) {
      for (PairResult.Devices devices : PairResult.Devices.values()) {
        List<PairResult.Cell> some =
            cells.stream()
                .filter(cell -> cell.cpus() == count && cell.devices() == devices)
                .toList();
        if (!some.isEmpty()) {
          text.append("\n## %d vCPU%s, %s%n%n".formatted(count, count == 1 ? "" : "s", devices))
              .append(PairResult.table(List.copyOf(qemus.keySet()), some));
        }
      }
    }
    String remarks = PairResult.remarks(cells);
    for (QemuBinary qemu : qemus.values()) { // where it lies is of this host
      remarks = remarks.replace(" (" + qemu.path() + ")", "");
    }
    if (!remarks.isEmpty()) {
      text.append("\n## Corrections, risks and refusals\n\n").append(remarks);
    }
    text.append("\n## Machine types\n\n");
    cells.stream()
        .filter(
            cell ->
                cell.cpus() == cells.getFirst().cpus() && cell.devices() == PairResult.Devices.ALL)
        .forEach(
            cell ->
                text.append("- %s → %s: %s%n".formatted(cell.from(), cell.to(), cell.machine())));
    return text.toString();
  }
}
