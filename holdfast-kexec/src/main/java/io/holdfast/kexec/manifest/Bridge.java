package io.holdfast.kexec.manifest;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.InterfaceAddress;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.NetworkInterface;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A bridge that VMs are in, so that the next kernel has it before they are back: in time the host's
 * own configuration would make it, but a VM can't be plugged into what is not there.
 *
 * <p>What a bridge is to its ports is here. What else the host does with it is its configuration's:
 * its uplinks, addresses from leases, routes, packet filters.
 *
 * @param name its name
 * @param mac its Ethernet address, as {@code 52:54:00:12:34:56}
 * @param mtu in bytes
 * @param settings files of /sys/class/net/NAME/bridge and what is in them
 * @param addresses its IP addresses, each with its prefix
 */
public record Bridge(
    String name,
    String mac,
    int mtu,
    Map<String, String> settings,
    List<InterfaceAddress> addresses) {
  private static final LateLogger LOG = new LateLogger(Bridge.class);
  private static final Path INTERFACES = Path.of("/sys/class/net");

  /** What changes how a port is served, in an order in which it can be set. */
  private static final List<String> SETTINGS =
      List.of(
          "forward_delay",
          "stp_state",
          "ageing_time",
          "group_fwd_mask",
          "multicast_snooping",
          "multicast_querier",
          "default_pvid",
          "vlan_filtering",
          "nf_call_iptables",
          "nf_call_ip6tables",
          "nf_call_arptables");

  /**
   * What ifupdown has brought up, as INTERFACE=NAME (ifquery(8), {@code --state}). It fails at an
   * address that is there already, and then leaves out what it would have done after it.
   */
  private static final Path IFUPDOWN = Path.of("/run/network/ifstate");

  public Bridge {
    settings = Map.copyOf(settings);
    addresses = List.copyOf(addresses);
  }

  /** Reads what is there now. */
  public static Bridge of(Linux linux, String name) throws IOException {
    NetworkInterface bridge = linux.networkInterface(name);
    Map<String, String> settings = new LinkedHashMap<>();
    for (String each : SETTINGS) {
      Path file = setting(name, each);
      if (Files.exists(file)) {
        settings.put(each, Files.readString(file).strip());
      }
    }
    return new Bridge(
        name,
        HexFormat.ofDelimiter(":").formatHex(bridge.address()),
        bridge.mtu(),
        settings,
        isOfIfupdown(name) ? List.of() : bridge.ipAddresses());
  }

  private static boolean isOfIfupdown(String name) throws IOException {
    return Files.exists(IFUPDOWN)
        && Files.readAllLines(IFUPDOWN).stream().anyMatch(line -> line.startsWith(name + "="));
  }

  private static Path setting(String name, String setting) {
    return INTERFACES.resolve(name).resolve("bridge").resolve(setting);
  }

  /** Its ports that belong to no VM: those that the host's configuration has to plug in again. */
  public static List<String> uplinks(String name) throws IOException {
    List<String> ports = new ArrayList<>();
    Path all = INTERFACES.resolve(name).resolve("brif");
    if (Files.isDirectory(all)) {
      try (DirectoryStream<Path> found = Files.newDirectoryStream(all)) {
        for (Path each : found) {
          // A TUN or TAP is some process's, and goes and comes with that.
          if (!Files.exists(INTERFACES.resolve(each.getFileName()).resolve("tun_flags"))) {
            ports.add(each.getFileName().toString());
          }
        }
      }
    }
    ports.sort(null);
    return ports;
  }

  /**
   * Makes it, if there is none of its name that is up: that one is the host's configuration's and
   * stays as it is. May be done again after whoever did it died half way through.
   *
   * @return whether it was made
   * @throws SystemCallException if there can't be one
   */
  public boolean make(Linux linux) {
    NetworkInterface bridge = linux.networkInterface(name);
    if (!bridge.makeBridge() && (bridge.isUp() || !bridge.isBridge())) {
      return false;
    }
    bridge.setAddress(HexFormat.ofDelimiter(":").parseHex(mac));
    if (bridge.mtu() != mtu) {
      bridge.setMtu(mtu);
    }
    SETTINGS.stream()
        .filter(settings::containsKey)
        .forEach(each -> set(linux, each, settings.getOrDefault(each, "")));
    for (InterfaceAddress each : addresses) {
      try {
        boolean _ = bridge.addIpAddress(each);
      } catch (SystemCallException e) {
        LOG.get().log(System.Logger.Level.WARNING, "bridge " + name + " is without " + each, e);
      }
    }
    // Last: it says that all of this is done.
    bridge.up();
    return true;
  }

  private void set(Linux linux, String setting, String value) {
    Path file = setting(name, setting);
    try {
      if (Files.exists(file) && Files.readString(file).strip().equals(value)) {
        return;
      }
      try (Fd open = linux.open(file, OpenFlag.WRITE)) {
        linux.write(open, MemorySegment.ofArray(value.getBytes(StandardCharsets.US_ASCII)));
      }
    } catch (IOException | SystemCallException e) {
      if (!(e instanceof SystemCallException missing && missing.errno() == Errno.ENOENT)) {
        LOG.get()
            .log(
                System.Logger.Level.WARNING,
                "bridge " + name + " could not be given " + setting + " = " + value,
                e);
      }
    }
  }
}
