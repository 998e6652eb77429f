package io.holdfast.host.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.Optional;

/**
 * What a guest was promised when it started. Every QEMU that ever runs this guest is started with
 * exactly this, so that the guest can't tell one from the other.
 *
 * @param name of the VM
 * @param memory guest RAM in bytes
 * @param hugePages whether the RAM asks for transparent huge pages
 * @param cpus number of virtual CPUs
 * @param machine versioned machine type, such as {@code pc-q35-7.2}; never an alias, which means
 *     another machine in another QEMU
 * @param cpu the CPU model expanded to its properties, as {@code -cpu} takes it
 * @param accelerator {@code kvm} or {@code tcg}
 * @param acceleratorReason why it is that one
 * @param append the kernel command line, empty if none
 * @param kernel whether the VM boots a kernel that the agent holds a descriptor of
 * @param initrd whether it comes with an initial RAM disk, held likewise
 * @param disks in the order of their PCI slots
 * @param extra further QEMU arguments, given to every generation
 */
public record Promise(
    String name,
    long memory,
    boolean hugePages,
    int cpus,
    String machine,
    String cpu,
    String accelerator,
    String acceleratorReason,
    Optional<String> append,
    boolean kernel,
    boolean initrd,
    List<Disk> disks,
    List<String> extra) {
  public Promise {
    disks = List.copyOf(disks);
    extra = List.copyOf(extra);
  }

  /** As the VM's record in the run directory has it. */
  public JsonObject toJson() {
    return JsonObject.of(
        "name", name,
        "memory", memory,
        "hugePages", hugePages,
        "cpus", cpus,
        "machine", machine,
        "cpu", cpu,
        "accelerator", accelerator,
        "acceleratorReason", acceleratorReason,
        "kernel", kernel,
        "initrd", initrd,
        "disks", disks.stream().map(Disk::toJson).toList(),
        "append", append,
        "extra", extra);
  }

  /** Reads what {@link #toJson} wrote. */
  public static Promise fromJson(JsonObject json) {
    return new Promise(
        json.string("name"),
        json.number("memory"),
        json.bool("hugePages"),
        Math.toIntExact(json.number("cpus")),
        json.string("machine"),
        json.string("cpu"),
        json.string("accelerator"),
        json.string("acceleratorReason"),
        json.optionalString("append"),
        json.bool("kernel"),
        json.bool("initrd"),
        json.array("disks").objects().stream().map(Disk::fromJson).toList(),
        json.array("extra").strings());
  }
}
