package io.holdfast.host.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.util.List;

/**
 * A disk image of a VM.
 *
 * @param id of the device; its block nodes are {@code ID} and {@code ID-file}
 * @param path absolute
 * @param format {@code raw} or {@code qcow2}
 * @param readOnly whether the guest may not write it
 */
public record Disk(String id, String path, String format, boolean readOnly) implements Device {
  static final String KIND = "disk";

  @Override
  public List<String> arguments(Slots slots) {
    String access = readOnly ? "on" : "off";
    return List.of(
        "-blockdev",
        "driver=file,node-name=%s-file,filename=%s,read-only=%s,auto-read-only=off"
            .formatted(id, CommandLine.escaped(path), access),
        "-blockdev",
        "driver=%s,node-name=%s,file=%s-file,read-only=%s".formatted(format, id, id, access),
        "-device",
        "%s,id=%s-device,drive=%s".formatted(slots.virtio("virtio-blk"), id, id));
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of(
        "kind", KIND, "id", id, "path", path, "format", format, "readOnly", readOnly);
  }

  static Disk fromJson(JsonObject json) {
    return new Disk(
        json.string("id"), json.string("path"), json.string("format"), json.bool("readOnly"));
  }
}
