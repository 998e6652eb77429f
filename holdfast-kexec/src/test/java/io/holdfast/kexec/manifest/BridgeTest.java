package io.holdfast.kexec.manifest;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** A bridge that vanished with its kernel is made again as it was; one that is there is left. */
@Promise("kernel-update")
final class BridgeTest {
  private static final String NAME = "hfc" + Long.toString(ProcessHandle.current().pid(), 36);

  private final Linux linux = Linux.system();

  @BeforeEach
  void allowed() {
    assumeTrue(linux.effectiveUser() == 0, "needs root: it makes network interfaces");
    assumeTrue(ip("link", "add", NAME, "type", "bridge"), "no bridge can be made here");
  }

  @AfterEach
  void gone() {
    boolean _ = ip("link", "delete", NAME);
  }

  private static boolean ip(String... arguments) {
    String[] command = new String[arguments.length + 1];
    command[0] = "ip";
    System.arraycopy(arguments, 0, command, 1, arguments.length);
    try {
      Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
      String _ = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      return process.waitFor() == 0;
    } catch (IOException e) {
      return false;
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  private static void must(String... arguments) {
    assertThat(ip(arguments)).as(String.join(" ", arguments)).isTrue();
  }

  /** As an operator would have one, with an address for documentation. */
  private Bridge configured() throws IOException {
    must("link", "set", NAME, "address", "52:54:00:ab:cd:ef");
    must("link", "set", NAME, "mtu", "1400");
    must("link", "set", NAME, "type", "bridge", "ageing_time", "12300");
    must("link", "set", NAME, "type", "bridge", "mcast_snooping", "0");
    must("address", "add", "192.0.2.129/25", "dev", NAME);
    must("link", "set", NAME, "up");
    return Bridge.of(linux, NAME);
  }

  @Test
  void isMadeAgainAsItWas() throws IOException {
    Bridge bridge = configured();
    assertThat(bridge.mac()).isEqualTo("52:54:00:ab:cd:ef");
    assertThat(bridge.mtu()).isEqualTo(1400);
    assertThat(bridge.settings())
        .containsEntry("ageing_time", "12300")
        .containsEntry("multicast_snooping", "0")
        .containsEntry("stp_state", "0");
    assertThat(bridge.addresses()).anyMatch(each -> each.toString().equals("192.0.2.129/25"));
    must("link", "delete", NAME);

    assertThat(bridge.make(linux)).isTrue();
    assertThat(Bridge.of(linux, NAME)).isEqualTo(bridge);
    assertThat(linux.networkInterface(NAME).isUp()).isTrue();
  }

  /** Whoever makes it may be killed on the way. */
  @Test
  void whatIsHalfMadeIsFinished() throws IOException {
    Bridge bridge = configured();
    must("link", "delete", NAME);
    must("link", "add", NAME, "type", "bridge");
    must("address", "add", "192.0.2.129/25", "dev", NAME);

    assertThat(bridge.make(linux)).isTrue();
    assertThat(Bridge.of(linux, NAME)).isEqualTo(bridge);
  }

  @Test
  void theHostsOwnIsLeftAsItIs() throws IOException {
    Bridge bridge = configured();
    must("link", "delete", NAME);
    must("link", "add", NAME, "address", "52:54:00:00:00:01", "type", "bridge");
    must("link", "set", NAME, "up");

    assertThat(bridge.make(linux)).isFalse();
    Bridge left = Bridge.of(linux, NAME);
    assertThat(left.mac()).isEqualTo("52:54:00:00:00:01");
    assertThat(left.mtu()).isEqualTo(1500);
    assertThat(left.addresses()).noneMatch(each -> each.toString().startsWith("192."));
  }

  /** A TAP is a VM's, and comes back with that; any other port is the host's configuration's. */
  @Test
  void onlyUplinksAreMissed() throws IOException {
    String uplink = NAME + "u";
    must("link", "add", uplink, "type", "veth", "peer", "name", uplink + "p");
    try {
      must("link", "set", uplink, "master", NAME);
      try (var tap = linux.tap(NAME + "t", 1)) {
        boolean _ = tap.networkInterface().join(linux.networkInterface(NAME));
        assertThat(Bridge.uplinks(NAME)).containsExactly(uplink);
        assertThat(Files.isDirectory(Path.of("/sys/class/net", NAME, "brif", NAME + "t"))).isTrue();
      }
    } finally {
      boolean _ = ip("link", "delete", uplink);
    }
  }
}
