package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Errno;
import io.holdfast.linux.SystemCallException;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/**
 * Five kernels in a row under three VMs of different shape; then the VMs are stopped, as many
 * kernels follow without Holdfast's doing, and memory is compared: nothing may have been left.
 *
 * <p>The latter kernels also tell how long a kexec takes by itself, the floor of each blackout.
 */
public class FiveKernels implements Scenario {
  private static final int UPDATES = 5;

  /** A Linux guest on the machine's KVM. */
  private static final String LINUX = "linux";

  /** Emulated. */
  private static final String EMULATED = "emulated";

  /** Emulated, and stays paused. */
  private static final String PAUSED = "paused";

  /** What may differ: this scenario's own program is not the same size each time. */
  private static final long SLACK_KIB = 6 << 10;

  private final int rounds;

  /** Twenty updates, for the figures. */
  public static final class FourTimes extends FiveKernels {
    /** Four rounds. */
    public FourTimes() {
      super(4);
    }

    @Override
    public String name() {
      return "five-kernels-four-times";
    }
  }

  /** One round. */
  public FiveKernels() {
    this(1);
  }

  /** With so many rounds. */
  FiveKernels(int rounds) {
    this.rounds = rounds;
  }

  @Override
  public String title() {
    return "five kernels in a row under three VMs, and no memory is missing afterwards";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withEarly(InstalledHoldfast.early(EMULATED, PAUSED))
        .withLimit(Duration.ofMinutes(30L * rounds));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    begin(in, holdfast);
  }

  private static void begin(Inside in, InstalledHoldfast holdfast) throws IOException {
    holdfast.runGuest(LINUX, "kvm", "");
    holdfast.runFirmware(EMULATED);
    holdfast.runFirmware(PAUSED);
    String _ = holdfast.must("vm", "pause", PAUSED);
    in.check("the guest counts before the update", holdfast.awaitCount(LINUX, 3) >= 3);
    update(holdfast);
  }

  private static void update(InstalledHoldfast holdfast) throws IOException {
    holdfast.remember(LINUX);
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    holdfast.awaitEarlyAgent();
    int step = (in.boot() - 1) % (2 * UPDATES) + 1;
    if (step <= UPDATES) {
      updated(in, holdfast);
      if (step < UPDATES) {
        update(holdfast);
      }
      stopped(in, holdfast);
      in.remember("memory", missing(in));
      in.kexec();
    }
    add(in, FLOOR, in.kexecToInit().orElseThrow().toMillis());
    if (step < 2 * UPDATES) {
      stopped(in, holdfast);
      in.kexec();
    }
    stopped(in, holdfast);
    long after = Long.parseLong(in.recall("memory"));
    long plain = missing(in);
    in.note("KiB in use after five updates: " + after + ", after five plain kexecs: " + plain);
    in.check(
        "no memory is missing: " + after + " KiB in use, and after plain kexecs " + plain,
        after - plain < SLACK_KIB);
    if (in.boot() < rounds * 2 * UPDATES) {
      Process _ = holdfast.startAgent();
      begin(in, holdfast);
    }
    tell(in);
  }

  private static void updated(Inside in, InstalledHoldfast holdfast) throws IOException {
    List<String> ids = InstalledHoldfast.reports();
    in.same("reports", 1, ids.size());
    JsonObject report;
    try (VarlinkClient agent = holdfast.agent()) {
      report =
          agent
              .call("io.holdfast.Update.Show", JsonObject.of("id", ids.getFirst()))
              .object("report");
    }
    in.same("the update", "completed", report.string("outcome"));
    parts(in, report);
    if (in.boot() == 1) {
      in.note(holdfast.must("update", "show", ids.getFirst()).replace('\n', '|'));
    }
    holdfast.check(LINUX, true);
    holdfast.checkFirmware(EMULATED, "running");
    holdfast.checkFirmware(PAUSED, "paused");
  }

