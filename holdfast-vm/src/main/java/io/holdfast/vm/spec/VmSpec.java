package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.Optional;

/**
 * What a guest was promised when it started. Every QEMU that ever runs this guest is started with
 * exactly this, so that the guest can't tell one from the other.
 *
 * @param name of the VM
 * @param memory guest RAM in bytes
 * @param cpus number of virtual CPUs
 * @param machine versioned machine type, such as {@code pc-q35-7.2}; never an alias, which means
 *     another machine in another QEMU
 * @param cpu the CPU model expanded to its properties, as {@code -cpu} takes it
 * @param accelerator {@code kvm} or {@code tcg}
 * @param acceleratorReason why it is that one
 * @param devices those behind which something stands on the host
 * @param arguments QEMU's command line without the binary, as {@link CommandLine} explains
 * @param definition what the user asked for ({@code Definition} of io.holdfast.Vm); empty for a VM
 *     that Holdfast did not start
 */
public record VmSpec(
    String name,
    long memory,
    int cpus,
    String machine,
    String cpu,
    String accelerator,
    String acceleratorReason,
    List<Device> devices,
    List<String> arguments,
    Optional<JsonObject> definition) {
  public VmSpec {
    devices = List.copyOf(devices);
    arguments = List.copyOf(arguments);
  }

  /** The same guest with another machine: something was plugged in or out, or a medium changed. */
  public VmSpec with(List<String> otherArguments, List<Device> otherDevices) {
    return new VmSpec(
        name,
        memory,
        cpus,
        machine,
        cpu,
        accelerator,
        acceleratorReason,
        otherDevices,
        otherArguments,
        definition);
  }

  /** As the VM's record in the run directory has it. */
  public JsonObject toJson() {
    return JsonObject.of(
        "name", name,
        "memory", memory,
        "cpus", cpus,
        "machine", machine,
        "cpu", cpu,
        "accelerator", accelerator,
        "acceleratorReason", acceleratorReason,
        "devices", devices.stream().map(Device::toJson).toList(),
        "arguments", arguments,
        "definition", definition);
  }

  /** Reads what {@link #toJson} wrote. */
  public static VmSpec fromJson(JsonObject json) {
    return new VmSpec(
        json.string("name"),
        json.number("memory"),
        Math.toIntExact(json.number("cpus")),
        json.string("machine"),
        json.string("cpu"),
        json.string("accelerator"),
        json.string("acceleratorReason"),
        json.array("devices").objects().stream().map(Device::fromJson).toList(),
        json.array("arguments").strings(),
        json.optionalObject("definition"));
  }
}
