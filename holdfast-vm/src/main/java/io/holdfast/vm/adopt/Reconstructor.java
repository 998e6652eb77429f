package io.holdfast.vm.adopt;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.vm.adopt.Reconstruction.Opened;
import io.holdfast.vm.adopt.Reconstruction.Source;
import io.holdfast.vm.adopt.Reconstruction.Taken;
import io.holdfast.vm.option.OptionText;
import io.holdfast.vm.option.QemuCommand.Option;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.HostBound;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Makes a successor's command line out of a running QEMU's. What the guest can see is kept word for
 * word. Changed is what stands for the host's side: guest RAM becomes the descriptor that the
 * running QEMU has it under, machine and CPU are named by what they really are, monitors become
 * Holdfast's, descriptors are handed on, relative paths made absolute. What can't follow is named
 * as a loss; what must not be guessed is an obstacle, and so is every option that isn't known here.
 */
final class Reconstructor {
  private static final String TAKE_AWAY = "Start the VM without it, then adopt it.";

  /** Kept as they are: the guest sees them, or nobody outside does. */
  private static final Set<String> KEPT =
      Set.of(
          "name",
          "uuid",
          "m",
          "smp",
          "mem-prealloc",
          "overcommit",
          "nodefaults",
          "no-user-config",
          "boot",
          "rtc",
          "append",
          "msg",
          "sandbox",
          "global",
          "set",
          "usb",
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
          "echr",
          "d",
          "dfilter",
          "seed",
          "icount",
          "iscsi",
          "singlestep",
          "one-insn-per-tb",
          "enable-sync-profile",
          "g");

  /** Dropped without a word: each successor is started its own way, and nobody looks at them. */
  private static final Set<String> DROPPED =
      Set.of(
          "S",
          "incoming",
          "loadvm",
          "daemonize",
          "full-screen",
          "portrait",
          "rotate",
          "alt-grab",
          "ctrl-grab",
          "no-quit",
          "no-frame",
          "async-teardown",
          "run-with",
          "writeconfig",
          "nographic",
          "enable-kvm",
          "no-kvm",
          "accel",
          "machine",
          "M",
          "cpu",
          "add-fd",
          "no-acpi",
          "no-hpet");

  private static final Set<String> FILES =
      Set.of("hda", "hdb", "hdc", "hdd", "cdrom", "fda", "fdb", "mtdblock", "sd", "pflash");

  private static final Set<String> OBJECTS =
      Set.of(
          "iothread",
          "throttle-group",
          "rng-random",
          "rng-builtin",
          "main-loop",
          "secret",
          "tls-creds-x509",
          "tls-creds-psk",
          "tls-creds-anon",
          "authz-simple",
          "authz-list",
          "authz-listfile",
          "authz-pam",
          "cryptodev-backend-builtin",
          "cryptodev-backend",
          "event-loop-base",
          "thread-context",
          "memory-backend-memfd",
          "memory-backend-file");

  private static final Set<String> MEMFD_ONLY = Set.of("hugetlb", "hugetlbsize", "seal");

  private final RunningQemu found;
  private final List<Option> options;
  private final List<Option> kept = new ArrayList<>();
  private final Map<String, Source> sources = new LinkedHashMap<>();
  private final List<String> firstLosses = new ArrayList<>();
  private final List<String> losses = new ArrayList<>();
  private final List<Obstacle> obstacles = new ArrayList<>();

  /** Where the next terminal is written to. */
  private Optional<Path> console;

  private int serials;

  private Reconstructor(RunningQemu found) {
    this.found = found;
    this.options = found.command().options();
    this.console = found.console();
  }

  /** Does it. */
  static Reconstruction of(RunningQemu found) {
    return new Reconstructor(found).reconstruct();
  }

  private Reconstruction reconstruct() {
    Optional<String> memory = memoryBackend();
    machine(memory);
    for (Option option : options) {
      try {
        option(option, memory);
      } catch (IllegalArgumentException e) {
        obstacle(option.toString(), String.valueOf(e.getMessage()), TAKE_AWAY);
      }
    }
    defaults();
    found
        .fdSets()
        .forEach(
            (set, numbers) -> {
              for (int number : numbers) {
                keep("add-fd", "set=" + set + ",fd=" + CommandLine.fd(take(number)));
              }
            });
    keep("chardev", "socket,id=holdfast-qmp,fd=" + CommandLine.fd("qmp") + ",server=on,wait=off");
    keep("mon", "chardev=holdfast-qmp,mode=control");
    List<String> arguments = new ArrayList<>();
    // Descriptor sets first: what names one must find it.
    kept.stream().filter(o -> o.name().equals("add-fd")).forEach(o -> arguments.addAll(o.words()));
    kept.stream().filter(o -> !o.name().equals("add-fd")).forEach(o -> arguments.addAll(o.words()));
    return new Reconstruction(arguments, memory, sources, firstLosses, losses, obstacles);
  }

