package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * A CD-ROM drive, whose medium may be changed while the guest runs.
 *
 * @param id of the drive; its device is {@code ID-device}
 * @param medium absolute path of a raw image, empty if there is none in it
 * @param change how often the medium was changed; its block nodes have a name of their own each
 *     time
 */
public record Cdrom(String id, Optional<String> medium, long change) implements Device {
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
  public List<String> mediumArguments() {
    List<String> arguments = new ArrayList<>();
    nodes()
        .forEach(
            node -> {
              arguments.add("-blockdev");
              arguments.add(node.toString());
            });
    return arguments;
  }

  /** As {@code blockdev-add} takes them, in this order; none if there is no medium. */
  public List<JsonObject> nodes() {
    return medium
        .map(
            path ->
                List.of(
                    JsonObject.of(
                        "driver",
                        "file",
                        "node-name",
                        file(),
                        "filename",
                        path,
                        "read-only",
                        true,
                        "auto-read-only",
                        false),
                    JsonObject.of(
                        "driver", "raw", "node-name", node(), "file", file(), "read-only", true)))
        .orElse(List.of());
  }

  /** The part of the drive's own argument that says what is in it. */
  public String drive() {
    return medium.isPresent() ? ",drive=" + node() : "";
  }

  /** The block node of what is in the drive. */
  public String node() {
    return id + "." + change;
  }

  /** The block node of the file behind it. */
  public String file() {
    return node() + "-file";
  }

  /** The id of the drive's device in QEMU. */
  public String device() {
    return id + "-device";
  }

  @Override
  public void plan(Findings findings) {
    medium.ifPresent(path -> findings.image("medium", path));
  }

  @Override
  public JsonObject toJson() {
    return JsonObject.of("kind", KIND, "id", id, "medium", medium, "change", change);
  }

  static Cdrom fromJson(JsonObject json) {
    return new Cdrom(json.string("id"), json.optionalString("medium"), json.number("change"));
  }
}
