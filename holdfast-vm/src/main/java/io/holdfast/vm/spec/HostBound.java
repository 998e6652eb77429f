package io.holdfast.vm.spec;

import java.util.Optional;

/**
 * Devices that are bound to one process on the host, so that no successor can have them beside its
 * predecessor.
 */
public enum HostBound {
  /** VFIO and USB of the host. */
  HARDWARE(
      "it is a piece of hardware, which one process at a time can have",
      "Unplug it from the guest for good, and start the VM without it."),
  /** vhost-user, virtiofs. */
  SERVED(
      "the process that serves it takes one QEMU at a time",
      "Take it away from the guest, then try again."),
  /** vhost-vsock, vhost-scsi. */
  KERNEL(
      "the kernel has its state, under a name that one QEMU at a time can have",
      "Take it away from the guest, then try again."),
  /** Memory that is no part of the RAM which successors map. */
  MEMORY("it is memory besides the RAM", "Take it away from the guest, then try again."),
  /** Redirected USB, smart cards, SPICE. */
  SESSION("it has a session with somebody outside", "Take it away from the guest, then try again.");

  private final String why;
  private final String advice;

  HostBound(String why, String advice) {
    this.why = why;
    this.advice = advice;
  }

  /**
   * What binds a device, if anything does.
   *
   * @param driver QEMU's name of the device's type, such as {@code vhost-vsock-pci}
   */
  public static Optional<HostBound> of(String driver) {
    if (driver.startsWith("vfio-") || driver.startsWith("usb-host")) {
      return Optional.of(HARDWARE);
    } else if (driver.startsWith("vhost-user")) {
      return Optional.of(SERVED);
    } else if (driver.startsWith("vhost-")) {
      return Optional.of(KERNEL);
    } else if (driver.startsWith("ivshmem")
        || driver.equals("pc-dimm")
        || driver.equals("nvdimm")
        || driver.startsWith("virtio-mem")
        || driver.startsWith("virtio-pmem")) {
      return Optional.of(MEMORY);
    } else if (driver.equals("usb-redir")
        || driver.startsWith("ccid-card-")
        || driver.startsWith("qxl")) {
      return Optional.of(SESSION);
    }
    return Optional.empty();
  }

  /** Why a successor can't have it. */
  public String why() {
    return why;
  }

  /** What to do. */
  public String advice() {
    return advice;
  }
}
