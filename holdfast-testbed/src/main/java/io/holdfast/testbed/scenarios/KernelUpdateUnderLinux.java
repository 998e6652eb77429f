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
import java.time.Duration;
import java.util.Optional;

/**
 * {@code holdfast update kernel} as an operator does it: the host gets a new kernel under a running
 * Linux guest, which goes on counting where it stood, writes on its disk what follows from what it
 * wrote last, and sends its peer on the network the next byte.
 */
@Promise("kernel-update")
public class KernelUpdateUnderLinux implements Scenario {
  private static final String VM = "web";
  private static final String CONSOLE = "console-of-the-guest";
  private static final long DISK_BYTES = 64L << 20;

  /** An emulated guest on an emulated host sends some 90 KiB a second. */
  private static final long BEGUN = 256 << 10;

  private static final Duration PATIENCE = Duration.ofMinutes(8);
  private static final String OFFSET = "offset";
  private static final String BEHIND = "behind";

  /**
   * The same under a guest on KVM. At night: the emulated KVM loses guests and machines
   * (docs/testbed.md).
   */
  public static final class OnKvm extends KernelUpdateUnderLinux {
    /** Without a guest agent. */
    public OnKvm() {
      super("kvm", false);
    }

    @Override
    public String name() {
      return "kernel-update-on-kvm";
    }
  }

  /**
   * The same on KVM with QEMU's guest agent in the guest, which is asked for its wall clock. At
   * night: the emulated KVM stood still under such a guest in one of four runs.
   */
  public static final class AndItsWallClock extends KernelUpdateUnderLinux {
    /** With the guest agent. */
    public AndItsWallClock() {
      super("kvm", true);
    }

    @Override
    public String name() {
      return "kernel-update-and-its-wall-clock";
    }
  }

  private final String accelerator;
  private final boolean agentWanted;
  private final int port = Peer.freePort();
  private Optional<Peer> peer = Optional.empty();

  /** On TCG and without a guest agent. */
  public KernelUpdateUnderLinux() {
    this("tcg", false);
  }

  private KernelUpdateUnderLinux(String accelerator, boolean agentWanted) {
    this.accelerator = accelerator;
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
        .withDevices(new Setup.Device.Disk(DISK_BYTES), GuestNetwork.uplink(port))
        .withEarly(GuestNetwork.early() + InstalledHoldfast.early())
        .withLimit(Duration.ofMinutes(15));
  }

  @Override
  public boolean onEmulatedKvm() {
    return accelerator.equals("kvm");
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
    if (agentWanted) {
      InstalledHoldfast.requireAgent();
    }
    peer = Optional.of(Peer.start(port, out.exchange(), BEGUN));
  }

  @Override
  public void before(Inside in) throws IOException {
    GuestNetwork network = new GuestNetwork(in);
    network.make();
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    String[] devices = {"--disk", "/dev/vda,format=raw", "--net", GuestNetwork.NET};
    if (agentWanted) {
      holdfast.runGuestWithAgent(VM, accelerator, GuestNetwork.WORDS, devices);
    } else {
      holdfast.runGuest(VM, accelerator, GuestNetwork.WORDS, devices);
    }
    int before = holdfast.awaitCount(VM, 5, PATIENCE);
    in.check("the guest counts before the update", before >= 5);
    network.awaitStream("has begun", 2 * BEGUN);
    if (agentWanted) {
      long offset = GuestWallClock.offset(in.linux(), VM);
      in.note("the guest's wall clock less the host's: " + offset / 1_000_000 + " ms");
      in.remember(OFFSET, offset);
    }
    holdfast.remember(VM);
    in.remember(BEHIND, behind(holdfast));
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    holdfast.awaitEarlyAgent();
    in.note("the agent says: " + holdfast.said().replace('\n', '|'));
    GuestNetwork network = new GuestNetwork(in);
    network.check();
    holdfast.check(VM, true);
    clocks(in, holdfast);
    network.awaitStream("goes on", network.read() + 2 * BEGUN);
    Files.copy(InstalledHoldfast.console(VM), in.exchange().resolve(CONSOLE));
    for (String id : InstalledHoldfast.reports()) {
      in.note(holdfast.must("update", "show", id).replace('\n', '|'));
    }
  }

  /** By how many ms more than at another time the guest's monotonic clock is behind the host's. */
  private static long behind(InstalledHoldfast holdfast) throws IOException {
    long stale = holdfast.heartbeat(VM).counter();
    long start = System.nanoTime();
    while (System.nanoTime() - start < PATIENCE.toNanos()) {
      Heartbeat heart = holdfast.heartbeat(VM);
      if (heart.counter() > stale) { // so its clock is that of now
        return System.currentTimeMillis() - heart.clock() / 1_000_000;
      }
    }
    throw new IOException(VM + ": its heart does not beat");
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
    // Not by the largest gap between two beats: after its return a guest was once seen not to beat
    // for 35 s, and its clock goes on when it gets no processor.
    long fallen = behind(holdfast) - Long.parseLong(in.recall(BEHIND));
    in.check(
        "the blackout is not in the guest's monotonic clock: against the host's it fell back by "
            + fallen
            + " ms, blackout "
            + blackout / 1_000_000,
        fallen * 1_000_000 > blackout / 2 && fallen * 1_000_000 < 2 * blackout);
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