  private void option(Option option, Optional<String> memory) {
    String name = option.name();
    String value = option.text();
    if (KEPT.contains(name)) {
      kept.add(option);
      return;
    }
    if (DROPPED.contains(name)) {
      return;
    }
    if (FILES.contains(name)) {
      keep(name, absolute(value));
      return;
    }
    switch (name) {
      case "object" -> object(OptionText.parse(value, "qom-type"), memory);
      case "numa" -> numa(option);
      case "mem-path" ->
          obstacle(
              option.toString(),
              "memory by -mem-path is the process's own, so no other process can have it",
              SHARED_MEMORY);
      case "blockdev" -> block(option, OptionText.parse(value, "driver"), List.of("filename"));
      case "drive" -> block(option, OptionText.parse(value, ""), List.of("file", "filename"));
      case "device" -> device(option, OptionText.parse(value, "driver"));
      case "chardev" -> chardev(OptionText.parse(value, "backend"));
      case "serial", "parallel", "debugcon" -> legacyChardev(option);
      case "mon", "monitor", "qmp", "qmp-pretty" -> monitor(option);
      case "netdev" -> network(option, OptionText.parse(value, "type"));
      case "nic" -> network(option, OptionText.parse(value, "type"));
      case "net" -> network(option, OptionText.parse(value, "type"));
      case "kernel", "initrd" -> {
        if (name.equals("initrd") && value.contains(",")) {
          keep(name, value);
        } else {
          sources.put(name, new Opened(Path.of(absolute(value))));
          keep(name, CommandLine.path(name));
        }
      }
      case "dtb", "option-rom", "L" -> keep(name, absolute(value));
      case "bios" -> keep(name, value.contains("/") ? absolute(value) : value);
      case "fw_cfg", "acpitable", "smbios" ->
          keep(
              name,
              text(OptionText.parse(value, name.equals("fw_cfg") ? "name" : ""), "file", "path"));
      case "fsdev", "virtfs" -> keep(name, text(OptionText.parse(value, "fsdriver"), "path"));
      case "display", "vnc", "sdl", "curses" -> display(option);
      case "audiodev" -> audio(OptionText.parse(value, "driver"));
      case "usbdevice" -> {
        if (Set.of("tablet", "mouse", "keyboard", "wacom-tablet").contains(value)) {
          kept.add(option);
        } else {
          obstacle(option.toString(), "what stands behind it can't be had twice", TAKE_AWAY);
        }
      }
      case "no-shutdown" ->
          firstLosses.add(
              "-no-shutdown: a guest that powers itself off ends its QEMU, in place of being kept"
                  + " for whoever started it");
      case "pidfile" -> firstLosses.add("pid file " + value + " names a process that has ended");
      case "D" -> firstLosses.add("log file " + value + ": what QEMU says goes to Holdfast's log");
      case "trace" -> firstLosses.add("tracing: " + value);
      case "gdb", "s" -> firstLosses.add("the gdb stub (" + option + ")");
      case "runas", "chroot" -> firstLosses.add(option + ": successors run as the agent does");
      case "snapshot" ->
          obstacle(
              "-snapshot",
              "what the guest wrote is in a file without a name, and a successor would start from"
                  + " the image again",
              "Start the VM without -snapshot, on an overlay of its own; then adopt it.");
      case "readconfig" ->
          obstacle(
              option.toString(),
              "the file may have changed since the VM was started",
              "Start the VM with its options on the command line, then adopt it.");
      case "spice" ->
          obstacle(
              "-spice",
              "SPICE's channels and agents are a part of the process",
              "Start the VM with VNC, or with no display; then adopt it.");
      case "tpmdev" ->
          obstacle(
              option.toString(),
              "a TPM's state is in a process or device that serves one QEMU at a time",
              "Start the VM without a TPM, then adopt it.");
      default ->
          obstacle(
              option.toString(),
              "Holdfast does not know this option, so it can't tell if a successor may be given it",
              TAKE_AWAY);
    }
  }

