package io.holdfast.host.qemu;

import io.holdfast.varlink.json.JsonObject;

/**
 * A disk image of a VM.
 *
 * @param path absolute
 * @param format {@code raw} or {@code qcow2}
 * @param readOnly whether the guest may not write it
 */
public record Disk(String path, String format, boolean readOnly) {
  JsonObject toJson() {
    return JsonObject.of("path", path, "format", format, "readOnly", readOnly);
  }

  static Disk fromJson(JsonObject json) {
    return new Disk(json.string("path"), json.string("format"), json.bool("readOnly"));
  }
}
