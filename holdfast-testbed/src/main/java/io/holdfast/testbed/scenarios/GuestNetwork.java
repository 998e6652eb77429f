package io.holdfast.testbed.scenarios;

import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/**
 * The way from a guest to its {@link Peer} outside of the machine: a bridge of the machine, with
 * its network card in it and the guest's TAP.
 */
final class GuestNetwork {
  private static final String BRIDGE = "br0";
  private static final String BRIDGE_MAC = "52:54:00:0b:01:d9";
  private static final String BRIDGE_ADDRESS = "10.0.2.100/24";
  private static final String GUEST_ADDRESS = "10.0.2.15";
  private static final Path BRIDGE_FILES = Path.of("/sys/class/net", BRIDGE);

  /** What a host's network configuration does, some time after its start. */
  private static final String PLUG_IN = "ip link set dev eth0 up master " + BRIDGE;

  private static final Duration PATIENCE = Duration.ofSeconds(90);
  private static final int READS = 20;

  /** The value of {@code --net} of a guest in it. */
  static final String NET = "tap,bridge=" + BRIDGE;

  /** What the test guest's kernel is told of it. */
  static final String WORDS = "holdfast.net=" + GUEST_ADDRESS + "/24";

  private final Inside in;

  GuestNetwork(Inside in) {
    this.in = in;
  }

  /** The machine's network card, by which the guest is reached from this port of loopback. */
  static Setup.Device uplink(int port) {
    return new Setup.Device.Uplink(port, GUEST_ADDRESS, Peer.SENDS);
  }

  /** What a shell does after a kexec: plugs the card in as soon as somebody has made the bridge. */
  static String early() {
    return "(until " + PLUG_IN + " 2>/dev/null; do sleep 0.2; done) & ";
  }

  /** Makes it, on the first kernel. */
  void make() throws IOException {
    run(
        "ip link add %1$s address %2$s type bridge && ip address add %3$s dev %1$s && ip link set %1$s up && %4$s"
            .formatted(BRIDGE, BRIDGE_MAC, BRIDGE_ADDRESS, PLUG_IN));
  }

  /** Checks, after a kexec, that the bridge is what it was. */
  void check() throws IOException {
    in.same(
        "the bridge's address",
        BRIDGE_MAC,
        Files.readString(BRIDGE_FILES.resolve("address")).strip());
    run("ip address show dev " + BRIDGE + " | grep -q 'inet " + BRIDGE_ADDRESS + "'");
    in.check("the bridge has its IP address", true);
  }

  private void run(String command) throws IOException {
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

  /** How many bytes of the guest's stream the peer outside has read. */
  long read() throws IOException {
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

  /** Waits until the peer has read that number of bytes; returns whether it did in time. */
  boolean await(long least, Duration patience) throws IOException {
    long start = System.nanoTime();
    while (read() < least && System.nanoTime() - start < patience.toNanos()) {
      InstalledHoldfast.pause(200);
    }
    return read() >= least;
  }

  /** Checks that the peer reads that number of bytes. */
  void awaitStream(String what, long least) throws IOException {
    boolean enough = await(least, PATIENCE);
    in.check("the guest's stream " + what + ", " + read() + " bytes", enough);
  }
}