  // ---- machine, CPU, memory ----

  /** Memory that every version of QEMU leaves where it is. */
  static final String SHARED_BACKEND =
      "-object memory-backend-file,id=ram0,size=SIZE,mem-path=/dev/shm,share=on -machine"
          + " …,memory-backend=ram0; under libvirt with <memoryBacking><source type=\"file\"/>"
          + "<access mode=\"shared\"/></memoryBacking>, and in its qemu.conf memory_backing_dir ="
          + " \"/dev/shm\"";

  private static final String SHARED_MEMORY =
      "Start the VM with " + SHARED_BACKEND + ". Then adopt it.";

  private OptionText allMachineOptions() {
    OptionText all = OptionText.parse("", "type");
    for (Option option : options) {
      if (option.name().equals("machine") || option.name().equals("M")) {
        for (OptionText.Pair pair : OptionText.parse(option.text(), "type").pairs()) {
          all = all.with(pair.key(), pair.value().orElse("on"));
        }
      }
    }
    return all;
  }

  private void machine(Optional<String> memory) {
    OptionText all = allMachineOptions().without("accel");
    OptionText machine = OptionText.parse(found.machine(), "type");
    for (OptionText.Pair pair : all.pairs()) {
      if (!pair.key().equals("type") && !pair.key().equals("memory-backend")) {
        machine = machine.with(pair.key(), pair.value().orElse("on"));
      }
    }
    for (Option option : options) {
      // Gone in later versions of QEMU, where they are properties of the machine.
      if (option.name().equals("no-acpi") || option.name().equals("no-hpet")) {
        machine = machine.with(option.name().substring("no-".length()), "off");
      }
    }
    if (allMachineOptions().get("memory-backend").isPresent() && memory.isPresent()) {
      machine = machine.with("memory-backend", memory.get());
    }
    keep("machine", machine.toString());
    keep("accel", accelerator());
    keep("cpu", found.cpu());
  }

  /** Of several that were given to choose from, the one that was chosen. */
  private String accelerator() {
    return parsed("accel", "accel").stream()
        .filter(accel -> accel.get("accel", "").equals(found.accelerator()))
        .findFirst()
        .map(OptionText::toString)
        .orElse(found.accelerator());
  }

  private Optional<String> memoryBackend() {
    List<OptionText> backends =
        parsed("object", "qom-type").stream()
            .filter(o -> o.get("qom-type", "").startsWith("memory-backend-"))
            .toList();
    Optional<String> id = allMachineOptions().get("memory-backend");
    if (id.isEmpty()) {
      List<String> nodes =
          parsed("numa", "type").stream().flatMap(n -> n.get("memdev").stream()).toList();
      id = nodes.size() == 1 ? Optional.of(nodes.getFirst()) : Optional.empty();
    }
    if (backends.size() > 1) {
      obstacle(
          backends.size() + " memory backends",
          "guest RAM that consists of several parts can't be taken over yet",
          "Start the VM with one memory backend: without NUMA nodes, memory devices and shared"
              + " memory of its own. Then adopt it.");
      return Optional.empty();
    }
    if (backends.isEmpty() || id.isEmpty()) {
      obstacle(
          "guest RAM",
          "it is the process's own memory, so no other process can have it",
          SHARED_MEMORY);
      return Optional.empty();
    }
    OptionText backend = backends.getFirst();
    if (!backend.get("id").equals(id)) {
      obstacle(
          "memory backend " + backend.get("id", "without id"),
          "it is not the guest's RAM, which is " + id.get(),
          SHARED_MEMORY);
      return Optional.empty();
    }
    boolean memfd = backend.get("qom-type", "").equals("memory-backend-memfd");
    boolean shared = backend.get("share").isPresent() ? backend.isOn("share") : memfd;
    if (!shared) {
      obstacle(
          "memory backend " + id.get(),
          "share is off: what the guest writes there is the process's own",
          SHARED_MEMORY);
      return Optional.empty();
    }
    return id;
  }

  private void numa(Option option) {
    OptionText numa = OptionText.parse(option.text(), "type");
    if (numa.get("mem").isPresent()) {
      obstacle(
          option.toString(),
          "a node's memory by mem= is the process's own, so no other process can have it",
          SHARED_MEMORY);
    } else {
      kept.add(option);
    }
  }

