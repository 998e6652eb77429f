package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.List;

/**
 * A named port between a guest and its host, such as the guest agent's.
 *
 * @param name by which the guest finds it
 */
public record PortDevice(String id, String name) implements Device {
  static final String KIND = "port";

  /** Where it listens on the host. */
  public Path socket(Path vmDirectory) {
    return vmDirectory.resolve("channel-" + name + ".sock");
  }

  @Override
  public List<String> arguments(Slots slots) {
    return List.of(
        "-chardev",
        "socket,id=%s,fd=%s".formatted(id, CommandLine.fd(id)),
        "-device",
        "%s,id=%s-bus".formatted(slots.virtio("virtio-serial"), id),
        "-device",
        "virtserialport,id=%s-device,bus=%s-bus.0,nr=1,chardev=%s,name=%s"
            .formatted(id, id, id, name));
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of("kind", KIND, "id", id, "name", name);
  }

  static PortDevice fromJson(JsonObject json) {
    return new PortDevice(json.string("id"), json.string("name"));
  }
}
