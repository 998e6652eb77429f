package io.holdfast.vm.probe;

import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * The formats in which a QEMU saves the state of its devices, as {@code -dump-vmstate} tells them
 * (QEMU's migration/savevm.c, dump_vmstate_json_to_file).
 *
 * <p>It shows what a machine that never ran can't: subsections that only a device in use sends. It
 * does not tell what registers its state without a device: RAM, the CPUs, QEMU's own network.
 *
 * @param devices a format for each device type that has one
 */
record VmState(SortedMap<String, Format> devices) {
  private static final String MACHINE = "vmschkmachine";

  /**
   * A structure in the device state.
   *
   * @param version in which it is saved
   * @param minimum the oldest version that is loaded
   * @param subsections that may be sent with it, by name
   * @param parts the structures in it, by name
   */
  record Format(
      long version,
      long minimum,
      SortedMap<String, Format> subsections,
      SortedMap<String, Format> parts) {}

  /**
   * Reads a dump. It has a megabyte, so it is taken one device type at a time, by the indentation
   * that QEMU gives it.
   *
   * @throws IOException if it is something else
   */
  static VmState parse(String dump) throws IOException {
    SortedMap<String, Format> devices = new TreeMap<>();
    Map<String, StringBuilder> texts = new HashMap<>();
    String name = "";
    for (String line : dump.lines().toList()) {
      if (line.startsWith("  \"") && line.endsWith("\": {")) {
        name = line.substring(3, line.length() - 4);
        texts.put(name, new StringBuilder("{"));
      } else if (line.equals("  },") || line.equals("  }")) {
        StringBuilder text = texts.remove(name);
        if (text != null && !name.equals(MACHINE)) {
          device(name, text.append('}').toString(), devices);
        }
      } else if (texts.containsKey(name)) {
        texts.get(name).append(line.strip());
      }
    }
    if (devices.isEmpty()) {
      throw new IOException("what -dump-vmstate wrote has no device in it");
    }
    return new VmState(devices);
  }

  private static void device(String name, String text, SortedMap<String, Format> devices)
      throws IOException {
    try {
      JsonObject device = Json.parse(text);
      if (device.has("Description")) {
        devices.put(name, format(device.object("Description")));
      }
    } catch (JsonException e) {
      throw new IOException(
          "what -dump-vmstate wrote of " + name + " is not understood: " + e.getMessage(), e);
    }
  }

  private static Format format(JsonObject description) {
    SortedMap<String, Format> subsections = new TreeMap<>();
    SortedMap<String, Format> parts = new TreeMap<>();
    if (description.has("Subsections")) {
      for (JsonObject each : description.array("Subsections").objects()) {
        subsections.putIfAbsent(each.string("name"), format(each));
      }
    }
    if (description.has("Fields")) {
      for (JsonObject field : description.array("Fields").objects()) {
        if (field.has("Description")) {
          JsonObject part = field.object("Description");
          parts.putIfAbsent(part.string("name"), format(part));
        }
      }
    }
    return new Format(
        description.number("version_id"),
        description.number("minimum_version_id"),
        subsections,
        parts);
  }

  /**
   * What this QEMU may send of some devices, and another one does not load.
   *
   * @param types of the devices; of those that one of both does not tell, nothing is said
   * @return each as a sentence's beginning, such as {@code isa-i8259 may send subsection
   *     i8259/ltim}
   */
  List<String> unloadable(VmState other, Collection<String> types) {
    List<String> found = new ArrayList<>();
    for (String type : new TreeSet<>(types)) {
      Format here = devices.get(type);
      Format there = other.devices.get(type);
      if (here != null && there != null) {
        SortedSet<String> differences = new TreeSet<>();
        compare(here, there, "state", differences);
        differences.forEach(difference -> found.add(type + " " + difference));
      }
    }
    return found;
  }

  private static void compare(
      Format here, Format there, String what, SortedSet<String> differences) {
    if (here.version() > there.version() || here.version() < there.minimum()) {
      differences.add(
          "sends %s in version %d, of which versions %d to %d are loaded"
              .formatted(what, here.version(), there.minimum(), there.version()));
    }
    here.subsections()
        .forEach(
            (name, format) -> {
              Format known = there.subsections().get(name);
              if (known == null) {
                differences.add("may send subsection " + name);
              } else {
                compare(format, known, "subsection " + name, differences);
              }
            });
    here.parts()
        .forEach(
            (name, format) -> {
              // Structures get other names without a change of the format, so one that is missing
              // says nothing.
              Format known = there.parts().get(name);
              if (known != null) {
                compare(format, known, name, differences);
              }
            });
  }
}
