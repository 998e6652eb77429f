package io.holdfast.vm.device.disk;

import io.holdfast.linux.LastingIdentity;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** What sysfs tells of block devices. */
final class BlockDevices {
  /**
   * Files of a device's directory with what names it for good (drivers/md/dm-sysfs.c, md.c,
   * drivers/nvme/host/sysfs.c, drivers/scsi/scsi_sysfs.c, drivers/block/virtio_blk.c).
   */
  private static final List<String> IDS =
      List.of("dm/uuid", "md/uuid", "wwid", "device/wwid", "serial");

  private BlockDevices() {}

  /**
   * What names a device for good.
   *
   * @param sysfs where devices are by their numbers
   * @param device its number, as stat(2) has it
   * @return empty if nothing does
   */
  static Optional<LastingIdentity> lasting(Path sysfs, long device) throws IOException {
    Path link = directory(sysfs, device);
    if (!Files.exists(link)) {
      return Optional.empty();
    }
    Path directory = link.toRealPath();
    Path number = directory.resolve("partition");
    boolean partition = Files.exists(number);
    Path disk = partition ? directory.resolveSibling("") : directory;
    for (String name : IDS) {
      String id = text(disk.resolve(name));
      if (!id.isEmpty()) {
        return Optional.of(
            new LastingIdentity(
                "block device", name + " " + id + (partition ? " " + text(number) : "")));
      }
    }
    return Optional.empty();
  }

  /** Reads an attribute; empty if it is missing, or its driver has nothing to say (ENXIO). */
  static String text(Path file) {
    try {
      return Files.readString(file).strip();
    } catch (IOException e) {
      return "";
    }
  }

  /** The link to a device's directory, whether there is one or not. */
  static Path directory(Path sysfs, long device) {
    return sysfs.resolve(number(device));
  }

  /** A device's number as the kernel writes it. */
  static String number(long device) {
    return major(device) + ":" + minor(device);
  }

  /** As gnu_dev_major() of the C library. */
  private static long major(long device) {
    return (device >>> 8 & 0xfff) | (device >>> 32 & ~0xfffL);
  }

  private static long minor(long device) {
    return (device & 0xff) | (device >>> 12 & ~0xffL & 0xffff_ffffL);
  }
}
