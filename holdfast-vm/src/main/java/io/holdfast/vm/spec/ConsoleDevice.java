package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.Locale;

/**
 * A VM's console.
 *
 * @param port what the guest sees of it
 * @param logLimit the size in bytes at which a new log begins; the one before is kept
 */
public record ConsoleDevice(Port port, long logLimit) implements Device {
  static final String KIND = "console";
  private static final String ID = "console";

  /** What the guest sees. */
  public enum Port {
    /** The first serial port, {@code ttyS0} in Linux. */
    SERIAL,
    /** A virtio console, {@code hvc0} in Linux. */
    VIRTIO
  }

  @Override
  public String id() {
    return ID;
  }

  @Override
  public List<String> arguments(Slots slots) {
    String chardev = "socket,id=%s,fd=%s".formatted(ID, CommandLine.fd(ID));
    return switch (port) {
      case SERIAL -> List.of("-chardev", chardev, "-serial", "chardev:" + ID);
      case VIRTIO ->
          List.of(
              "-chardev",
              chardev,
              "-device",
              "%s,id=%s-bus".formatted(slots.virtio("virtio-serial"), ID),
              "-device",
              "virtconsole,id=%s-device,bus=%s-bus.0,nr=0,chardev=%s".formatted(ID, ID, ID));
    };
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of(
        "kind", KIND, "port", port.name().toLowerCase(Locale.ROOT), "logLimit", logLimit);
  }

  static ConsoleDevice fromJson(JsonObject json) {
    return new ConsoleDevice(
        Port.valueOf(json.string("port").toUpperCase(Locale.ROOT)), json.number("logLimit"));
  }
}
