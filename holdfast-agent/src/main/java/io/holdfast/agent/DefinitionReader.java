package io.holdfast.agent;

import io.holdfast.core.box.Names;
import io.holdfast.linux.Linux;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Memory;
import io.holdfast.vm.probe.Accelerator;
import io.holdfast.vm.probe.QemuProbe;
import io.holdfast.vm.qemu.QemuBinary;
import io.holdfast.vm.qemu.QemuUnusableException;
import io.holdfast.vm.spec.Cdrom;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.ConsoleDevice;
import io.holdfast.vm.spec.Device;
import io.holdfast.vm.spec.Disk;
import io.holdfast.vm.spec.Emulated;
import io.holdfast.vm.spec.Pages;
import io.holdfast.vm.spec.PortDevice;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Makes a specification out of what a user asked for: everything that QEMU would choose by itself
 * is chosen here, once.
 */
final class DefinitionReader {
  private static final long LEAST_MEMORY = 16L << 20;
  private static final long LOG_LIMIT = 16L << 20;
  private static final long LEAST_LOG = 64 << 10;
  private static final int LONGEST_SOCKET = 107;
  private static final int MOST_DISKS = 64;
  private static final int MOST_PORTS = 16;

  /** Has no version, and so only goes to a QEMU of the same one, as an update's plan sees to. */
  private static final String MICROVM = "microvm";

  private static final byte[] QCOW2 = {'Q', 'F', 'I', (byte) 0xfb};

  private final Linux linux;
  private final QemuProbe probe;
  private final Path scratch;
  private final Path vms;
  private Optional<Accelerator> probed = Optional.empty();

  /** A specification, and the QEMU that first keeps it. */
  record Accepted(VmSpec spec, QemuBinary binary, Pages pages) {}

  DefinitionReader(Linux linux, QemuProbe probe, AgentPaths places) {
    this.linux = linux;
    this.probe = probe;
    this.scratch = places.run();
    this.vms = places.vms();
  }

  /**
   * Reads a {@code Definition} of interface io.holdfast.Vm.
   *
   * @throws VarlinkError BadDefinition, naming the field and what to do
   */
  Accepted read(JsonObject definition) {
    String name = name(definition.string("name"));
    QemuBinary binary =
        binary(definition.optionalString("qemu").orElseGet(DefinitionReader::defaultQemu));
    long memory = definition.number("memory");
    if (memory < LEAST_MEMORY || memory % (1 << 20) != 0) {
      throw bad("memory", memory + " bytes: take at least 16 MiB, in whole MiB");
    }
    long cpus = definition.number("cpus");
    if (cpus < 1 || cpus > 255) {
      throw bad("cpus", cpus + ": take 1 to 255");
    }
    Pages pages = pages(definition, memory);
    Accelerator accelerator = accelerator(definition, binary);
    String machine = definition.optionalString("machine").orElse("q35");
    String versioned =
        binary
            .machine(machine)
            .orElseThrow(
                () ->
                    bad(
                        "machine",
                        machine
                            + ": "
                            + binary.path()
                            + " has no such machine; see "
                            + binary.path()
                            + " -machine help"));
    if (!QemuBinary.versioned(versioned) && !versioned.equals(MICROVM)) {
      throw bad(
          "machine",
          machine
              + ": it has no version, so another QEMU may mean another machine by it; take q35, pc or"
              + " microvm");
    }
    String model =
        definition.optionalString("cpu").orElse(accelerator.name().equals("kvm") ? "host" : "max");
    String cpu;
    try {
      cpu = probe.expand(binary, model, accelerator.name());
    } catch (QemuUnusableException e) {
      throw bad("cpu", String.valueOf(e.getMessage()));
    }
    Optional<String> kernel = file(definition, "kernel");
    Optional<String> initrd = file(definition, "initrd");
    if (kernel.isEmpty()
        && (initrd.isPresent() || definition.optionalString("append").isPresent())) {
      throw bad(
          "kernel", "an initrd or a kernel command line without a kernel; name one with --kernel");
    }
    List<Disk> disks = disks(definition);
    if (kernel.isEmpty() && disks.isEmpty()) {
      throw bad("kernel", "nothing to boot from; name a kernel or a disk");
    }
    List<Device> devices = new ArrayList<>(disks);
    devices.addAll(cdroms(definition));
    if (definition.optionalBool("rng").orElse(false)) {
      devices.add(new Emulated("rng", Emulated.Model.RNG));
    }
    if (definition.optionalBool("balloon").orElse(false)) {
      devices.add(new Emulated("balloon", Emulated.Model.BALLOON));
    }
    List<Device> networks = new Networks(linux).read(definition);
    devices.addAll(networks);
    long ports = definition.optionalNumber("hotplugPorts").orElse(0);
    if (ports < 0 || ports > MOST_PORTS) {
      throw bad("hotplugPorts", ports + ": take 0 to " + MOST_PORTS);
    }
    for (int i = 0; i < ports; i++) {
      devices.add(new Emulated("port" + i, Emulated.Model.PORT));
    }
    devices.add(console(definition));
    devices.addAll(channels(definition, vms.resolve(name)));
    List<String> arguments;
    try {
      arguments =
          CommandLine.template(
              new CommandLine.Machine(name, versioned, accelerator.name(), cpu, (int) cpus, memory),
              new CommandLine.Boot(
                  kernel.isPresent(), initrd.isPresent(), definition.optionalString("append")),
              devices,
              definition.array("extra").strings());
    } catch (IllegalArgumentException e) {
      throw bad("devices", String.valueOf(e.getMessage()));
    }
    VmSpec spec =
        new VmSpec(
            name,
            memory,
            (int) cpus,
            versioned,
            cpu,
            accelerator.name(),
            accelerator.reason(),
            devices,
            arguments,
            Optional.of(Networks.fixed(definition, networks)));
    return new Accepted(spec, binary, pages);
  }