  /** Ends the VMs that there are, and the agent. */
  private static void stopped(Inside in, InstalledHoldfast holdfast) throws IOException {
    JsonObject status;
    try (VarlinkClient agent = holdfast.agent()) {
      for (JsonObject vm :
          agent.call("io.holdfast.Vm.List", JsonObject.empty()).array("vms").objects()) {
        JsonObject _ = agent.call("io.holdfast.Vm.Stop", JsonObject.of("name", vm.string("name")));
      }
      status = agent.call("io.holdfast.Agent.Status", JsonObject.empty());
    }
    in.same("descriptors that the agent still has", 0L, status.number("heldDescriptors"));
    try {
      in.linux().liveUpdate().retrieve("holdfast").close();
      in.check("no session is left", false);
    } catch (SystemCallException e) {
      in.same("no session is left", Errno.ENOENT, e.errno());
    }
    ProcessHandle agent = ProcessHandle.of(status.number("pid")).orElseThrow();
    boolean _ = agent.destroy();
    while (agent.isAlive()) {
      InstalledHoldfast.pause(50);
    }
    try (Stream<Path> all = Files.walk(InstalledHoldfast.RUN)) {
      for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(path);
      }
    }
    for (String vm : List.of(EMULATED, PAUSED)) {
      boolean _ = Files.deleteIfExists(Path.of("/run", vm + ".raw"));
    }
  }

  /** What is in use, in KiB, without what this program has and what is read again when needed. */
  private static long missing(Inside in) throws IOException {
    System.gc();
    Files.writeString(Path.of("/proc/sys/vm/drop_caches"), "3");
    // Freeing goes on in the background for a moment.
    InstalledHoldfast.pause(2000);
    Files.writeString(Path.of("/proc/sys/vm/drop_caches"), "3");
    Path memory = Path.of("/proc/meminfo");
    Path own = Path.of("/proc/self/status");
    long ready = readyPages() * 4;
    in.note("KiB that are free in the processors' own lists: " + ready);
    return kib(memory, "MemTotal")
        - kib(memory, "MemFree")
        - ready
        - kib(memory, "Cached")
        + kib(memory, "Shmem")
        - kib(own, "RssAnon")
        - kib(own, "VmPTE");
  }

  /**
   * Free pages that each processor has put aside, which MemFree does not count: after VMs have
   * ended tens of MiB, and that for long (mm/page_alloc.c, decay_pcp_high()).
   */
  private static long readyPages() throws IOException {
    return Files.readAllLines(Path.of("/proc/zoneinfo")).stream()
        .map(line -> line.strip().split("\\s+", -1))
        .filter(words -> words[0].equals("count:"))
        .mapToLong(words -> Long.parseLong(words[1]))
        .sum();
  }

  private static long kib(Path file, String name) throws IOException {
    for (String line : Files.readAllLines(file)) {
      String[] words = line.split("[:\\s]+", -1);
      if (words[0].equals(name)) {
        return Long.parseLong(words[1]);
      }
    }
    throw new IOException(file + " has no " + name);
  }

  private static final String FLOOR = "floor";
  private static final String BLACKOUT = "blackout";
  private static final String HOST = "host-kernel";
  private static final String TO_INIT = "kexec-to-init.ms";
  private static final long MILLION = 1_000_000;

  /** What a blackout is made of, in the order in which it comes. */
  private static final List<String> PARTS =
      List.of(
          "stop",
          "save",
          "reboot call to init",
          "init to unpacking",
          "unpacking",
          "QEMU up",
          "load",
          "resume",
          BLACKOUT,
          "brownout",
          FLOOR);

  /** Adds an update's times, those of the Linux guest, to what is told at the end. */
  private static void parts(Inside in, JsonObject report) {
    JsonObject freeze = span(report, LINUX, "freeze");
    JsonObject restore = span(report, LINUX, "restore");
    JsonObject resume = span(report, LINUX, "resume");
    JsonObject arrived = span(report, HOST, "restore").object("notes");
    long init = Long.parseLong(span(report, HOST, "finish").object("notes").string(TO_INIT));
    long agent = Long.parseLong(arrived.string("kexec-to-agent.ms"));
    long stop = micros(restore, "stop.us");
    long up = micros(restore, "qemu-up.us");
    long unpacking = Long.parseLong(arrived.string("unpacking.ms"));
    long whole = report.number("blackout") / MILLION;
    add(in, "stop", stop);
    add(in, "save", freeze.number("length") / MILLION - stop);
    add(in, "reboot call to init", init);
    add(in, "init to unpacking", agent - init);
    add(in, "unpacking", unpacking);
    add(in, "QEMU up", up);
    add(in, "load", restore.number("length") / MILLION - up);
    add(in, "resume", resume.number("length") / MILLION);
    add(in, BLACKOUT, whole);
    add(in, "brownout", report.number("brownout") / MILLION);
  }

  private static JsonObject span(JsonObject report, String participant, String step) {
    return report.array("spans").objects().stream()
        .filter(span -> span.string("participant").equals(participant))
        .filter(span -> span.string("step").equals(step))
        .findFirst()
        .orElseThrow(
            () -> new IllegalStateException("no " + step + " of " + participant + ": " + report));
  }

  private static long micros(JsonObject span, String note) {
    return Long.parseLong(span.object("notes").string(note)) / 1000;
  }

  private static void add(Inside in, String key, long millis) {
    in.remember(key, in.recall(key, "") + " " + millis);
  }

  private static void tell(Inside in) {
    for (String part : PARTS) {
      List<Long> all = new ArrayList<>();
      for (String each : in.recall(part, "").strip().split(" ", -1)) {
        if (!each.isEmpty()) {
          all.add(Long.parseLong(each));
        }
      }
      all.sort(Comparator.naturalOrder());
      if (!all.isEmpty()) {
        in.note(
            "%s: median %d ms, %d to %d, of %d"
                .formatted(
                    part, all.get(all.size() / 2), all.getFirst(), all.getLast(), all.size()));
      }
    }
  }
}
