package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Errno;
import io.holdfast.linux.SystemCallException;
import io.holdfast.promise.Promise;
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
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/**
 * Five kernels in a row under three VMs of different shape; then the VMs are stopped, as many
 * kernels follow without Holdfast's doing, and memory is compared: nothing may have been left.
 *
 * <p>The latter kernels also tell how long a kexec takes by itself, the floor of each blackout.
 */
@Promise("kernel-update")
public final class FiveKernels implements Scenario {
  private static final int UPDATES = 5;

  /** A Linux guest on the machine's KVM. */
  private static final String LINUX = "linux";

  /** Emulated. */
  private static final String EMULATED = "emulated";

  /** Emulated, and stays paused. */
  private static final String PAUSED = "paused";

  /** What may differ: this scenario's own program is not the same size each time. */
  private static final long SLACK_KIB = 6 << 10;

  @Override
  public String title() {
    return "five kernels in a row under three VMs, and no memory is missing afterwards";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withEarly(InstalledHoldfast.early(EMULATED, PAUSED))
        .withLimit(Duration.ofMinutes(30));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
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
    BlackoutParts parts = new BlackoutParts(in);
    if (in.boot() <= UPDATES) {
      updated(holdfast, parts);
      if (in.boot() < UPDATES) {
        update(holdfast);
      }
      stopped(in, holdfast);
      in.remember("memory", missing(in));
      in.kexec();
    }
    parts.addFloor();
    if (in.boot() < 2 * UPDATES) {
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
    parts.tell();
  }

  private static void updated(InstalledHoldfast holdfast, BlackoutParts parts) throws IOException {
    parts.add(holdfast, LINUX);
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
}
