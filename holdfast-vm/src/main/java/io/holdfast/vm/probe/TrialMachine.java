package io.holdfast.vm.probe;

import io.holdfast.vm.option.OptionText;
import io.holdfast.vm.option.QemuCommand;
import io.holdfast.vm.option.QemuCommand.Option;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.HostBound;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A VM's command line with nothing of the host in it: the same devices in the same places, on back
 * ends that take no file, port, TAP, lock, huge page or socket. Its RAM is the descriptor {@link
 * CommandLine#RAM}; other descriptors of the template may be left, by their labels.
 *
 * <p>What decides about the device state stays: devices, machine, CPU, firmware, the number of
 * user-mode networks (each has a section of its own), the sizes of flash memory.
 */
final class TrialMachine {
  /** What a disk is in size if nobody knows: no device state depends on it. */
  private static final long DISK_BYTES = 1L << 30;

  private static final Set<String> KEPT =
      Set.of(
          "uuid",
          "m",
          "smp",
          "nodefaults",
          "no-user-config",
          "boot",
          "rtc",
          "global",
          "set",
          "usb",
          "usbdevice",
          "vga",
          "no-reboot",
          "action",
          "watchdog-action",
          "watchdog",
          "compat",
          "only-migratable",
          "no-fd-bootchk",
          "win2k-hack",
          "k",
          "machine",
          "M",
          "accel",
          "enable-kvm",
          "cpu",
          "numa",
          "icount",
          "singlestep",
          "one-insn-per-tb",
          "no-acpi",
          "no-hpet",
          "fw_cfg",
          "acpitable",
          "smbios",
          "bios",
          "L",
          "option-rom");

  /** Without a part in the device state, or replaced by what every trial has. */
  private static final Set<String> DROPPED =
      Set.of(
          "name",
          "mem-prealloc",
          "overcommit",
          "kernel",
          "initrd",
          "append",
          "dtb",
          "shim",
          "msg",
          "sandbox",
          "echr",
          "d",
          "D",
          "dfilter",
          "seed",
          "g",
          "S",
          "incoming",
          "mon",
          "monitor",
          "qmp",
          "qmp-pretty",
          "display",
          "vnc",
          "sdl",
          "curses",
          "nographic",
          "full-screen",
          "alt-grab",
          "ctrl-grab",
          "no-quit",
          "no-frame",
          "portrait",
          "rotate",
          "pidfile",
          "trace",
          "gdb",
          "s",
          "runas",
          "run-with",
          "chroot",
          "daemonize",
          "async-teardown",
          "iscsi",
          "add-fd",
          "no-shutdown",
          "enable-sync-profile",
          "perfmap",
          "jitdump");

  private static final Set<String> OBJECTS_KEPT =
      Set.of(
          "iothread",
          "rng-random",
          "rng-builtin",
          "throttle-group",
          "main-loop",
          "event-loop-base",
          "thread-context",
          "cryptodev-backend-builtin",
          "cryptodev-backend");

  /** Those of block nodes, displays and sockets that a trial does not have. */
  private static final Set<String> OBJECTS_DROPPED =
      Set.of(
          "secret",
          "secret_keyring",
          "tls-creds-x509",
          "tls-creds-psk",
          "tls-creds-anon",
          "authz-simple",
          "authz-list",
          "authz-listfile",
          "authz-pam");

  /** What the memory of a trial is not: populated, huge, placed, locked. */
  private static final List<String> MEMORY_DROPPED =
      List.of(
          "prealloc",
          "prealloc-threads",
          "prealloc-context",
          "host-nodes",
          "policy",
          "reserve",
          "hugetlb",
          "hugetlbsize",
          "seal",
          "align",
          "offset",
          "pmem",
          "discard-data");

  private static final Map<String, String> DISKS =
      Map.of(
          "hda", "index=0,media=disk",
          "hdb", "index=1,media=disk",
          "hdc", "index=2,media=disk",
          "hdd", "index=3,media=disk",
          "cdrom", "index=2,media=cdrom",
          "fda", "if=floppy,index=0",
          "fdb", "if=floppy,index=1",
          "sd", "if=sd");

  private static final List<String> DRIVE_KEPT =
      List.of(
          "id", "if", "index", "bus", "unit", "media", "readonly", "read-only", "werror", "rerror");

  private static final Pattern PLACEHOLDER = Pattern.compile("\\$\\{fd:([^}]*)}");

  private final Map<String, Long> sizes;
  private final List<String> arguments = new ArrayList<>();
  private int networks;

  private TrialMachine(Map<String, Long> sizes) {
    this.sizes = sizes;
  }

  /**
   * Makes the command line, without the binary and without a monitor.
   *
   * @param template a VM's, see {@link CommandLine}
   * @param sizes of block nodes in bytes, by name, as far as they are known
   * @throws IllegalArgumentException if it has something that a machine without a host can't have,
   *     with its name
   */
  static List<String> of(List<String> template, Map<String, Long> sizes) {
    List<String> words = new ArrayList<>(List.of("qemu"));
    words.addAll(template);
    TrialMachine machine = new TrialMachine(sizes);
    QemuCommand.parse(words).options().forEach(machine::option);
    machine.add("display", "none");
    machine.add("monitor", "none");
    return List.copyOf(machine.arguments);
  }

  /** The labels of the descriptors that a command line needs. */
  static Set<String> labels(List<String> arguments) {
    Set<String> labels = new TreeSet<>();
    for (String argument : arguments) {
      Matcher found = PLACEHOLDER.matcher(argument);
      while (found.find()) {
        labels.add(found.group(1));
      }
    }
    return labels;
  }

  private void add(String name, String value) {
    arguments.add("-" + name);
    arguments.add(value);
  }

  private static IllegalArgumentException untriable(String what) {
    return new IllegalArgumentException(what + " can't be had by a machine without a host");
  }

  private void option(Option option) {
    String name = option.name();
    String value = option.text();
    if (KEPT.contains(name)) {
      arguments.addAll(option.words());
      return;
    }
    if (DROPPED.contains(name)) {
      return;
    }
    if (DISKS.containsKey(name)) {
      add("drive", DISKS.get(name) + medium(DISK_BYTES));
      return;
    }
    switch (name) {
      case "object" -> object(OptionText.parse(value, "qom-type"));
      case "device" -> device(option, OptionText.parse(value, "driver"));
      case "blockdev" -> block(OptionText.parse(value, "driver"));
      case "drive" -> drive(option, OptionText.parse(value, ""));
      case "chardev" -> chardev(OptionText.parse(value, "backend"));
      case "serial", "parallel", "debugcon" ->
          add(name, value.equals("none") || value.startsWith("chardev:") ? value : "null");
      case "netdev" -> network(name, OptionText.parse(value, "type"));
      case "nic" -> network(name, OptionText.parse(value, "type"));
      case "net" -> oldNetwork(OptionText.parse(value, "type"));
      case "audiodev" ->
          add(
              name,
              "driver=none,id=" + OptionText.parse(value, "driver").get("id", "holdfast-audio"));
      case "fsdev", "virtfs" -> {
        if (!OptionText.parse(value, "fsdriver").get("fsdriver", "").equals("local")) {
          throw untriable(option.toString());
        }
        arguments.addAll(option.words());
      }
      default -> throw untriable("option " + option);
    }
  }

  private void object(OptionText object) {
    String type = object.get("qom-type", "");
    if (type.startsWith("memory-backend-")) {
      OptionText memory = object;
      for (String each : MEMORY_DROPPED) {
        memory = memory.without(each);
      }
      memory =
          memory
              .with("qom-type", "memory-backend-file")
              .with("mem-path", CommandLine.path(CommandLine.RAM))
              .with("share", "on");
      add("object", memory.toString());
    } else if (OBJECTS_KEPT.contains(type)) {
      add("object", object.toString());
    } else if (!OBJECTS_DROPPED.contains(type)) {
      throw untriable("object " + object.get("id", "") + " (" + type + ")");
    }
  }

  /** Without the address of a card, of which no state depends: machines that are alike are one. */
  private void device(Option option, OptionText device) {
    String driver = device.get("driver", "");
    if (HostBound.of(driver).isPresent()) {
      throw untriable("device " + device.get("id", driver));
    }
    add("device", device.get("mac").isPresent() ? device.without("mac").toString() : option.text());
  }

  private void block(OptionText block) {
    String node = block.get("node-name", "");
    boolean readOnly = block.isOn("read-only");
    if (!node.isEmpty()) {
      add(
          "blockdev",
          "driver=null-co,node-name=%s,read-zeroes=on,size=%d%s"
              .formatted(
                  CommandLine.escaped(node),
                  sizes.getOrDefault(node, DISK_BYTES),
                  readOnly ? ",read-only=on" : ""));
    }
  }

  private static String medium(long bytes) {
    return ",format=raw,file.driver=null-co,file.read-zeroes=on,file.size=" + bytes;
  }

  private void drive(Option option, OptionText drive) {
    boolean flash = drive.get("if", "").equals("pflash");
    String id = drive.get("id", "");
    if (flash && !sizes.containsKey(id)) {
      throw untriable("flash memory of unknown size (" + option + ")");
    }
    OptionText kept = OptionText.parse("", "");
    for (String key : DRIVE_KEPT) {
      if (drive.get(key).isPresent()) {
        kept = kept.with(key, drive.get(key, ""));
      }
    }
    boolean empty = drive.get("file").isEmpty() && drive.get("file.filename").isEmpty();
    String medium = empty ? "" : medium(sizes.getOrDefault(id, DISK_BYTES));
    String text = kept + medium;
    add("drive", text.startsWith(",") ? text.substring(1) : text);
  }

  private void chardev(OptionText chardev) {
    String id = chardev.get("id", "");
    boolean control = chardev.get("fd", "").equals(CommandLine.fd(CommandLine.QMP));
    if (!control) {
      add("chardev", "null,id=" + id + (chardev.isOn("mux") ? ",mux=on" : ""));
    }
  }

  private void network(String option, OptionText net) {
    switch (net.get("type", "")) {
      case "none", "hubport" -> add(option, net.toString());
      case "user" -> {
        OptionText user = net;
        for (String outside :
            List.of("hostfwd", "guestfwd", "tftp", "bootfile", "smb", "smbserver", "mac")) {
          user = user.without(outside);
        }
        add(option, user.toString());
      }
      default -> {
        // What a TAP or a socket carries is no part of the device state.
        OptionText hub =
            OptionText.parse("hubport", "type").with("hubid", Integer.toString(++networks));
        for (String key : List.of("id", "model", "name", "addr", "vectors")) {
          if (net.get(key).isPresent()) {
            hub = hub.with(key, net.get(key, ""));
          }
        }
        add(option, hub.toString());
      }
    }
  }

  private void oldNetwork(OptionText net) {
    switch (net.get("type", "")) {
      case "none" -> add("net", "none");
      case "nic" -> add("net", net.without("macaddr").toString());
      case "user" -> network("net", net);
      default -> {} // The card goes on without a cable.
    }
  }
}
