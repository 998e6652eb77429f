package io.holdfast.vm.device.network;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.NetworkInterface;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.Tap;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.device.Backend;
import io.holdfast.vm.device.BackendContext;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.spec.Findings;
import io.holdfast.vm.spec.TapNetwork;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;

/**
 * A TAP per generation. Two QEMUs can't share one: the second would reset what the first has
 * negotiated, and take packets that it can't deliver. Only one is a port of the bridge, that of the
 * generation that runs the guest.
 *
 * <p>A TAP vanishes with its last descriptor, of which its QEMU and the agent that made it have one
 * for each queue; so nothing is to be removed. Its name follows from the VM's directory, the device
 * and the generation: any agent finds it.
 */
public final class TapBackend implements Backend {
  private static final LateLogger LOG = new LateLogger(TapBackend.class);

  private static final int GENERATIONS = 10_000;

  /** As many packets as a queue holds (its interface's txqueuelen, unless somebody changed it). */
  private static final int WAITING = 1000;

  /**
   * How QEMU announces the guest, in milliseconds: at once, then four times more at growing
   * intervals, as it does after a migration.
   */
  private static final JsonObject ANNOUNCEMENT =
      JsonObject.of("initial", 50, "max", 550, "rounds", 5, "step", 100);

  private final Linux linux;
  private final TapNetwork network;
  private final String prefix;
  private final NetworkInterface bridge;

  /** The queues of the TAPs that this agent made, by generation; QEMU has the same. */
  private final Map<Integer, List<Fd>> queues = new HashMap<>();

  /** The generation whose TAP is, or is to be, the bridge's port; 0 before there is one. */
  private int current;

  /** Opens nothing yet. */
  public TapBackend(BackendContext context, TapNetwork network) {
    this.linux = context.linux();
    this.network = network;
    this.prefix = prefix(context.directory().toAbsolutePath() + "/" + network.id());
    this.bridge = linux.networkInterface(network.bridge());
  }

