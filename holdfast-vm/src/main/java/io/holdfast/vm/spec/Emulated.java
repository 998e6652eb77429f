package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.Locale;

/** A device that QEMU emulates by itself: nothing on the host has to follow an update. */
public record Emulated(String id, Model model) implements Device {
  static final String KIND = "emulated";

  /** What it is. */
  public enum Model {
    /** virtio-rng, fed by the host's /dev/urandom. */
    RNG,
    /** virtio-balloon. What the guest has given back stays given back across an update. */
    BALLOON,
    /** A PCI Express port, into which one device can be plugged while the guest runs. */
    PORT
  }

  @Override
  public List<String> arguments(Slots slots) {
    return switch (model) {
      case RNG ->
          List.of(
              "-object",
              "rng-random,id=" + id + "-source,filename=/dev/urandom",
              "-device",
              slots.virtio("virtio-rng") + ",id=" + id + ",rng=" + id + "-source");
      case BALLOON -> List.of("-device", slots.virtio("virtio-balloon") + ",id=" + id);
      case PORT -> List.of("-device", slots.port(id));
    };
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of(
        "kind", KIND, "id", id, "model", model.toString().toLowerCase(Locale.ROOT));
  }

  static Emulated fromJson(JsonObject json) {
    return new Emulated(
        json.string("id"), Model.valueOf(json.string("model").toUpperCase(Locale.ROOT)));
  }
}
