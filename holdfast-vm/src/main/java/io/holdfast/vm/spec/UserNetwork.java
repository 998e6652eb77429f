package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.stream.Collectors;

/**
 * A network card on a network of its own, which each QEMU makes in itself and connects with the
 * host's as an ordinary process would. The host's ports into it are Holdfast's.
 *
 * @param id of the device; its network back end has the same
 * @param mac its Ethernet address, as {@code 52:54:00:12:34:56}
 * @param forwards the host's ports into the guest
 */
public record UserNetwork(String id, String mac, List<HostForward> forwards) implements Device {
  static final String KIND = "user";

  /**
   * A host's port into the guest, for TCP.
   *
   * @param address an IPv4 address of the host; {@code 0.0.0.0} for all
   * @param port of the host
   * @param guestPort of the guest, at the first address that the network gives away
   */
  public record HostForward(String address, int port, int guestPort) {
    JsonObject toJson() {
      return JsonObject.of("address", address, "port", port, "guestPort", guestPort);
    }

    static HostForward fromJson(JsonObject json) {
      return new HostForward(
          json.string("address"),
          Math.toIntExact(json.number("port")),
          Math.toIntExact(json.number("guestPort")));
    }

    @Override
    public String toString() {
      return address + ":" + port;
    }
  }

  public UserNetwork {
    forwards = List.copyOf(forwards);
  }

  /**
   * Each QEMU takes ports on loopback that are free, whichever they are: so two never compete for
   * one.
   */
  @Override
  public List<String> arguments(Slots slots) {
    String ways =
        forwards.stream()
            .map(HostForward::guestPort)
            .distinct()
            .map(port -> ",hostfwd=tcp:127.0.0.1:0-:" + port)
            .collect(Collectors.joining());
    return List.of("-netdev", "user,id=" + id + ways, "-device", TapNetwork.card(slots, id, mac));
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of(
        "kind",
        KIND,
        "id",
        id,
        "mac",
        mac,
        "forwards",
        forwards.stream().map(HostForward::toJson).toList());
  }

  static UserNetwork fromJson(JsonObject json) {
    return new UserNetwork(
        json.string("id"),
        json.string("mac"),
        json.array("forwards").objects().stream().map(HostForward::fromJson).toList());
  }
}
