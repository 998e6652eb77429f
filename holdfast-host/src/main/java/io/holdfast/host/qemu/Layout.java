package io.holdfast.host.qemu;

import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What a machine consists of, as its QEMU shows it: what must be the same in predecessor and
 * successor, or the device state would be loaded into another machine.
 *
 * <p>Compared are the machine type; the vCPUs' number and what CPUID tells them (feature words,
 * vendor, family, model, stepping, levels); all devices of the command line, with or without id,
 * their types, buses and addresses; the PCI functions of the first bus with their ids and classes,
 * those that the machine brings included; the block nodes with a name, their drivers, files and
 * whether they are read-only, and which medium is in which drive; the RAM blocks with their names
 * and sizes. Not compared is what versions of QEMU rightly differ in: QOM's own helpers below
 * {@code /machine/unattached}, node names that QEMU made up, and what the guest has programmed,
 * such as base addresses and bus numbers.
 *
 * @param facts each thing's name, and what it is
 */
record Layout(SortedMap<String, String> facts) {
  private static final List<String> CPU =
      List.of(
          "vendor",
          "family",
          "model",
          "stepping",
          "level",
          "xlevel",
          "xlevel2",
          "model-id",
          "phys-bits");

  private static final Pattern RAM_BLOCK =
      Pattern.compile(
          " *(?<name>\\S+) +[0-9]+ \\S+ +0x[0-9a-f]+ +0x[0-9a-f]+ +0x(?<total>[0-9a-f]+).*");

  /**
   * Asks a QEMU; some twenty commands and two per device, of less than a millisecond each.
   *
   * @throws QmpException if it does not answer
   */
  static Layout of(QemuProcess process) throws QmpException {
    Qmp qmp = process.qmp();
    SortedMap<String, String> facts = new TreeMap<>();
    facts.put("machine type", property(qmp, "/machine", "type").orElse("unknown"));
    cpus(qmp, facts);
    devices(qmp, "/machine/peripheral", "device ", facts);
    devices(qmp, "/machine/peripheral-anon", "device without id, ", facts);
    functions(qmp, facts);
    blocks(qmp, process.workingDirectory(), facts);
    String blocks =
        qmp.execute("human-monitor-command", JsonObject.of("command-line", "info ramblock"))
            .string("return");
    blocks
        .lines()
        .map(RAM_BLOCK::matcher)
        .filter(Matcher::matches)
        .forEach(
            m -> facts.put("RAM block " + m.group("name"), "0x" + m.group("total") + " bytes"));
    return new Layout(facts);
  }

  /** What differs in another one, each difference as a sentence's part; empty if nothing does. */
  List<String> differences(Layout other) {
    List<String> differences = new ArrayList<>();
    SortedSet<String> all = new TreeSet<>(facts.keySet());
    all.addAll(other.facts.keySet());
    for (String what : all) {
      String here = facts.get(what);
      String there = other.facts.get(what);
      if (here == null) {
        differences.add(what + " (" + there + ") is in the successor only");
      } else if (there == null) {
        differences.add(what + " (" + here + ") is not in the successor");
      } else if (!here.equals(there)) {
        differences.add(what + " is " + here + ", and " + there + " in the successor");
      }
    }
    return differences;
  }

  private static void cpus(Qmp qmp, SortedMap<String, String> facts) throws QmpException {
    List<JsonObject> cpus = qmp.execute("query-cpus-fast").array("return").objects();
    facts.put("vCPUs", Integer.toString(cpus.size()));
    if (cpus.isEmpty()) {
      return;
    }
    String path = cpus.getFirst().string("qom-path");
    for (String name : CPU) {
      property(qmp, path, name).ifPresent(value -> facts.put("CPU " + name, value));
    }
    JsonArray words =
        qmp.execute("qom-get", JsonObject.of("path", path, "property", "feature-words"))
            .array("return");
    for (JsonObject word : words.objects()) {
      // A word that one version of QEMU knows and the other does not is all zeros there.
      if (word.number("features") != 0) {
        facts.put(
            "CPUID leaf 0x%x%s %s"
                .formatted(
                    word.number("cpuid-input-eax"),
                    word.has("cpuid-input-ecx") ? "." + word.number("cpuid-input-ecx") : "",
                    word.string("cpuid-register")),
            "0x%x".formatted(word.number("features")));
      }
    }
  }

