package io.holdfast.host.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * A CD-ROM drive, whose medium may be changed while the guest runs.
 *
 * @param id of the drive; its device is {@code ID-device}, its block nodes are {@code ID} and
 *     {@code ID-file}
 * @param medium absolute path of a raw image, empty if there is none in it
 */
public record Cdrom(String id, Optional<String> medium) implements Device {
  static final String KIND = "cdrom";

  @Override
  public List<String> arguments(Slots slots) {
    List<String> arguments = new ArrayList<>(mediumArguments());
    arguments.addAll(slots.scsi("scsi-cd", device()));
    int last = arguments.size() - 1;
    arguments.set(last, arguments.get(last) + drive());
    return arguments;
  }

  /** The block nodes of the medium, none if there is none. */
  List<String> mediumArguments() {
    return medium
        .map(
            path ->
                List.of(
                    "-blockdev",
                    "driver=file,node-name=%s-file,filename=%s,read-only=on,auto-read-only=off"
                        .formatted(id, CommandLine.escaped(path)),
                    "-blockdev",
                    "driver=raw,node-name=%s,file=%s-file,read-only=on".formatted(id, id)))
        .orElse(List.of());
  }

  /** The part of the drive's own argument that says what is in it. */
  String drive() {
    return medium.isPresent() ? ",drive=" + id : "";
  }

  /** The id of the drive's device in QEMU. */
  String device() {
    return id + "-device";
  }

  @Override
  public void plan(Findings findings) {
    medium.ifPresent(path -> findings.image("medium", path));
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of("kind", KIND, "id", id, "medium", medium);
  }

  static Cdrom fromJson(JsonObject json) {
    return new Cdrom(json.string("id"), json.optionalString("medium"));
  }
}
