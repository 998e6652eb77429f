package io.holdfast.agent;

import io.holdfast.linux.Linux;
import io.holdfast.linux.NetworkInterface;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.Tap;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.spec.Device;
import io.holdfast.vm.spec.TapNetwork;
import io.holdfast.vm.spec.UserNetwork;
import io.holdfast.vm.spec.UserNetwork.HostForward;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;

/** Reads the networks of a {@code Definition} of interface io.holdfast.Vm. */
final class Networks {
  private static final String FIELD = "networks";
  private static final int MOST = 16;

  /** What one virtio-net device can have on every QEMU that Holdfast works with. */
  private static final int MOST_QUEUES = 128;

  private static final String MAC = "[0-9a-f]{2}(:[0-9a-f]{2}){5}";
  private static final String IPV4 =
      "(25[0-5]|2[0-4]\\d|1?\\d?\\d)(\\.(25[0-5]|2[0-4]\\d|1?\\d?\\d)){3}";
  private static final String ALL = "0.0.0.0";

  private final Linux linux;
  private final Set<String> macs = new HashSet<>();
  private final Set<String> ports = new HashSet<>();

  Networks(Linux linux) {
    this.linux = linux;
  }

  /**
   * The network cards, in their order.
   *
   * @throws VarlinkError BadDefinition, with what to do
   */
  List<Device> read(JsonObject definition) {
    List<JsonObject> asked =
        definition.optionalArray(FIELD).map(JsonArray::objects).orElse(List.of());
    if (asked.size() > MOST) {
      throw bad(asked.size() + " networks; a VM takes at most " + MOST);
    }
    List<Device> networks = new ArrayList<>();
    for (JsonObject each : asked) {
      String id = "net" + networks.size();
      String kind = each.string("kind");
      networks.add(
          switch (kind) {
            case "tap" -> tap(id, each);
            case "user" -> user(id, each);
            default -> throw bad(kind + ": take tap or user");
          });
    }
    return networks;
  }

  /** The definition with the addresses that were chosen. */
  static JsonObject fixed(JsonObject definition, List<Device> networks) {
    List<JsonObject> fixed = new ArrayList<>();
    List<JsonObject> asked =
        definition.optionalArray(FIELD).map(JsonArray::objects).orElse(List.of());
    for (int i = 0; i < asked.size(); i++) {
      String mac =
          switch (networks.get(i)) {
            case TapNetwork tap -> tap.mac();
            case UserNetwork user -> user.mac();
            default -> throw new IllegalArgumentException("no network: " + networks.get(i));
          };
      fixed.add(asked.get(i).with("mac", mac));
    }
    return fixed.isEmpty() ? definition : definition.with(FIELD, fixed);
  }

  private TapNetwork tap(String id, JsonObject asked) {
    String name = asked.optionalString("bridge").orElse("");
    if (name.isEmpty()) {
      throw bad("a tap without a bridge to plug it into; name one: --net tap,bridge=br0");
    }
    if (asked.optionalArray("hostForwards").isPresent()) {
      throw bad("a tap has no host ports: the guest is reached by its own address");
    }
    long queues = asked.optionalNumber("queues").orElse(1);
    if (queues < 1 || queues > MOST_QUEUES) {
      throw bad(queues + " queues: take 1 to " + MOST_QUEUES + ", such as the number of CPUs");
    }
    try {
      NetworkInterface bridge = linux.networkInterface(name);
      if (!bridge.exists()) {
        throw bad(
            "there is no bridge "
                + name
                + "; make it: ip link add "
                + name
                + " type bridge && ip link set "
                + name
                + " up");
      }
      if (!bridge.isBridge()) {
        throw bad(
            name
                + " is no bridge of the kernel's; `ip link show type bridge` shows those there are");
      }
      checkTaps();
      return new TapNetwork(id, mac(asked), name, (int) queues, bridge.mtu());
    } catch (IllegalArgumentException | SystemCallException e) {
      throw bad(String.valueOf(e.getMessage()));
    }
  }

  /** Whether TAPs can be made here: by making one. */
  private void checkTaps() {
    String probe = "hfp" + Integer.toUnsignedString(ThreadLocalRandom.current().nextInt(), 36);
    try (Tap made = linux.tap(probe, 1)) {
      boolean _ = made.networkInterface().exists();
    }
  }

  private UserNetwork user(String id, JsonObject asked) {
    if (asked.optionalString("bridge").isPresent() || asked.optionalNumber("queues").isPresent()) {
      throw bad("a user network has neither a bridge nor queues; those are a tap's");
    }
    List<HostForward> forwards = new ArrayList<>();
    for (JsonObject each :
        asked.optionalArray("hostForwards").map(JsonArray::objects).orElse(List.of())) {
      String address = each.optionalString("address").orElse(ALL);
      if (!address.matches(IPV4)) {
        throw bad(address + ": take an IPv4 address of the host, or none for all of them");
      }
      HostForward forward =
          new HostForward(address, port(each.number("port")), port(each.number("guestPort")));
      if (!ports.add(forward.toString())) {
        throw bad("port " + forward + " of the host is there twice");
      }
      forwards.add(forward);
    }
    return new UserNetwork(id, mac(asked), forwards);
  }

  private static int port(long number) {
    if (number < 1 || number > 65_535) {
      throw bad("port " + number + ": take 1 to 65535");
    }
    return (int) number;
  }

  /** The address asked for, or one of those that nobody sells, under the prefix that QEMU uses. */
  private String mac(JsonObject asked) {
    Optional<String> told = asked.optionalString("mac").map(mac -> mac.toLowerCase(Locale.ROOT));
    if (told.isPresent()) {
      String mac = told.get();
      // The lowest bit of the first byte makes it a group's.
      if (!mac.matches(MAC)
          || mac.equals("00:00:00:00:00:00")
          || (Integer.parseInt(mac.substring(0, 2), 16) & 1) != 0) {
        throw bad(mac + ": take an Ethernet address of one card, such as 52:54:00:12:34:56");
      }
      if (!macs.add(mac)) {
        throw bad("address " + mac + " is there twice");
      }
      return mac;
    }
    while (true) {
      int random = ThreadLocalRandom.current().nextInt(1 << 24);
      String mac =
          "52:54:00:%02x:%02x:%02x".formatted(random >> 16, random >> 8 & 0xff, random & 0xff);
      if (macs.add(mac)) {
        return mac;
      }
    }
  }

  private static VarlinkError bad(String message) {
    return DefinitionReader.bad(FIELD, message);
  }
}
