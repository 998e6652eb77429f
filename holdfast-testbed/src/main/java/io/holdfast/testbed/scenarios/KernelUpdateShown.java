package io.holdfast.testbed.scenarios;

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
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What {@code ./demo kernel} shows: one update of the kernel under a Linux guest with a disk and a
 * TCP stream to a peer outside, and after it a plain kexec of the same kernel, the floor of the
 * blackout. The guest runs on TCG, because an emulated KVM loses guests (docs/testbed.md).
 *
 * <p>Its checks are the demo's ticks. Its facts:
 *
 * <pre>
 * step                what begins
 * guest               the guest and its QEMU
 * update              a line that the command has written
 * stream              how far the peer is
 * kernel.N.release    of the first and the second kernel: uname -r
 * kernel.N.version    uname -v
 * kernel.N.boot-id    another one in each boot of a machine
 * part.*              milliseconds of the blackout, as {@link BlackoutParts} names them
 * silence             milliseconds without a byte from the guest, as the peer saw it
 * </pre>
 */
@Promise("kernel-update")
public final class KernelUpdateShown implements Scenario {
  private static final String VM = "web";
  private static final String CONSOLE = "console-of-the-guest";
  private static final long DISK_BYTES = 64L << 20;
  private static final int COUNTED = 3;

  /** An emulated guest on an emulated host sends some 90 KiB a second. */
  private static final long BEGUN = 256 << 10;

  private static final long TELL_MILLIS = 1000;

  /** For each of the guest's steps; a machine that is busy with other things takes many times. */
  private static final Duration PATIENCE = Duration.ofMinutes(8);

  private static final Pattern HANDED_OVER = Pattern.compile("KHO: exec from: .*\\(count 1\\)");

  private final int port = Peer.freePort();
  private Optional<Peer> peer = Optional.empty();

  @Override
  public String title() {
    return "what ./demo kernel shows: an update of the kernel under a guest, and its floor";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withDevices(new Setup.Device.Disk(DISK_BYTES), GuestNetwork.uplink(port))
        .withEarly(
            "read -r words </proc/cmdline; case $words in *holdfast.boot=1*) "
                + GuestNetwork.early()
                + InstalledHoldfast.early()
                + " ;; esac")
        .withLimit(Duration.ofMinutes(40));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
    Peer started = Peer.start(port, out.exchange(), BEGUN);
    peer = Optional.of(started);
    Thread teller = new Thread(() -> tell(out, started), "tells of the peer");
    teller.setDaemon(true);
    teller.start();
  }

  private static void tell(Outside out, Peer peer) {
    while (!peer.over()) {
      InstalledHoldfast.pause(TELL_MILLIS);
      out.fact("stream", peer.progress());
    }
  }

  @Override
  public void before(Inside in) throws IOException {
    tellKernel(in);
    step(in, "the agent starts");
    GuestNetwork network = new GuestNetwork(in);
    network.make();
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    step(in, "a Linux guest boots");
    holdfast.runGuest(
        VM, "tcg", GuestNetwork.WORDS, "--disk", "/dev/vda,format=raw", "--net", GuestNetwork.NET);
    int counted = holdfast.awaitCount(VM, COUNTED, PATIENCE);
    if (counted < COUNTED) {
      throw new IOException(
          "the guest counts to %d in %d s; it says: %s"
              .formatted(counted, PATIENCE.toSeconds(), InstalledHoldfast.lastWords(VM)));
    }
    in.fact("guest", guest(holdfast));
    step(in, "the observer outside reads the guest's TCP stream");
    if (!network.await(2 * BEGUN, PATIENCE)) {
      throw new IOException("the guest's stream came to " + network.read() + " bytes only");
    }
    holdfast.remember(VM);
    step(in, "holdfast update kernel");
    holdfast.updateKernel(line -> in.fact("update", line));
  }

  private static void step(Inside in, String what) {
    in.fact("step", what);
  }

  private static String tellKernel(Inside in) throws IOException {
    String kernel = "kernel." + in.boot() + ".";
    String boot = Files.readString(Path.of("/proc/sys/kernel/random/boot_id")).strip();
    in.fact(kernel + "release", in.release());
    in.fact(kernel + "version", Files.readString(Path.of("/proc/sys/kernel/version")).strip());
    in.fact(kernel + "boot-id", boot);
    in.remember(kernel + "boot-id", boot);
    return boot;
  }

  private static String guest(InstalledHoldfast holdfast) {
    JsonObject vm;
    try (VarlinkClient agent = holdfast.agent()) {
      vm = agent.call("io.holdfast.Vm.Show", JsonObject.of("name", VM)).object("vm");
    }
    return "%d MiB, %d vCPU, machine %s on QEMU %s, emulated"
        .formatted(
            vm.number("memory") >> 20,
            vm.number("cpus"),
            vm.string("machine"),
            vm.string("qemuVersion"));
  }

