package io.holdfast.benchmarks;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Two network namespaces: a host with a bridge {@link #BRIDGE}, and a peer that is connected with
 * one of its ports. Nothing in them reaches the machine's own network.
 */
final class NetworkLab implements AutoCloseable {
  static final String BRIDGE = "br0";
  static final String PEER = "10.77.0.1";
  static final String GUEST = "10.77.0.2";

  private final String name = "hft" + Long.toString(ProcessHandle.current().pid(), 36);
  private final String hostName = name + "h";
  private final String peerName = name + "p";

  /**
   * Makes them; skips the test where that is not possible.
   *
   * @throws IOException if it should be possible and is not
   */
  NetworkLab() throws IOException {
    assumeTrue(Linux.system().effectiveUser() == 0, "needs root, to make network namespaces");
    assumeTrue(Files.exists(Path.of("/dev/net/tun")), "needs /dev/net/tun");
    try {
      ip("netns", "add", hostName);
    } catch (IOException e) {
      assumeTrue(false, "no network namespace can be made here: " + e.getMessage());
    }
    boolean done = false;
    try {
      ip("netns", "add", peerName);
      ip("-n", hostName, "link", "set", "lo", "up");
      ip("-n", hostName, "link", "add", BRIDGE, "type", "bridge");
      ip("-n", hostName, "link", "set", BRIDGE, "up");
      ip("-n", hostName, "link", "add", "port", "type", "veth", "peer", "eth0", "netns", peerName);
      ip("-n", hostName, "link", "set", "port", "master", BRIDGE, "up");
      ip("-n", peerName, "address", "add", PEER + "/24", "dev", "eth0");
      ip("-n", peerName, "link", "set", "eth0", "up");
      done = true;
    } finally {
      if (!done) {
        close();
      }
    }
  }

  /** What runs a command on the host. */
  List<String> onHost() {
    return List.of("ip", "netns", "exec", hostName);
  }

  /** What runs a command at the peer's. */
  List<String> atPeer() {
    return List.of("ip", "netns", "exec", peerName);
  }

  /** Runs {@code ip} on the host's network. */
  void ipOnHost(String... arguments) throws IOException {
    List<String> all = new ArrayList<>(List.of("-n", hostName));
    all.addAll(List.of(arguments));
    ip(all.toArray(String[]::new));
  }

  /** The host's TAPs, wherever they are plugged in. */
  List<String> taps() throws IOException {
    return interfaces("link", "show");
  }

  /** The TAPs that are ports of the bridge. */
  List<String> plugged() throws IOException {
    return interfaces("link", "show", "master", BRIDGE);
  }

  private List<String> interfaces(String... arguments) throws IOException {
    List<String> all = new ArrayList<>(List.of("-n", hostName, "-o"));
    all.addAll(List.of(arguments));
    return ip(all.toArray(String[]::new))
        .lines()
        .map(line -> line.split(": ", -1)[1].split("@", -1)[0])
        .filter(each -> each.startsWith("hf"))
        .toList();
  }

  private static String ip(String... arguments) throws IOException {
    List<String> command = new ArrayList<>(List.of("ip"));
    command.addAll(List.of(arguments));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    try {
      if (process.waitFor() != 0) {
        throw new IOException(String.join(" ", command) + ": " + said.strip());
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
    return said;
  }

  @Override
  public void close() throws IOException {
    try {
      ip("netns", "delete", hostName);
    } finally {
      if (Files.exists(Path.of("/run/netns", peerName))) {
        ip("netns", "delete", peerName);
      }
    }
  }
}
