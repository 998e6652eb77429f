package io.holdfast.vm.qemu;

import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
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
 * and sizes; of each PCI function, behind bridges too, its ids, class and the sizes of its BARs; of
 * each virtio device its rings and the features that it offers. Not compared is what versions of
 * QEMU rightly differ in: QOM's own helpers below {@code /machine/unattached}, node names that QEMU
 * made up, and what the guest has programmed, such as base addresses and bus numbers.
 *
 * @param facts each thing's name, and what it is
 * @param virtio rings of each virtio device, by the device's name in {@code facts}
 */
public record Layout(SortedMap<String, String> facts, SortedMap<String, Virtio> virtio) {
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

  /**
   * Properties of virtio devices that stand for one feature bit each (the device types' property
   * lists in QEMU's hw/virtio, hw/block, hw/net, hw/scsi, hw/char and hw/display).
   */
  private static final Set<String> FEATURES =
      Set.of(
          "indirect_desc",
          "event_idx",
          "notify_on_empty",
          "any_layout",
          "iommu_platform",
          "packed",
          "queue_reset",
          "in_order",
          "config-wce",
          "discard",
          "write-zeroes",
          "hotplug",
          "param_change",
          "deflate-on-oom",
          "free-page-hint",
          "page-poison",
          "free-page-reporting",
          "csum",
          "guest_csum",
          "gso",
          "guest_tso4",
          "guest_tso6",
          "guest_ecn",
          "guest_ufo",
          "guest_uso4",
          "guest_uso6",
          "guest_announce",
          "guest_rsc_ext",
          "host_tso4",
          "host_tso6",
          "host_ecn",
          "host_ufo",
          "host_uso",
          "mrg_rxbuf",
          "status",
          "ctrl_vq",
          "ctrl_rx",
          "ctrl_vlan",
          "ctrl_rx_extra",
          "ctrl_mac_addr",
          "ctrl_guest_offloads",
          "mq",
          "rss",
          "hash",
          "virgl",
          "edid",
          "blob",
          "context_init");

  private static final String PERIPHERAL = "/machine/peripheral/";
  private static final String BACK_END = "/virtio-backend";

  private static final Pattern RAM_BLOCK =
      Pattern.compile(
          " *(?<name>\\S+) +[0-9]+ \\S+ +0x[0-9a-f]+ +0x[0-9a-f]+ +0x(?<total>[0-9a-f]+).*");

  /**
   * A virtio device.
   *
   * @param id as on the command line; empty if it has none
   */
  public record Virtio(Optional<String> id, VirtioRings rings) {}

  /**
   * Asks a QEMU; some twenty commands, two per device and one per ring, of less than a millisecond
   * each. All of them only read.
   *
   * @throws QmpException if it does not answer
   */
  public static Layout of(QemuProcess process) throws QmpException {
    return of(process.qmp(), process.workingDirectory());
  }

  /** As {@link #of(QemuProcess)}, of a QEMU that works in {@code directory}. */
  public static Layout of(Qmp qmp, Path directory) throws QmpException {
    SortedMap<String, String> facts = new TreeMap<>();
    facts.put("machine type", property(qmp, "/machine", "type").orElse("unknown"));
    cpus(qmp, facts);
    devices(qmp, "/machine/peripheral", "device ", facts);
    devices(qmp, "/machine/peripheral-anon", "device without id, ", facts);
    functions(qmp, facts);
    DeviceTree tree = DeviceTree.parse(human(qmp, "info qtree"));
    tree.devices().forEach(node -> seen(node, facts));
    SortedMap<String, Virtio> virtio = new TreeMap<>();
    for (var device : VirtioRings.of(qmp).entrySet()) {
      Virtio found = new Virtio(id(device.getKey()), device.getValue());
      String name = found.rings().type() + " " + virtioName(qmp, device.getKey());
      virtio.put(name, found);
      facts.put("rings of " + name, found.rings().toString());
    }
    blocks(qmp, directory, facts);
    human(qmp, "info ramblock")
        .lines()
        .map(RAM_BLOCK::matcher)
        .filter(Matcher::matches)
        .forEach(
            m -> facts.put("RAM block " + m.group("name"), "0x" + m.group("total") + " bytes"));
    return new Layout(facts, virtio);
  }

  private static String human(Qmp qmp, String command) throws QmpException {
    return qmp.execute("human-monitor-command", JsonObject.of("command-line", command))
        .string("return");
  }

  /** What the guest sees of a device on PCI, and what a virtio device offers. */
  private static void seen(DeviceTree.Node node, SortedMap<String, String> facts) {
    node.function()
        .ifPresent(
            function ->
                facts.put(
                    "PCI function " + function.address() + " on " + node.bus(),
                    function.toString()));
    if (node.driver().startsWith("virtio-") && node.driver().endsWith("-device")) {
      DeviceTree.Node named =
          node.id().isEmpty() ? node.parent().filter(Layout::onPci).orElse(node) : node;
      String name =
          named.id().isEmpty()
              ? named.function().map(f -> "at " + f.address() + " on ").orElse("on ") + named.bus()
              : named.id();
      for (String feature : node.properties().keySet()) {
        if (FEATURES.contains(feature) && node.isOn(feature)) {
          // One that a version does not know is off there.
          facts.put("feature " + feature + " of " + node.driver() + " " + name, "on");
        }
      }
    }
  }

  private static boolean onPci(DeviceTree.Node node) {
    return node.function().isPresent();
  }

  /** The id of the device that a path in QOM leads to, or to whose back end. */
  private static Optional<String> id(String path) {
    return path.startsWith(PERIPHERAL)
        ? Optional.of(path.substring(PERIPHERAL.length()).replace(BACK_END, ""))
        : Optional.empty();
  }

  /** Its id, or its place: a name without an id is QEMU's own in each version. */
  private static String virtioName(Qmp qmp, String path) throws QmpException {
    Optional<String> id = id(path);
    if (id.isPresent()) {
      return id.get();
    }
    String device = path.replace(BACK_END, "");
    String bus = property(qmp, device, "parent_bus").orElse("its own bus");
    String address = property(qmp, device, "addr").map(a -> "at " + a + " on ").orElse("on ");
    return address + bus.substring(bus.lastIndexOf('/') + 1);
  }

  /** What differs in another one, each difference as a sentence's part; empty if nothing does. */
  public List<String> differences(Layout other) {
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
      long features = word.number("features") & ~fromTopology(word);
      // A word that one version of QEMU knows and the other does not is all zeros there.
      if (features != 0) {
        facts.put(
            "CPUID leaf 0x%x%s %s"
                .formatted(
                    word.number("cpuid-input-eax"),
                    word.has("cpuid-input-ecx") ? "." + word.number("cpuid-input-ecx") : "",
                    word.string("cpuid-register")),
            "0x%x".formatted(features));
      }
    }
  }

  /**
   * The bits of a feature word that QEMU derives from the number of threads (HTT and CmpLegacy).
   * Every version shows them to the guest; those before 10.0 do not put them into the word.
   */
  private static long fromTopology(JsonObject word) {
    String register = word.string("cpuid-register");
    if (word.number("cpuid-input-eax") == 1 && register.equals("EDX")) {
      return 1L << 28;
    }
    return word.number("cpuid-input-eax") == 0x80000001L && register.equals("ECX") ? 1L << 1 : 0;
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
