package io.holdfast.host.qemu;

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
  private int next = FIRST;

  Slots(String machine) {
    this.pci = !machine.startsWith("microvm");
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

  private int take() {
    if (next > LAST) {
      throw new IllegalArgumentException(
          "the machine has no slot left: it takes at most " + (LAST - FIRST + 1) + " devices");
    }
    return next++;
  }
}
