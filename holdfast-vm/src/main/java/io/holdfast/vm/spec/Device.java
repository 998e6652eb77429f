package io.holdfast.vm.spec;

import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.device.Backend;
import java.util.List;

/**
 * A device of a VM. Fixed when the VM starts; every generation of QEMU presents the same. What
 * stands behind it on the host is its {@link Backend}.
 */
public sealed interface Device
    permits Adopted, Disk, Cdrom, Emulated, TapNetwork, UserNetwork, ConsoleDevice, PortDevice {
  /** Its name within the VM. */
  String id();

  /** Its part of QEMU's command line; asked once, when the VM starts. */
  List<String> arguments(Slots slots);

  /** Says of itself what an update will keep, and what is in its way; its backend adds to that. */
  default void plan(Findings findings) {}

  /** As the VM's record has it; {@code kind} says which record of this package it is. */
  JsonObject toJson();

  /** Reads what {@link #toJson} wrote. */
  static Device fromJson(JsonObject json) {
    return switch (json.string("kind")) {
      case Adopted.KIND -> Adopted.fromJson(json);
      case Disk.KIND -> Disk.fromJson(json);
      case Cdrom.KIND -> Cdrom.fromJson(json);
      case Emulated.KIND -> Emulated.fromJson(json);
      case TapNetwork.KIND -> TapNetwork.fromJson(json);
      case UserNetwork.KIND -> UserNetwork.fromJson(json);
      case ConsoleDevice.KIND -> ConsoleDevice.fromJson(json);
      case PortDevice.KIND -> PortDevice.fromJson(json);
      default ->
          throw new IllegalArgumentException(
              "a VM's record has a device of kind "
                  + json.string("kind")
                  + ", which this version of Holdfast does not know");
    };
  }
}