  private void object(OptionText object, Optional<String> memory) {
    String type = object.get("qom-type", "");
    String id = object.get("id", "");
    if (type.startsWith("memory-backend-")) {
      if (memory.equals(Optional.of(id))) {
        keep("object", ram(object).toString());
      } else if (memory.isPresent() || !OBJECTS.contains(type)) {
        obstacle("object " + id + " (" + type + ")", "it is memory besides the RAM", TAKE_AWAY);
      }
    } else if (!OBJECTS.contains(type)) {
      obstacle(
          "object " + id + " (" + type + ")",
          "what stands behind it may not serve two QEMUs at a time",
          TAKE_AWAY);
    } else if (type.equals("secret") && object.get("file").isPresent()) {
      // Whoever started the VM may remove the file when its process ends.
      String label = "file-" + id;
      sources.put(label, new Opened(Path.of(absolute(object.get("file", "")))));
      keep("object", object.with("file", CommandLine.path(label)).toString());
    } else {
      keep("object", text(object, "filename", "dir"));
    }
  }

  /** The same memory under the same id, so that its RAM block has the same name. */
  private static OptionText ram(OptionText object) {
    OptionText ram = object.with("qom-type", "memory-backend-file");
    for (String key : MEMFD_ONLY) {
      ram = ram.without(key);
    }
    // Never may the end of one process discard what the next one runs on.
    return ram.without("discard-data")
        .with("mem-path", CommandLine.path("ram"))
        .with("share", "on");
  }

  // ---- devices ----

  private void device(Option option, OptionText device) {
    String driver = device.get("driver", "");
    String what = "device " + device.get("id").map(id -> id + " (" + driver + ")").orElse(driver);
    Optional<HostBound> bound = HostBound.of(driver);
    if (bound.isPresent()) {
      obstacle(what, bound.get().why(), bound.get().advice());
    } else if (device.get("romfile").filter(f -> f.contains("/")).isPresent()) {
      keep("device", text(device, "romfile"));
    } else {
      kept.add(option);
    }
  }

  private void block(Option option, OptionText block, List<String> keys) {
    if (block.isOn("snapshot")) {
      obstacle(
          option.toString(),
          "what the guest wrote is in a file without a name, and a successor would start from the"
              + " image again",
          "Start the VM without snapshot=on, on an overlay of its own; then adopt it.");
      return;
    }
    String text = block.toString();
    if (text.contains("vvfat") || block.get("file", "").startsWith("fat:")) {
      obstacle(option.toString(), "QEMU can't move a directory that poses as a disk", TAKE_AWAY);
      return;
    }
    OptionText absolute = block;
    for (String key : keys) {
      absolute = absolute.mapEach(key, this::absolute);
    }
    keep(option.name(), absolute.equals(block) ? option.text() : absolute.toString());
  }

  // ---- character devices ----

  /** Whether only monitors speak through it. */
  private boolean onlyMonitors(String id) {
    boolean monitors = false;
    for (Option option : options) {
      String value = option.text();
      switch (option.name()) {
        case "mon" -> monitors |= OptionText.parse(value, "chardev").get("chardev", "").equals(id);
        case "qmp", "qmp-pretty", "monitor", "gdb" -> monitors |= value.equals("chardev:" + id);
        case "chardev" -> {}
        default -> {
          if (value.equals("chardev:" + id) || mentions(option, id)) {
            return false;
          }
        }
      }
    }
    return monitors;
  }

  private static boolean mentions(Option option, String id) {
    return Set.of("device", "netdev", "object", "tpmdev").contains(option.name())
        && OptionText.parse(option.text(), "").get("chardev").equals(Optional.of(id));
  }

  private void chardev(OptionText chardev) {
    String id = chardev.get("id", "");
    if (onlyMonitors(id)) {
      firstLosses.add(
          "the control channel "
              + id
              + " ("
              + place(chardev)
              + "): who holds it sees QEMU go away");
    } else {
      backend(chardev, "chardev " + id).ifPresent(c -> keep("chardev", c.toString()));
    }
  }

  private void monitor(Option option) {
    boolean nobody = Set.of("none", "null").contains(option.text());
    if (!option.name().equals("mon") && !nobody && !option.text().startsWith("chardev:")) {
      firstLosses.add("the control channel " + option + ": who holds it sees QEMU go away");
    }
  }

