package io.holdfast.vm;

import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.spec.Device;
import io.holdfast.vm.spec.Disk;
import io.holdfast.vm.spec.Findings;
import io.holdfast.vm.spec.HostBound;
import io.holdfast.vm.spec.VmSpec;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * What management commands of others (QMP) do to the machine that a guest was promised: what is
 * plugged in or out while the guest runs becomes a part of the command line of the next QEMU.
 *
 * <p>Only commands are passed on whose effect survives an update: those that change nothing, those
 * whose effect is in the device state or in an image, and those that are recorded here.
 */
public final class Hotplug {
  /** Read only. */
  private static final Pattern QUERIES =
      Pattern.compile(
          "query-.*|qom-get|qom-list|qom-list-types|qom-list-properties|device-list-properties");

  /** Their effect is recorded. */
  private static final Set<String> RECORDED =
      Set.of(
          "object-add", "object-del", "blockdev-add", "blockdev-del", "device_add", "device_del");

  /**
   * Their effect is over at once, or in the device state, or in an image; or ends before an update.
   */
  private static final Set<String> HARMLESS =
      Set.of(
          "balloon",
          "block-job-cancel",
          "block-job-dismiss",
          "block-job-finalize",
          "block-job-pause",
          "block-job-resume",
          "block-job-set-speed",
          "block_resize",
          "blockdev-backup",
          "dump-guest-memory",
          "inject-nmi",
          "input-send-event",
          "job-cancel",
          "job-dismiss",
          "job-finalize",
          "job-pause",
          "job-resume",
          "memsave",
          "pmemsave",
          "screendump",
          "send-key",
          "set_link",
          "system_powerdown",
          "system_reset",
          "system_wakeup");

  private static final Map<String, String> INSTEAD =
      Map.ofEntries(
          Map.entry("stop", "use `holdfast vm pause`"),
          Map.entry("cont", "use `holdfast vm resume`"),
          Map.entry("quit", "use `holdfast vm stop`"),
          Map.entry("migrate", "use `holdfast update vmm`"),
          Map.entry("eject", "use `holdfast vm media`"),
          Map.entry("blockdev-change-medium", "use `holdfast vm media`"),
          Map.entry("blockdev-open-tray", "use `holdfast vm media`"),
          Map.entry("blockdev-insert-medium", "use `holdfast vm media`"),
          Map.entry("blockdev-remove-medium", "use `holdfast vm media`"));

  /** Where a device got its place from QEMU; nailed down for the next one. */
  private static final List<String> PLACES =
      List.of("addr", "scsi-id", "lun", "channel", "nr", "port");

  private static final Pattern HUMAN_QUERY = Pattern.compile("\\s*info(\\s.*)?", Pattern.DOTALL);

  /** Ends QEMU 11.1.3, and with it the guest, by a failed assertion. */
  private static final Pattern DEADLY =
      Pattern.compile("\\s*info\\s+virtio-status\\b.*", Pattern.DOTALL);

  private Hotplug() {}

  /** Whether a command changes nothing, and may be executed at any time. */
  public static boolean reads(String command, JsonObject arguments) {
    return QUERIES.matcher(command).matches() || humanQuery(command, arguments);
  }

  /** Returns whether a command changes the machine that successors must have. */
  public static boolean records(String command) {
    return RECORDED.contains(command);
  }

  private static boolean humanQuery(String command, JsonObject arguments) {
    String line = arguments.optionalString("command-line").orElse("");
    return command.equals("human-monitor-command")
        && HUMAN_QUERY.matcher(line).matches()
        && !DEADLY.matcher(line).matches();
  }

  /** Why a command is not passed on to QEMU, if so. */
  public static Optional<String> refused(String command, JsonObject arguments) {
    if (reads(command, arguments) || HARMLESS.contains(command)) {
      return Optional.empty();
    }
    String line = arguments.optionalString("command-line").orElse("");
    if (command.equals("human-monitor-command") && DEADLY.matcher(line).matches()) {
      return Optional.of(
          line.strip()
              + " is not passed on to QEMU: it ends QEMU 11.1.3, and the guest with it; info"
              + " virtio-queue-status tells the rings");
    }
    if (!RECORDED.contains(command)) {
      String instead = INSTEAD.getOrDefault(command, "");
      return Optional.of(
          command
              + " is not passed on to QEMU: "
              + (instead.isEmpty()
                  ? "what it does would be gone after an update, or belongs to Holdfast"
                  : instead));
    }
    if (command.equals("device_add") && arguments.optionalString("id").isEmpty()) {
      return Optional.of("device_add needs an id, by which the device is known after an update");
    }
    return Optional.empty();
  }

  /**
   * The specification after a command that QEMU has executed. What {@code device_del} takes out is
   * gone only with its event: see {@link #unplugged}.
   *
   * @param qmp the QEMU that executed it, asked where it has put the device
   */
  public static VmSpec after(VmSpec spec, String command, JsonObject arguments, Qmp qmp)
      throws QmpException {
    return switch (command) {
      case "object-add" -> plus(spec, "-object", arguments.toString());
      case "blockdev-add" -> plus(spec, "-blockdev", arguments.toString());
      case "device_add" -> plus(spec, "-device", nailed(arguments, qmp).toString());
      case "object-del" -> without(spec, "-object", "id", arguments.string("id"));
      case "blockdev-del" -> withoutNode(spec, arguments.string("node-name"));
      default -> spec;
    };
  }