  private static ConsoleDevice console(JsonObject definition) {
    String port = definition.optionalString("console").orElse("serial");
    if (!port.equals("serial") && !port.equals("virtio")) {
      throw bad("console", port + ": take serial or virtio");
    }
    long limit = definition.optionalNumber("consoleLogLimit").orElse(LOG_LIMIT);
    if (limit < LEAST_LOG) {
      throw bad("consoleLogLimit", limit + " bytes: take at least " + LEAST_LOG);
    }
    return new ConsoleDevice(
        port.equals("serial") ? ConsoleDevice.Port.SERIAL : ConsoleDevice.Port.VIRTIO, limit);
  }

  private static List<PortDevice> channels(JsonObject definition, Path directory) {
    List<String> names =
        definition.optionalArray("channels").map(JsonArray::strings).orElse(List.of());
    List<PortDevice> channels = new ArrayList<>();
    for (String name : names) {
      if (!name.matches("[A-Za-z0-9][A-Za-z0-9._-]{0,62}")) {
        throw bad("channels", name + ": take letters, digits, dots, dashes and underscores");
      }
      if (channels.stream().anyMatch(other -> other.name().equals(name))) {
        throw bad("channels", name + ": it is there twice");
      }
      PortDevice channel = new PortDevice("channel" + channels.size(), name);
      Path socket = channel.socket(directory);
      if (socket.toString().length() > LONGEST_SOCKET) {
        throw bad(
            "channels",
            socket
                + ": its socket's path is longer than "
                + LONGEST_SOCKET
                + " bytes; take a shorter name, or a shorter run directory");
      }
      channels.add(channel);
    }
    return channels;
  }

  /** A VM's name if it is one. */
  static String name(String name) {
    try {
      return Names.check("VM name", name);
    } catch (IllegalArgumentException e) {
      throw bad("name", String.valueOf(e.getMessage()));
    }
  }

  private static String defaultQemu() {
    for (String directory : System.getenv().getOrDefault("PATH", "/usr/bin").split(":", -1)) {
      Path candidate = Path.of(directory, "qemu-system-x86_64");
      if (!directory.isEmpty() && Files.isExecutable(candidate)) {
        return candidate.toString();
      }
    }
    throw bad(
        "qemu",
        "there is no qemu-system-x86_64 in the agent's PATH; install package qemu-system-x86, or name a binary");
  }

  private QemuBinary binary(String path) {
    try {
      return probe.binary(path);
    } catch (QemuUnusableException e) {
      throw bad("qemu", String.valueOf(e.getMessage()));
    }
  }

  private synchronized Accelerator accelerator(JsonObject definition, QemuBinary binary) {
    Optional<String> asked = definition.optionalString("accelerator");
    if (asked.isPresent()) {
      String name = asked.get();
      if (!name.equals("kvm") && !name.equals("tcg")) {
        throw bad("accelerator", name + ": take kvm or tcg");
      }
      return new Accelerator(name, "asked for");
    }
    Accelerator found =
        probed.isPresent() ? probed.get() : Accelerator.probe(linux, binary.path(), scratch);
    probed = Optional.of(found);
    return found;
  }

  private static void checkMemory(long bytes) {
    Optional<String> lacking;
    try {
      lacking = Memory.lacking(bytes);
    } catch (IOException e) {
      throw bad("memory", "what the host has can't be told: " + e.getMessage());
    }
    if (lacking.isPresent()) {
      throw bad("memory", lacking.get());
    }
  }