  private void legacyChardev(Option option) {
    String value = option.text();
    int number = option.name().equals("serial") ? serials++ : kept.size();
    if (value.equals("none") || value.equals("null") || value.startsWith("chardev:")) {
      kept.add(option);
      return;
    }
    String id = "holdfast-" + option.name() + number;
    Optional<OptionText> same = backend(LegacyChardev.parse(value, id), option.toString());
    if (same.isPresent()) {
      keep("chardev", same.get().toString());
      keep(option.name(), "chardev:" + id);
    }
  }

  private static String place(OptionText chardev) {
    return chardev
        .get("path")
        .or(() -> chardev.get("port").map(port -> "port " + port))
        .or(() -> chardev.get("fd").map(fd -> "descriptor " + fd))
        .orElse(chardev.get("backend", ""));
  }

  /** The same for a successor; empty if there is an obstacle, which has been named. */
  private Optional<OptionText> backend(OptionText given, String what) {
    OptionText chardev = given;
    if (chardev.get("logfile").isPresent()) {
      chardev =
          chardev.with("logfile", absolute(chardev.get("logfile", ""))).with("logappend", "on");
    }
    return switch (chardev.get("backend", "")) {
      case "null", "testdev", "msmouse", "wctablet" -> Optional.of(chardev);
      case "ringbuf", "memory" -> {
        losses.add(what + ": what is in its ring buffer");
        yield Optional.of(chardev);
      }
      case "file" ->
          // A successor that truncated it would take what the guest has said.
          Optional.of(chardev.with("path", absolute(chardev.get("path", ""))).with("append", "on"));
      case "stdio", "vc", "pty" -> terminal(chardev, what);
      case "socket" -> socket(chardev, what);
      default -> {
        obstacle(
            what,
            "what stands behind "
                + chardev.get("backend", "it")
                + " may not serve two QEMUs at a time",
            "Start the VM with a file or a listening Unix socket in its place, then adopt it.");
        yield Optional.empty();
      }
    };
  }

  /** There is no terminal any more: what the guest says there first is Holdfast's console. */
  private Optional<OptionText> terminal(OptionText chardev, String what) {
    OptionText changed =
        OptionText.parse(
            (console.isEmpty() ? "null" : "file") + ",id=" + chardev.get("id", ""), "backend");
    for (String key : List.of("mux", "logfile", "logappend")) {
      if (chardev.get(key).isPresent()) {
        changed = changed.with(key, chardev.get(key, ""));
      }
    }
    if (console.isEmpty()) {
      firstLosses.add(what + " (" + chardev.get("backend", "") + "): nobody hears it any more");
    } else {
      String path = console.get().toString();
      console = Optional.empty();
      changed = changed.with("path", path).with("append", "on");
      firstLosses.add(what + " (" + chardev.get("backend", "") + ") goes to " + path + " then");
    }
    return Optional.of(changed);
  }

  /** A listening socket is handed on: both listen on the same one, whose name stays. */
  private Optional<OptionText> socket(OptionText chardev, String what) {
    if (!chardev.isOn("server")) {
      obstacle(
          what,
          "it is connected to " + place(chardev) + ", and a successor would connect a second time",
          "Start the VM with a listening socket (server=on,wait=off), then adopt it.");
      return Optional.empty();
    }
    Optional<Integer> number =
        chardev.get("fd").isPresent()
            ? chardev.get("fd").filter(fd -> fd.matches("[0-9]{1,9}")).map(Integer::valueOf)
            : chardev.get("path").isPresent()
                ? found.listener("unix:" + absolute(chardev.get("path", "")))
                : found.listener("tcp:" + chardev.get("port", ""));
    if (number.isEmpty()) {
      obstacle(
          what,
          "its listening socket (" + place(chardev) + ") is not to be found in the process",
          "Start the VM with a listening Unix socket (server=on,wait=off), then adopt it.");
      return Optional.empty();
    }
    losses.add(what + " (" + place(chardev) + "): who is connected must connect again");
    OptionText changed = chardev;
    for (String key :
        List.of(
            "path",
            "host",
            "port",
            "to",
            "ipv4",
            "ipv6",
            "nodelay",
            "abstract",
            "tight",
            "reconnect",
            "reconnect-ms",
            "delay")) {
      changed = changed.without(key);
    }
    return Optional.of(
        changed
            .with("fd", CommandLine.fd(take(number.get())))
            .with("server", "on")
            .with("wait", "off"));
  }

