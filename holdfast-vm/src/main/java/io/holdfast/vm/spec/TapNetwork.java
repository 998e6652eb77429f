package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * A network card whose cable is plugged into a bridge of the host, by a TAP per generation.
 *
 * @param id of the device; its network back end has the same
 * @param mac its Ethernet address, as {@code 52:54:00:12:34:56}
 * @param bridge name of the bridge
 * @param queues pairs of queues, 1 or more
 * @param mtu the longest packet in bytes that the guest may send, that of the bridge when the VM
 *     started
 */
public record TapNetwork(String id, String mac, String bridge, int queues, int mtu)
    implements Device {
  /** The kind of a TAP device in a VM's record. */
  public static final String KIND = "tap";

  /** What a guest takes for granted; another one it is told. */
  private static final int USUAL_MTU = 1500;

  @Override
  public List<String> arguments(Slots slots) {
    String descriptors =
        IntStream.range(0, queues)
            .mapToObj(queue -> CommandLine.fd(label(queue)))
            .collect(Collectors.joining(":"));
    String several = queues == 1 ? "" : ",mq=on" + (slots.pci() ? ",vectors=" + vectors() : "");
    return List.of(
        "-netdev",
        "tap,id=%s,%s=%s".formatted(id, queues == 1 ? "fd" : "fds", descriptors),
        "-device",
        card(slots, id, mac) + several + (mtu == USUAL_MTU ? "" : ",host_mtu=" + mtu));
  }

  /** One for each queue, and one each for configuration and control. */
  private int vectors() {
    return 2 * queues + 2;
  }

  /**
   * The beginning of a network card's {@code -device}. Without a boot ROM: its size differs between
   * versions of QEMU, and it would be a part of the device state, larger than all the rest.
   */
  static String card(Slots slots, String id, String mac) {
    return "%s,id=%s-device,netdev=%s,mac=%s%s"
        .formatted(slots.virtio("virtio-net"), id, id, mac, slots.pci() ? ",romfile=" : "");
  }

  /** The descriptor's label of a queue. */
  public String label(int queue) {
    return id + "-" + queue;
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of(
        "kind", KIND, "id", id, "mac", mac, "bridge", bridge, "queues", queues, "mtu", mtu);
  }

  static TapNetwork fromJson(JsonObject json) {
    return new TapNetwork(
        json.string("id"),
        json.string("mac"),
        json.string("bridge"),
        Math.toIntExact(json.number("queues")),
        Math.toIntExact(json.number("mtu")));
  }
}
