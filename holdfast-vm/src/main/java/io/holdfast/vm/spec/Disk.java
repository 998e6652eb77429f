package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * A disk image of a VM.
 *
 * @param id of the disk; its device is {@code ID-device}, its block nodes are {@code ID} and {@code
 *     ID-file}
 * @param path absolute
 * @param format {@code raw} or {@code qcow2}
 * @param readOnly whether the guest may not write it
 * @param bus {@code virtio} or {@code scsi}; {@link #OTHER_BUS} for a disk that somebody else set
 *     up
 */
public record Disk(String id, String path, String format, boolean readOnly, String bus)
    implements Device {
  /** Where an adopted VM has its disk, its own command line says. */
  public static final String OTHER_BUS = "other";

  static final String KIND = "disk";

  @Override
  public List<String> arguments(Slots slots) {
    String access = readOnly ? "on" : "off";
    List<String> arguments = new ArrayList<>();
    arguments.add("-blockdev");
    arguments.add(
        "driver=%s,node-name=%s-file,filename=%s,read-only=%s,auto-read-only=off"
            .formatted(
                isRegular() ? "file" : "host_device", id, CommandLine.escaped(path), access));
    arguments.add("-blockdev");
    arguments.add(
        "driver=%s,node-name=%s,file=%s-file,read-only=%s".formatted(format, id, id, access));
    if (bus.equals("scsi")) {
      arguments.addAll(slots.scsi("scsi-hd", id + "-device"));
    } else {
      arguments.add("-device");
      arguments.add("%s,id=%s-device".formatted(slots.virtio("virtio-blk"), id));
    }
    int last = arguments.size() - 1;
    arguments.set(last, arguments.get(last) + ",drive=" + id);
    return arguments;
  }

  /** QEMU wants to be told; a disk that is not there is refused elsewhere, or by QEMU. */
  private boolean isRegular() {
    return !Files.exists(Path.of(path)) || Files.isRegularFile(Path.of(path));
  }

  @Override
  public void plan(Findings findings) {
    findings.image("disk", path);
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of(
        "kind", KIND, "id", id, "path", path, "format", format, "readOnly", readOnly, "bus", bus);
  }

  static Disk fromJson(JsonObject json) {
    return new Disk(
        json.string("id"),
        json.string("path"),
        json.string("format"),
        json.bool("readOnly"),
        json.string("bus"));
  }
}