  // ---- network, display, sound ----

  private void network(Option option, OptionText net) {
    String type = net.get("type", "");
    String what = option.toString();
    switch (type) {
      case "none", "nic", "hubport" -> kept.add(option);
      case "user" -> {
        boolean forwards = option.text().contains("hostfwd") || option.text().contains("guestfwd");
        if (forwards) {
          obstacle(
              what,
              "a host port of it is taken as long as the predecessor lives",
              "Remove it with the monitor command hostfwd_remove and start the VM without it, or"
                  + " give the VM a TAP device.");
        }
        slirp(what);
        keep(option.name(), text(net, "tftp", "smb"));
      }
      case "tap", "bridge" ->
          obstacle(
              what,
              "two QEMUs on one TAP device take each other's packets",
              "Networks of adopted VMs are limited to QEMU's user-mode network so far.");
      default -> obstacle(what, "what stands behind it serves one QEMU at a time", TAKE_AWAY);
    }
  }

  private void slirp(String what) {
    losses.add(what + ": connections through QEMU's user-mode network");
  }

  private void display(Option option) {
    String value = option.text();
    if (!value.equals("none")) {
      firstLosses.add("the display (" + option + ")");
    }
  }

  private void audio(OptionText audio) {
    String driver = audio.get("driver", "");
    if (driver.equals("none")) {
      keep("audiodev", audio.toString());
      return;
    }
    firstLosses.add("sound (" + driver + "): nobody hears it any more");
    keep("audiodev", "driver=none,id=" + audio.get("id", ""));
  }

  /** What QEMU adds by itself, and where a successor would add something else. */
  private void defaults() {
    boolean nodefaults = has("nodefaults");
    keep("display", "none");
    if (!has("nographic") && !has("display") && !has("vnc") && !has("sdl") && !has("curses")) {
      firstLosses.add("the display that QEMU opened by itself");
    }
    if (has("nographic") && !nodefaults) {
      boolean serial =
          has("serial")
              || parsed("device", "driver").stream()
                  .anyMatch(d -> d.get("driver", "").equals("isa-serial"));
      if (!serial) {
        legacyChardev(Option.of("serial", "stdio"));
      }
      if (!has("parallel")) {
        keep("parallel", "null");
      }
    }
    if (!nodefaults && !has("net") && !has("nic") && !has("netdev")) {
      slirp("the network that QEMU adds by itself");
    }
  }

  // ---- tools ----

  private boolean has(String name) {
    return options.stream().anyMatch(o -> o.name().equals(name));
  }

  private List<OptionText> parsed(String name, String implied) {
    return options.stream()
        .filter(option -> option.name().equals(name))
        .flatMap(option -> readable(option, implied).stream())
        .toList();
  }

  /** Empty for a damaged one, which is named as an obstacle where its turn comes. */
  private static Optional<OptionText> readable(Option option, String implied) {
    try {
      return Optional.of(OptionText.parse(option.text(), implied));
    } catch (IllegalArgumentException e) {
      return Optional.empty();
    }
  }

  private void keep(String name, String value) {
    kept.add(Option.of(name, value));
  }

  private void obstacle(String what, String why, String advice) {
    Obstacle obstacle = new Obstacle(what, why, advice);
    if (!obstacles.contains(obstacle)) {
      obstacles.add(obstacle);
    }
  }

  private String take(int number) {
    String label = "adopted-" + number;
    sources.put(label, new Taken(number));
    return label;
  }

  /** With the paths under these keys made absolute; word for word if they are. */
  private String text(OptionText option, String... keys) {
    OptionText changed = option;
    for (String key : keys) {
      Optional<String> path = option.get(key);
      if (path.isPresent()) {
        changed = changed.with(key, absolute(path.get()));
      }
    }
    return changed.toString();
  }

  /** A path as the agent sees it; what is no path of a file is left alone. */
  private String absolute(String path) {
    boolean relative =
        !path.isEmpty() && !path.startsWith("/") && !path.matches("[a-zA-Z][-a-zA-Z0-9+.]*:.*");
    if (!relative) {
      return path;
    }
    if (has("daemonize")) {
      throw new IllegalArgumentException(
          path
              + " was meant in a directory that the process has left (-daemonize); start the VM"
              + " with whole paths");
    }
    return found.directory().resolve(path).normalize().toString();
  }
}
