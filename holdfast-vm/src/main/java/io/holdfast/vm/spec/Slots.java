package io.holdfast.vm.spec;

import java.util.ArrayList;
import java.util.List;

/**
 * Gives the devices of a VM their places. Left to QEMU, a PCI address may differ from one version
 * to the next; so each device is nailed to a slot, in the order in which they ask.
 */
public final class Slots {
  /** Below it are the slots that machines take for themselves. */
  private static final int FIRST = 4;

  /** The last one is q35's own (the ICH9). */
  private static final int LAST = 0x1e;

  private final boolean pci;
  private final boolean express;
  private int next = FIRST;
  private int scsi;

  Slots(String machine) {
    this.pci = !machine.startsWith("microvm");
    this.express = machine.startsWith("pc-q35");
  }

  /** Whether the machine has PCI; one that has not takes its devices on virtio-mmio. */
  boolean pci() {
    return pci;
  }

  /**
   * The beginning of a {@code -device} argument that puts a virtio device at the next place.
   *
   * @param device without its bus, such as {@code virtio-blk}
   * @throws IllegalArgumentException if the machine is full
   */
  String virtio(String device) {
    if (!pci) {
      return device + "-device";
    }
    return device + "-pci,addr=0x" + Integer.toHexString(take());
  }

  /**
   * A SCSI device at the next target of the one SCSI controller, which comes with the first.
   *
   * @return arguments, the last of which can be extended
   */
  List<String> scsi(String device, String id) {
    List<String> arguments = new ArrayList<>();
    if (scsi == 0) {
      arguments.add("-device");
      arguments.add(virtio("virtio-scsi") + ",id=scsi");
    }
    arguments.add("-device");
    arguments.add("%s,bus=scsi.0,scsi-id=%d,id=%s".formatted(device, scsi, id));
    scsi++;
    return arguments;
  }

  /**
   * A PCI Express port at the next slot.
   *
   * @throws IllegalArgumentException if the machine has no PCI Express
   */
  String port(String id) {
    if (!express) {
      throw new IllegalArgumentException(
          "only a q35 machine has ports for hot-plugging; pc takes devices without them, and microvm"
              + " takes none");
    }
    int slot = take();
    return "pcie-root-port,id=%s,chassis=%d,addr=0x%x".formatted(id, slot, slot);
  }

  private int take() {
    if (next > LAST) {
      throw new IllegalArgumentException(
          "the machine has no slot left: it takes at most " + (LAST - FIRST + 1) + " devices");
    }
    return next++;
  }
}