  private static Pages pages(JsonObject definition, long memory) {
    Optional<String> asked = definition.optionalString("hugePages");
    Pages pages =
        asked.isEmpty()
            ? Pages.SMALL
            : Pages.of(asked.get())
                .orElseThrow(() -> bad("hugePages", asked.get() + ": take transparent, 2M or 1G"));
    Optional<String> lacking;
    try {
      lacking = pages.lacking(memory);
    } catch (IOException e) {
      throw bad("hugePages", "what the host has can't be told: " + e.getMessage());
    }
    if (lacking.isPresent()) {
      throw bad("hugePages", lacking.get());
    }
    if (!pages.reserved()) {
      checkMemory(memory);
    }
    if (pages == Pages.TRANSPARENT) {
      checkTransparent();
    }
    return pages;
  }

  private static void checkTransparent() {
    Path setting = Path.of("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
    String now;
    try {
      now = Files.readString(setting).strip();
    } catch (IOException e) {
      now = "this kernel has none";
    }
    if (now.contains("[never]") || now.contains("[deny]") || !now.contains("[")) {
      throw bad(
          "hugePages",
          "the kernel gives memfds no transparent huge pages ("
              + now
              + "); as root: echo advise > "
              + setting);
    }
  }

  private static Optional<String> file(JsonObject definition, String field) {
    Optional<String> path = definition.optionalString(field);
    if (path.isPresent() && !Files.isReadable(Path.of(path.get()))) {
      throw bad(field, path.get() + ": there is no such file, or the agent may not read it");
    }
    return path;
  }

  private static List<Disk> disks(JsonObject definition) {
    List<Disk> disks = new ArrayList<>();
    for (JsonObject disk : definition.array("disks").objects()) {
      String path = disk.string("path");
      boolean readOnly = disk.optionalBool("readOnly").orElse(false);
      Path file = Path.of(path);
      if (!file.isAbsolute()) {
        throw bad("disks", path + ": the agent works in another directory; give the whole path");
      }
      if (!Files.exists(file)) {
        throw bad(
            "disks",
            path
                + ": there is no such image; make one with `qemu-img create -f qcow2 "
                + path
                + " 10G`");
      }
      if (!Files.isReadable(file) || !(readOnly || Files.isWritable(file))) {
        throw bad(
            "disks",
            path
                + ": the agent may not "
                + (readOnly ? "read it" : "read and write it")
                + "; change its permissions, or run the agent as its owner");
      }
      String format = disk.optionalString("format").orElseGet(() -> format(file));
      if (!format.equals("raw") && !format.equals("qcow2")) {
        throw bad("disks", path + ": format " + format + "; take raw or qcow2");
      }
      String bus = disk.optionalString("bus").orElse("virtio");
      if (!bus.equals("virtio") && !bus.equals("scsi")) {
        throw bad("disks", path + ": bus " + bus + "; take virtio or scsi");
      }
      disks.add(new Disk("disk" + disks.size(), path, format, readOnly, bus));
    }
    if (disks.size() > MOST_DISKS) {
      throw bad("disks", disks.size() + " disks; a VM takes at most " + MOST_DISKS);
    }
    return disks;
  }

  private static List<Cdrom> cdroms(JsonObject definition) {
    List<Cdrom> cdroms = new ArrayList<>();
    for (JsonObject drive :
        definition.optionalArray("cdroms").map(JsonArray::objects).orElse(List.of())) {
      Optional<String> medium = drive.optionalString("medium");
      medium.ifPresent(path -> medium("cdroms", path));
      cdroms.add(new Cdrom("cdrom" + cdroms.size(), medium, 0));
    }
    return cdroms;
  }

  /**
   * Checks a medium's image.
   *
   * @param field that names it, for the error
   */
  static void medium(String field, String path) {
    Path file = Path.of(path);
    if (!file.isAbsolute()) {
      throw bad(field, path + ": the agent works in another directory; give the whole path");
    }
    if (!Files.isReadable(file) || Files.isDirectory(file)) {
      throw bad(field, path + ": there is no such image, or the agent may not read it");
    }
  }

  /** qcow2 by its magic (QEMU's docs/interop/qcow2.txt), else raw. */
  private static String format(Path file) {
    try (InputStream in = Files.newInputStream(file)) {
      return Arrays.equals(in.readNBytes(QCOW2.length), QCOW2) ? "qcow2" : "raw";
    } catch (IOException e) {
      throw bad("disks", file + ": can't be read: " + e.getMessage());
    }
  }

  static VarlinkError bad(String field, String message) {
    return new VarlinkError(
        "io.holdfast.Vm.BadDefinition", JsonObject.of("field", field, "message", message));
  }
}