  /** The specification after the event {@code DEVICE_DELETED}: the guest has let a device go. */
  public static VmSpec unplugged(VmSpec spec, String device) {
    return without(spec, "-device", "id", device);
  }

  private static VmSpec plus(VmSpec spec, String option, String value) {
    List<String> arguments = new ArrayList<>(spec.arguments());
    arguments.add(option);
    arguments.add(value);
    return spec.with(arguments, spec.devices());
  }

  private static VmSpec without(VmSpec spec, String option, String key, String name) {
    List<String> left = new ArrayList<>();
    List<String> arguments = spec.arguments();
    for (int i = 0; i < arguments.size(); i++) {
      boolean pair = i + 1 < arguments.size();
      if (pair
          && arguments.get(i).equals(option)
          && value(arguments.get(i + 1), key).equals(Optional.of(name))) {
        i++;
      } else {
        left.add(arguments.get(i));
      }
    }
    return spec.with(left, spec.devices());
  }

  private static VmSpec withoutNode(VmSpec spec, String node) {
    VmSpec left = without(spec, "-blockdev", "node-name", node);
    List<Device> devices =
        left.devices().stream()
            .filter(device -> !(device instanceof Disk && device.id().equals(node)))
            .toList();
    return left.with(left.arguments(), devices);
  }

  /** The value of a key in an option's argument, which is {@code key=value,…} or JSON. */
  private static Optional<String> value(String argument, String key) {
    if (argument.startsWith("{")) {
      try {
        return Json.parse(argument).optionalString(key);
      } catch (JsonException e) {
        return Optional.empty();
      }
    }
    Matcher found =
        Pattern.compile("(?:^|,)" + Pattern.quote(key) + "=((?:[^,]|,,)*)").matcher(argument);
    return found.find() ? Optional.of(found.group(1).replace(",,", ",")) : Optional.empty();
  }

  /** With the place that QEMU chose, where nobody else did. */
  private static JsonObject nailed(JsonObject device, Qmp qmp) throws QmpException {
    String path = "/machine/peripheral/" + device.string("id");
    JsonObject nailed = device;
    Set<String> has =
        qmp.execute("qom-list", JsonObject.of("path", path)).array("return").objects().stream()
            .map(property -> property.string("name"))
            .collect(Collectors.toSet());
    for (String place : PLACES) {
      if (has.contains(place) && !device.has(place)) {
        nailed = nailed.with(place, get(qmp, path, place).get("return").orElseThrow());
      }
    }
    if (has.contains("parent_bus") && !device.has("bus")) {
      String bus = get(qmp, path, "parent_bus").string("return");
      nailed = nailed.with("bus", bus.substring(bus.lastIndexOf('/') + 1));
    }
    return nailed;
  }

  private static JsonObject get(Qmp qmp, String path, String property) throws QmpException {
    return qmp.execute("qom-get", JsonObject.of("path", path, "property", property));
  }

  /**
   * Devices that are in the machine and not in the specification, or the other way round: something
   * was plugged in or out behind Holdfast's back.
   */
  public static List<String> unaccounted(VmSpec spec, Qmp qmp) throws QmpException {
    Set<String> there = new TreeSet<>();
    for (JsonObject child :
        qmp.execute("qom-list", JsonObject.of("path", "/machine/peripheral"))
            .array("return")
            .objects()) {
      if (child.string("type").startsWith("child<")) {
        there.add(child.string("name"));
      }
    }
    Set<String> promised = new TreeSet<>();
    devices(spec).forEach(device -> value(device, "id").ifPresent(promised::add));
    List<String> unaccounted = new ArrayList<>();
    there.stream()
        .filter(id -> !promised.contains(id))
        .forEach(id -> unaccounted.add("device " + id + " was plugged in behind Holdfast's back"));
    promised.stream()
        .filter(id -> !there.contains(id))
        .forEach(id -> unaccounted.add("device " + id + " was unplugged behind Holdfast's back"));
    return unaccounted;
  }

  /** Devices that no successor can have beside its predecessor. */
  public static void bound(VmSpec spec, Findings findings) {
    for (String device : devices(spec)) {
      String driver = value(device, "driver").orElse(device.split(",", 2)[0]);
      Optional<HostBound> bound = HostBound.of(driver);
      if (bound.isPresent()) {
        String what = value(device, "id").map(id -> id + " (" + driver + ")").orElse(driver);
        findings.obstacle("device " + what, bound.get().why(), bound.get().advice());
      }
    }
  }

  /** The arguments of {@code -device}. */
  private static List<String> devices(VmSpec spec) {
    List<String> devices = new ArrayList<>();
    List<String> arguments = spec.arguments();
    for (int i = 0; i + 1 < arguments.size(); i++) {
      if (arguments.get(i).equals("-device")) {
        devices.add(arguments.get(i + 1));
      }
    }
    return devices;
  }
}
