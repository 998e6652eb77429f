package io.holdfast.testbed;

import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * The machine that a scenario runs on, and the kernels.
 *
 * @param kernel the configuration of the kernel that it boots
 * @param next that of the kernel that it kexecs into
 * @param memory in MiB
 * @param cpus how many processors
 * @param devices besides a serial line and the file systems
 * @param commandLine words for the kernel's command line, added to the testbed's
 * @param dumpAt a function of the kernel at which the machine's memory is written to a file (by its
 *     vmlinux's symbols; the kernel then boots with nokaslr)
 * @param recorded functions of that kernel whose calls are recorded, from its first instruction to
 *     the dump
 * @param start what the kernel starts
 * @param early what a shell does after each kexec before it starts the inside half
 * @param limit how long the whole may take
 */
public record Setup(
    Kernel.Config kernel,
    Kernel.Config next,
    int memory,
    int cpus,
    List<Device> devices,
    List<String> commandLine,
    Optional<String> dumpAt,
    List<String> recorded,
    Start start,
    Optional<String> early,
    Duration limit) {

  /** Copies the lists. */
  public Setup {
    devices = List.copyOf(devices);
    commandLine = List.copyOf(commandLine);
    recorded = List.copyOf(recorded);
  }

  /** What the kernel starts. */
  public sealed interface Start {
    /** The scenario's inside half, over the root file system of the machine outside. */
    record Inside() implements Start {}

    /**
     * An initramfs, which {@link Scenario#prepare} writes; it ends by restarting or switching off.
     *
     * @param file its name in the run's folder
     */
    record Initramfs(String file) implements Start {}

    /**
     * A root file system of its own, writable, with this as its first program. The machine outside
     * is there as a 9p file system with the tag {@code host}, read only. Its end is a line {@code
     * done} on /dev/ttyS1.
     *
     * @param init path of the first program there
     */
    record Root(String init) implements Start {}
  }

  /** A device of the machine. */
  public sealed interface Device {
    /** An IOMMU (Intel's, with interrupt remapping), switched on. */
    record Iommu() implements Device {}

    /** QEMU's edu: a PCI device, 1234:11e8, that does DMA when told to. */
    record Edu() implements Device {}

    /**
     * A virtio disk: /dev/vda, /dev/vdb, … in their order.
     *
     * @param bytes its size; {@link Outside#disk} has its file
     */
    record Disk(long bytes) implements Device {}

    /**
     * A network card, eth0, on a network of QEMU's own (10.0.2.0/24), which survives a kexec; from
     * outside a TCP port of it is reached on loopback, and from there nothing is.
     *
     * @param port on 127.0.0.1 outside
     * @param address who is reached by it
     * @param inside the port there
     */
    record Uplink(int port, String address, int inside) implements Device {}

    /**
     * Whatever QEMU calls so.
     *
     * @param option the value of {@code -device}
     */
    record Other(String option) implements Device {}
  }

  /**
   * The usual: the standard kernel, before and after; 2 GiB, 2 processors; three minutes at most,
   * which allows for a busy machine.
   */
  public static Setup standard() {
    return new Setup(
        Kernel.Config.STANDARD,
        Kernel.Config.STANDARD,
        2048,
        2,
        List.of(),
        List.of(),
        Optional.empty(),
        List.of(),
        new Start.Inside(),
        Optional.empty(),
        Duration.ofMinutes(3));
  }

  /** On this kernel, before and after. */
  public Setup withKernel(Kernel.Config config) {
    return new Setup(
        config, config, memory, cpus, devices, commandLine, dumpAt, recorded, start, early, limit);
  }

  /** Into this kernel. */
  public Setup withNext(Kernel.Config config) {
    return new Setup(
        kernel, config, memory, cpus, devices, commandLine, dumpAt, recorded, start, early, limit);
  }

  /** With so much memory, in MiB. */
  public Setup withMemory(int mebibytes) {
    return new Setup(
        kernel, next, mebibytes, cpus, devices, commandLine, dumpAt, recorded, start, early, limit);
  }

  /** With so many processors. */
  public Setup withCpus(int number) {
    return new Setup(
        kernel, next, memory, number, devices, commandLine, dumpAt, recorded, start, early, limit);
  }

  /** With these devices too. */
  public Setup withDevices(Device... more) {
    List<Device> all = new ArrayList<>(devices);
    all.addAll(List.of(more));
    return new Setup(
        kernel, next, memory, cpus, all, commandLine, dumpAt, recorded, start, early, limit);
  }

  /** With these words on the kernel's command line too. */
  public Setup withCommandLine(String... words) {
    List<String> all = new ArrayList<>(commandLine);
    all.addAll(List.of(words));
    return new Setup(
        kernel, next, memory, cpus, devices, all, dumpAt, recorded, start, early, limit);
  }

  /** With a dump of the memory at this function of the kernel, such as {@code machine_kexec}. */
  public Setup withDumpAt(String function) {
    return new Setup(
        kernel,
        next,
        memory,
        cpus,
        devices,
        commandLine,
        Optional.of(function),
        recorded,
        start,
        early,
        limit);
  }

  /**
   * With a record of all calls of these functions of the kernel until the dump, {@link
   * Outside#calls}. Each call stops the machine for some milliseconds.
   */
  public Setup withRecorded(String... functions) {
    return new Setup(
        kernel,
        next,
        memory,
        cpus,
        devices,
        commandLine,
        dumpAt,
        List.of(functions),
        start,
        early,
        limit);
  }

  /** Starting this. */
  public Setup withStart(Start other) {
    return new Setup(
        kernel, next, memory, cpus, devices, commandLine, dumpAt, recorded, other, early, limit);
  }

  /** With this done first after each kexec, before the scenario's own JVM takes a processor. */
  public Setup withEarly(String command) {
    return new Setup(
        kernel,
        next,
        memory,
        cpus,
        devices,
        commandLine,
        dumpAt,
        recorded,
        start,
        Optional.of(command),
        limit);
  }

  /** With this limit of time. */
  public Setup withLimit(Duration other) {
    return new Setup(
        kernel, next, memory, cpus, devices, commandLine, dumpAt, recorded, start, early, other);
  }

  /** The kernel's command line, apart from what starts it ({@code init}, {@code root}). */
  List<String> words() {
    List<String> words =
        new ArrayList<>(List.of("console=ttyS0", "panic=-1", "kho=on", "liveupdate=on"));
    if (devices.contains(new Device.Iommu())) {
      words.add("intel_iommu=on");
    }
    if (dumpAt.isPresent()) {
      words.add("nokaslr");
    }
    words.addAll(commandLine);
    return words;
  }

  /** QEMU's options for all of it but the kernel and the console. */
  List<String> options(Path run) {
    boolean iommu = devices.contains(new Device.Iommu());
    List<String> options =
        new ArrayList<>(
            List.of(
                "-machine",
                "q35" + (iommu ? ",kernel-irqchip=split" : ""),
                "-m",
                Integer.toString(memory),
                "-smp",
                Integer.toString(cpus)));
    if (iommu) {
      // Before what is behind it.
      options.addAll(List.of("-device", "intel-iommu,intremap=on,caching-mode=on"));
    }
    int disks = 0;
    for (Device device : devices) {
      switch (device) {
        case Device.Iommu() -> {}
        case Device.Edu() -> options.addAll(List.of("-device", "edu"));
        case Device.Disk _ -> {
          options.addAll(
              List.of(
                  "-drive",
                  "if=virtio,format=raw,cache=unsafe,file=" + disk(run, disks).toString()));
          disks++;
        }
        case Device.Uplink(int port, String address, int inside) ->
            options.addAll(
                List.of(
                    "-netdev",
                    "user,id=uplink,restrict=on,hostfwd=tcp:127.0.0.1:%d-%s:%d"
                        .formatted(port, address, inside),
                    "-device",
                    "virtio-net-pci,netdev=uplink,romfile="));
        case Device.Other(String option) -> options.addAll(List.of("-device", option));
      }
    }
    return options;
  }

  /** The sizes of its disks, in their order. */
  List<Long> disks() {
    return devices.stream()
        .filter(Device.Disk.class::isInstance)
        .map(d -> ((Device.Disk) d).bytes())
        .toList();
  }

  static Path disk(Path run, int number) {
    return run.resolve("disk" + number + ".raw");
  }
}