  /** Eight digits that no other device's TAPs have, on the whole host. */
  private static String prefix(String device) {
    try {
      byte[] digest =
          MessageDigest.getInstance("SHA-256").digest(device.getBytes(StandardCharsets.UTF_8));
      return "hf" + HexFormat.of().formatHex(digest, 0, 4) + "-";
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }

  private NetworkInterface tap(int generation) {
    return linux.networkInterface(name(generation));
  }

  private String name(int generation) {
    return prefix + generation % GENERATIONS;
  }

  @Override
  public Map<String, Fd> open(int generation) throws IOException {
    if (current == 0) {
      current = generation;
    }
    forget(generation); // of one that died; its name would be taken
    try (Tap tap = linux.tap(name(generation), network.queues())) {
      NetworkInterface made = tap.networkInterface();
      made.setAddress(hostAddress());
      made.setMtu(bridge.mtu());
      silence(made);
      made.up();
      if (generation == current) {
        var _ = made.join(bridge);
      }
      Map<String, Fd> given = new HashMap<>();
      List<Fd> kept = new ArrayList<>();
      queues.put(generation, kept);
      try {
        for (int i = 0; i < network.queues(); i++) {
          kept.add(tap.queues().get(i).duplicate());
          given.put(network.label(i), tap.queues().get(i).duplicate());
        }
        return given;
      } catch (SystemCallException e) {
        given.values().forEach(Fd::close);
        throw e;
      }
    }
  }

  /**
   * The guest's, but higher than any that a card has: a bridge without an address of its own takes
   * the lowest of its ports, and must not change it with every update.
   */
  private byte[] hostAddress() {
    byte[] address = HexFormat.ofDelimiter(":").parseHex(network.mac());
    address[0] = (byte) 0xfe;
    return address;
  }

  /** The host itself says nothing on a TAP; its IPv6 would, as soon as it is up. */
  private void silence(NetworkInterface made) {
    Path setting = Path.of("/proc/sys/net/ipv6/conf", made.name(), "disable_ipv6");
    try (Fd file = linux.open(setting, OpenFlag.WRITE)) {
      linux.write(file, MemorySegment.ofArray("1".getBytes(StandardCharsets.US_ASCII)));
    } catch (SystemCallException e) {
      LOG.get().log(System.Logger.Level.DEBUG, "no IPv6 that could be switched off", e);
    }
  }

  @Override
  public void plan(Findings findings) throws IOException {
    plan(findings, " stays in bridge " + network.bridge() + ", connections included");
  }

  /** The bridge is the carrier's to make again. */
  @Override
  public void planCrossing(Findings findings) throws IOException {
    plan(findings, " is in bridge " + network.bridge() + " again, its connections go on");
  }

  private void plan(Findings findings, String outlook) throws IOException {
    String what = "network " + network.id();
    boolean there = bridge.exists();
    if (!there || !bridge.isBridge()) {
      findings.obstacle(
          what,
          there
              ? network.bridge() + " is no bridge any more"
              : "bridge " + network.bridge() + " is not there any more",
          "Make it again: ip link add " + network.bridge() + " type bridge.");
      return;
    }
    findings.preserved(what + " (" + network.mac() + ")" + outlook);
    long silence = forwardDelay();
    if (silence > 0) {
      findings.loss(
          what
              + ": bridge "
              + network.bridge()
              + " has its spanning tree protocol on, so a new port of it passes nothing for "
              + silence
              + " s; `ip link set "
              + network.bridge()
              + " type bridge stp_state 0` avoids it");
    }
  }

  /** How long the bridge keeps a new port from passing packets, in seconds: listening, learning. */
  private long forwardDelay() throws IOException {
    Path settings = Path.of("/sys/class/net", network.bridge(), "bridge");
    Path protocol = settings.resolve("stp_state");
    if (!Files.isReadable(protocol) || Files.readString(protocol).strip().equals("0")) {
      return 0;
    }
    // In hundredths of a second.
    return 2 * Long.parseLong(Files.readString(settings.resolve("forward_delay")).strip()) / 100;
  }

  @Override
  public void attached(int generation) {
    current = generation;
  }

  /**
   * Never fails: a guest that stands still would be worse than one whose cable is loose. First the
   * new port, then the old one out: in between the bridge still knows the guest behind the old one,
   * and afterwards asks everywhere.
   *
   * <p>What came since the guest was stopped waits in the old TAP, and goes on to the new one: most
   * of it before the switch, so that it stays in order.
   */
  @Override
  public void switchTo(int generation) {
    current = generation;
    passOn(generation);
    try {
      var _ = tap(generation).join(bridge);
    } catch (SystemCallException e) {
      LOG.get()
          .log(
              System.Logger.Level.ERROR,
              "network "
                  + network.id()
                  + ": the guest goes on without being in bridge "
                  + network.bridge()
                  + "; once that is there: ip link set "
                  + name(generation)
                  + " master "
                  + network.bridge(),
              e);
    }
    try {
      var _ = tap(generation - 1).leave(bridge);
    } catch (SystemCallException e) {
      if (e.errno() != Errno.ENODEV) {
        LOG.get().log(System.Logger.Level.ERROR, "the predecessor's TAP stays in the bridge", e);
      }
    }
    passOn(generation);
  }

  /** Where another agent made the TAP, what waits in it is lost. */
  private void passOn(int generation) {
    List<Fd> old = queues.get(generation - 1);
    if (old == null) {
      return;
    }
    try {
      int _ = linux.passOn(old, tap(generation), WAITING);
    } catch (SystemCallException e) {
      LOG.get().log(System.Logger.Level.WARNING, "packets for the guest are lost", e);
    }
  }

  @Override
  public void drop(int generation) {
    forget(generation);
  }

  private void forget(int generation) {
    List<Fd> gone = queues.remove(generation);
    if (gone != null) {
      gone.forEach(Fd::close);
    }
  }

  @Override
  public void close() {
    List.copyOf(queues.keySet()).forEach(this::forget);
  }

  /** Bridges and switches further away learn at once where the guest is now. */
  @Override
  public void running(int generation, Qmp qmp) {
    try {
      var _ =
          qmp.execute(
              "announce-self",
              ANNOUNCEMENT
                  .with("interfaces", List.of(network.id() + "-device"))
                  .with("id", network.id()));
    } catch (QmpException e) {
      LOG.get().log(System.Logger.Level.WARNING, "the guest could not be announced", e);
    }
  }
}