  private static Optional<String> property(Qmp qmp, String path, String name) throws QmpException {
    try {
      return qmp.execute("qom-get", JsonObject.of("path", path, "property", name))
          .get("return")
          .map(Object::toString);
    } catch (QmpException e) {
      if (answered(e)) {
        return Optional.empty();
      }
      throw e;
    }
  }

  private static List<JsonObject> list(Qmp qmp, String path) throws QmpException {
    return qmp.execute("qom-list", JsonObject.of("path", path)).array("return").objects();
  }

  /** The type of a child; empty for a property that is none. */
  private static Optional<String> type(JsonObject property) {
    String type = property.string("type");
    return type.startsWith("child<")
        ? Optional.of(type.substring("child<".length(), type.length() - 1))
        : Optional.empty();
  }

  /** A device's place among those behind bridges is told by its bus, which has no number yet. */
  private static void devices(
      Qmp qmp, String folder, String before, SortedMap<String, String> facts) throws QmpException {
    for (JsonObject child : list(qmp, folder)) {
      Optional<String> type = type(child);
      if (type.isPresent()) {
        String path = folder + "/" + child.string("name");
        String place = property(qmp, path, "parent_bus").map(bus -> " on " + bus).orElse("");
        String address = property(qmp, path, "addr").map(a -> ", address " + a).orElse("");
        facts.put(before + child.string("name"), type.get() + place + address);
      }
    }
  }

  private static void functions(Qmp qmp, SortedMap<String, String> facts) throws QmpException {
    JsonArray buses;
    try {
      buses = qmp.execute("query-pci").array("return");
    } catch (QmpException e) {
      if (!answered(e)) {
        throw e;
      }
      // The machine has no PCI.
      return;
    }
    for (JsonObject bus : buses.objects()) {
      for (JsonObject device : bus.array("devices").objects()) {
        JsonObject id = device.object("id");
        facts.put(
            "PCI function %02x.%x".formatted(device.number("slot"), device.number("function")),
            "%04x:%04x of class %04x%s"
                .formatted(
                    id.number("vendor"),
                    id.number("device"),
                    device.object("class_info").number("class"),
                    device.string("qdev_id").isEmpty() ? "" : ", " + device.string("qdev_id")));
      }
    }
  }

  private static boolean answered(QmpException e) {
    return e.errorClass().equals("GenericError") || e.errorClass().equals("CommandNotFound");
  }

  private static void blocks(Qmp qmp, Path directory, SortedMap<String, String> facts)
      throws QmpException {
    JsonArray nodes =
        qmp.execute("query-named-block-nodes", JsonObject.of("flat", true)).array("return");
    for (JsonObject node : nodes.objects()) {
      String name = node.string("node-name");
      if (!name.startsWith("#")) {
        facts.put("block node " + name, medium(node, directory));
      }
    }
    for (JsonObject drive : qmp.execute("query-block").array("return").objects()) {
      Optional<JsonObject> medium = drive.optionalObject("inserted");
      Optional<String> device = drive.optionalString("qdev");
      if (medium.isEmpty() && device.isEmpty()) {
        // A drive that nothing in the machine has: some versions make one for an SD card.
        continue;
      }
      String name =
          device
              .filter(q -> !q.contains("/machine/unattached"))
              .orElseGet(() -> drive.string("device"));
      facts.put(
          "medium of drive " + name, medium.map(node -> medium(node, directory)).orElse("none"));
    }
  }

  /** A relative name of a file is meant in the directory that its QEMU works in. */
  private static String medium(JsonObject node, Path directory) {
    String file = node.string("file");
    boolean name = file.isEmpty() || file.startsWith("/") || file.contains(":");
    return node.string("drv")
        + " on "
        + (name ? file : directory.resolve(file).normalize())
        + (node.bool("ro") ? ", read-only" : "");
  }
}