  @Override
  public void after(Inside in) throws IOException {
    BlackoutParts parts = new BlackoutParts(in);
    if (in.boot() > 1) {
      parts.addFloor();
      parts.tellLast();
      return;
    }
    String first = in.recall("kernel.0.boot-id");
    String boot = tellKernel(in);
    in.check(
        "the host runs another kernel", !boot.equals(first), "boot id " + boot.substring(0, 8));
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    holdfast.awaitEarlyAgent();
    step(in, "the guest is back, and is checked");
    parts.add(holdfast, VM);
    parts.tellLast();
    judge(in, holdfast);
    GuestNetwork network = new GuestNetwork(in);
    if (!network.await(network.read() + 2 * BEGUN, PATIENCE)) {
      in.note("the guest's stream came to " + network.read() + " bytes only");
    }
    Files.copy(InstalledHoldfast.console(VM), in.exchange().resolve(CONSOLE));
    String _ = holdfast.must("vm", "stop", VM);
    step(in, "the floor: a plain kexec of the same kernel, with nothing to bring over");
    in.kexec();
  }

  private static void judge(Inside in, InstalledHoldfast holdfast) throws IOException {
    Heartbeat early = holdfast.heartbeat(VM);
    Heartbeat last = awaitCpuid(holdfast, early);
    PatternPages pattern;
    try (VarlinkClient agent = holdfast.agent()) {
      pattern = PatternPages.of(in.linux(), agent, VM, last);
    }
    in.check(
        "memory is what the guest wrote",
        pattern.faults().isEmpty() && pattern.right() > 0 && last.wrong() == 0,
        "%,d pages right, %,d times rewritten%s%s"
            .formatted(
                pattern.right(),
                pattern.rewrites(),
                pattern.faults().isEmpty() ? "" : "; " + pattern.faults(),
                last.wrong() == 0 ? "" : "; the guest itself found " + last.wrong() + " wrong"));
    long before = Long.parseLong(in.recall(VM + ".counter"));
    in.check(
        "the counter did not go back, and rises",
        early.counter() >= before && last.counter() > early.counter(),
        "%,d beats, %,d before the update".formatted(last.counter(), before));
    long boot = Long.parseLong(in.recall(VM + ".boot"));
    in.check(
        "the guest did not reboot",
        early.boot() == boot && last.boot() == boot,
        "boot id %016x".formatted(last.boot()));
    boolean anew = last.cpuRuns() > early.cpuRuns() + 1;
    in.check(
        "CPUID is as before",
        anew && last.cpu() == Long.parseLong(in.recall(VM + ".cpu")),
        "digest %016x, %s"
            .formatted(last.cpu(), anew ? "computed anew" : "not computed again in time"));
    List<String> complaints = InstalledHoldfast.problems(VM);
    in.check(
        "the guest complained of nothing",
        complaints.isEmpty(),
        complaints.isEmpty() ? "neither its clock nor its kernel" : String.join("; ", complaints));
  }

  /** The heartbeat once CPUID was looked at twice: one may have been under way when it stopped. */
  private static Heartbeat awaitCpuid(InstalledHoldfast holdfast, Heartbeat early)
      throws IOException {
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    Heartbeat now = holdfast.heartbeat(VM);
    while (now.cpuRuns() < early.cpuRuns() + 2 && System.nanoTime() < deadline) {
      InstalledHoldfast.pause(500);
      now = holdfast.heartbeat(VM);
    }
    return now;
  }

  @Override
  public void outside(Outside out) throws IOException {
    Witness.Seen seen = Witness.read(out.disk(0), out.exchange().resolve(CONSOLE));
    int atKexec = Integer.parseInt(out.remembered(VM + ".seq"));
    out.check(
        "the console neither forks, repeats nor skips",
        seen.console().isEmpty() && seen.missing() == 0 && seen.lines() > atKexec && atKexec > 0,
        seen.console().isEmpty()
            ? "records 1 to %,d, %,d before the update".formatted(seen.lines(), atKexec)
            : seen.console());
    out.check(
        "the disk neither forks, repeats nor skips",
        seen.disk().isEmpty() && seen.records() >= seen.lines() && seen.records() > atKexec,
        seen.disk().isEmpty() ? "records 1 to %,d".formatted(seen.records()) : seen.disk());
    Peer observer = peer.orElseThrow();
    boolean right = !observer.end().contains("wrong");
    out.check(
        "its TCP connection goes on with the next byte",
        right && observer.beforeSilence() > BEGUN && observer.afterSilence() > BEGUN,
        right
            ? "%,d KiB right before the pause, %,d KiB after it"
                .formatted(observer.beforeSilence() >> 10, observer.afterSilence() >> 10)
            : observer.end());
    out.fact("silence", Long.toString(observer.longestSilence() / 1_000_000));
    Matcher handed = HANDED_OVER.matcher(out.console());
    boolean once = handed.find();
    out.check(
        "the new kernel took over memory in a kexec",
        once,
        once ? handed.group() : "its console does not say so");
  }
}
