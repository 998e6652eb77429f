package io.holdfast.testbed.scenarios;

import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * {@code holdfast update kernel} as an operator does it: the host gets a new kernel under a running
 * Linux guest, which goes on counting where it stood, writes on its disk what follows from what it
 * wrote last, and sends its peer on the network the next byte.
 */
public class KernelUpdate implements Scenario {
  private static final String VM = "web";
  private static final String BRIDGE = "br0";
  private static final String BRIDGE_MAC = "52:54:00:0b:01:d9";
  private static final String BRIDGE_ADDRESS = "10.0.2.100/24";
  private static final String GUEST_ADDRESS = "10.0.2.15";
  private static final Path BRIDGE_FILES = Path.of("/sys/class/net", BRIDGE);
  private static final String CONSOLE = "console-of-the-guest";
  private static final long DISK_BYTES = 64L << 20;

  /** What a host's network configuration does, some time after its start. */
  private static final String PLUG_IN = "ip link set dev eth0 up master " + BRIDGE;

  private static final long ONE_MEBIBYTE = 1 << 20;
  private static final long PATIENCE_MILLIS = 90_000;
  private static final String OFFSET = "offset";
  private static final int READS = 20;

  /**
   * The same with QEMU's guest agent in the guest, which is asked for its wall clock. On request:
   * the emulated KVM stood still under such a guest in one of four runs.
   */
  public static final class AndItsWallClock extends KernelUpdate {
    /** With the guest agent. */
    public AndItsWallClock() {
      super(true);
    }

    @Override
    public String name() {
      return "kernel-update-and-its-wall-clock";
    }
  }

  private final boolean agentWanted;
  private final int port = Peer.freePort();
  private Optional<Peer> peer = Optional.empty();

  /** Without a guest agent. */
  public KernelUpdate() {
    this(false);
  }

  private KernelUpdate(boolean agentWanted) {
    this.agentWanted = agentWanted;
  }

  @Override
  public String title() {
    return "the host gets a new kernel under a running guest, which goes on where it stood";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withDevices(
            new Setup.Device.Disk(DISK_BYTES),
            new Setup.Device.Uplink(port, GUEST_ADDRESS, Peer.SENDS))
        .withEarly(
            "(until "
                + PLUG_IN
                + " 2>/dev/null; do sleep 0.2; done) & "
                + InstalledHoldfast.early())
        .withLimit(Duration.ofMinutes(15));
  }

  @Override
  public boolean onEmulatedKvm() {
    return true;
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
    if (agentWanted) {
      InstalledHoldfast.requireAgent();
    }
    peer = Optional.of(Peer.start(port, out.exchange()));
  }

  private static void run(Inside in, String command) throws IOException {
    Process process =
        new ProcessBuilder(List.of("sh", "-c", command)).redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    try {
      if (process.waitFor() != 0) {
        in.note(command + ": " + said.strip());
        throw new IOException(command + ": " + said.strip());
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** How far the peer outside has read. */
  private static long read(Inside in) throws IOException {
    Path progress = in.exchange().resolve(Peer.PROGRESS);
    if (!Files.exists(progress)) {
      return 0;
    }
    for (int i = 0; i < READS; i++) {
      try {
        return Long.parseLong(Files.readString(progress).strip());
      } catch (IOException _) {
        // The next one took its place while it was read.
        InstalledHoldfast.pause(50);
      }
    }
    throw new IOException(progress + " could not be read in " + READS + " attempts");
  }

  private static void awaitStream(Inside in, String what, long least) throws IOException {
    long start = System.nanoTime();
    while (read(in) < least && System.nanoTime() - start < PATIENCE_MILLIS * 1_000_000) {
      InstalledHoldfast.pause(200);
    }
    in.check("the guest's stream " + what + ", " + read(in) + " bytes", read(in) >= least);
  }

  @Override
  public void before(Inside in) throws IOException {
    run(
        in,
        "ip link add %1$s address %2$s type bridge && ip address add %3$s dev %1$s && ip link set %1$s up && %4$s"
            .formatted(BRIDGE, BRIDGE_MAC, BRIDGE_ADDRESS, PLUG_IN));
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    String words = "holdfast.net=" + GUEST_ADDRESS + "/24";
    String[] devices = {"--disk", "/dev/vda,format=raw", "--net", "tap,bridge=" + BRIDGE};
    if (agentWanted) {
      holdfast.runGuestWithAgent(VM, "kvm", words, devices);
    } else {
      holdfast.runGuest(VM, "kvm", words, devices);
    }
    int before = holdfast.awaitCount(VM, 5);
    in.check("the guest counts before the update", before >= 5);
    awaitStream(in, "has begun", 2 * ONE_MEBIBYTE);
    if (agentWanted) {
      long offset = GuestWallClock.offset(in.linux(), VM);
      in.note("the guest's wall clock less the host's: " + offset / 1_000_000 + " ms");
      in.remember(OFFSET, offset);
    }
    holdfast.remember(VM);
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    holdfast.awaitEarlyAgent();
    in.note("the agent says: " + holdfast.said().replace('\n', '|'));
    in.same(
        "the bridge's address",
        BRIDGE_MAC,
        Files.readString(BRIDGE_FILES.resolve("address")).strip());
    run(in, "ip address show dev " + BRIDGE + " | grep -q 'inet " + BRIDGE_ADDRESS + "'");
    in.check("the bridge has its IP address", true);
    holdfast.check(VM, true);
    clocks(in, holdfast);
    awaitStream(in, "goes on", read(in) + 2 * ONE_MEBIBYTE);
    Files.copy(InstalledHoldfast.console(VM), in.exchange().resolve(CONSOLE));
    for (String id : InstalledHoldfast.reports()) {
      in.note(holdfast.must("update", "show", id).replace('\n', '|'));
    }
  }

  /** docs/guest-time.md: monotonic time stands still in the blackout, the wall clock is set. */
  private void clocks(Inside in, InstalledHoldfast holdfast) throws IOException {
    JsonObject report;
    try (VarlinkClient agent = holdfast.agent()) {
      report =
          agent
              .call(
                  "io.holdfast.Update.Show",
                  JsonObject.of("id", InstalledHoldfast.reports().getFirst()))
              .object("report");
    }
    long blackout = report.number("blackout");
    long gap = holdfast.heartbeat(VM).gap();
    in.check(
        "the blackout is not in the guest's monotonic clock: its largest gap is "
            + gap / 1_000_000
            + " ms of "
            + blackout / 1_000_000,
        gap < blackout / 2);
    if (agentWanted) {
      // An emulated guest takes long to hear of it; a clock that was not set lags by the blackout,
      // which is told if the guest's agent took longer than it may.
      boolean told = report.toString().contains("lag: ");
      long before = Long.parseLong(in.recall(OFFSET));
      long after = GuestWallClock.offset(in.linux(), VM);
      in.check(
          "the guest's wall clock is as far from the host's as before: %d ms, was %d%s"
              .formatted(
                  after / 1_000_000,
                  before / 1_000_000,
                  told ? ", or the report says that it may lag" : ""),
          told || Math.abs(after - before) < blackout / 2);
    }
  }

  @Override
  public void outside(Outside out) throws IOException {
    Witness.check(
        out,
        out.disk(0),
        out.exchange().resolve(CONSOLE),
        Integer.parseInt(out.remembered(VM + ".seq")));
    peer.orElseThrow().check(out);
  }
}
