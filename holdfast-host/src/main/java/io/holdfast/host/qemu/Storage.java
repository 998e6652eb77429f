package io.holdfast.host.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * What a guest's images are on, and whether that works until the guest freezes for a kexec, when
 * the rest of the host has stopped: file systems of the network are forced off their servers, and
 * processes end that serve others.
 */
final class Storage {
  /** Types of file systems (proc(5), mounts) that have their data from elsewhere. */
  private static final Set<String> NETWORK =
      Set.of(
          "afs",
          "beegfs",
          "ceph",
          "cifs",
          "coda",
          "gfs2",
          "glusterfs",
          "gpfs",
          "lustre",
          "ncpfs",
          "nfs",
          "nfs4",
          "ocfs2",
          "orangefs",
          "pvfs2",
          "smb3",
          "smbfs");

  /** QEMU's own clients of the network (block/*.c). */
  private static final Set<String> CLIENTS =
      Set.of(
          "ftp",
          "ftps",
          "gluster",
          "http",
          "https",
          "iscsi",
          "nbd",
          "nfs",
          "rbd",
          "ssh",
          "vxhs",
          "virtio-blk-vhost-user");

  private static final Path DEVICES = Path.of("/sys/dev/block");
  private static final String ADVICE =
      "Move the disk to storage of this host while the guest runs (blockdev-mirror), or stop the VM.";

  private Storage() {}

  /**
   * Says which images of a VM would fail before its guest freezes for a kexec.
   *
   * @throws IOException if QEMU does not answer, or an image can't be looked at
   */
  static void plan(QemuProcess running, Findings findings) throws IOException {
    for (JsonObject node : Images.nodes(running)) {
      String driver = node.string("drv");
      if (CLIENTS.contains(driver)) {
        findings.obstacle(
            "image " + node.string("file"),
            "QEMU has it over the network (" + driver + "), which stops before the guest does",
            ADVICE);
      }
    }
    for (String path : Images.paths(running)) {
      Path image = Path.of(path);
      if (Files.exists(image)) {
        ofImage(image).ifPresent(why -> findings.obstacle("image " + path, why, ADVICE));
      }
    }
  }

  /** Why an image fails when the rest of the host stops; empty if it does not. */
  private static Optional<String> ofImage(Path image) throws IOException {
    if (Files.isRegularFile(image)) {
      return ofFileSystem(Files.getFileStore(image).type());
    }
    return OpenFiles.identity(image).isPresent()
        ? ofDevice(DEVICES, OpenFiles.identity(image).get().device())
        : Optional.empty();
  }

  /** Likewise of a file system of this type. */
  static Optional<String> ofFileSystem(String type) {
    if (NETWORK.contains(type)) {
      return Optional.of(
          "it is on a network file system ("
              + type
              + "), which is unmounted before the guest stops");
    }
    return type.equals("fuse") || type.equals("fuseblk") || type.startsWith("fuse.")
        ? Optional.of(
            "its file system (" + type + ") is a process's, which ends before the guest stops")
        : Optional.empty();
  }

  /**
   * Likewise of a block device, or of one that it is made of.
   *
   * @param devices where devices are by their numbers
   */
  static Optional<String> ofDevice(Path devices, long device) throws IOException {
    Path link = BlockDevices.directory(devices, device);
    return Files.exists(link) ? ofDisk(link.toRealPath()) : Optional.empty();
  }

  private static Optional<String> ofDisk(Path directory) throws IOException {
    Path disk =
        Files.exists(directory.resolve("partition")) ? directory.resolveSibling("") : directory;
    String name = String.valueOf(disk.normalize().getFileName());
    Optional<String> over = over(disk.normalize(), name);
    if (over.isPresent()) {
      return Optional.of(
          "its device "
              + name
              + " is of the network ("
              + over.get()
              + "), which stops before the"
              + " guest does");
    }
    Path backing = disk.resolve("loop/backing_file");
    if (Files.isReadable(backing)) {
      Path file = Path.of(Files.readString(backing).strip());
      return Files.exists(file) ? ofLoop(file, name) : Optional.empty();
    }
    for (Path part : slaves(disk)) {
      Optional<String> why = ofDisk(part.toRealPath());
      if (why.isPresent()) {
        return why;
      }
    }
    return Optional.empty();
  }

  private static Optional<String> ofLoop(Path file, String device) throws IOException {
    return ofImage(file).map(why -> "of its device " + device + ", " + file + ": " + why);
  }

  /** What a disk has its data over; empty if it is here. */
  private static Optional<String> over(Path disk, String name) throws IOException {
    for (String driver : List.of("nbd", "rbd", "drbd")) {
      if (name.matches(driver + "\\d+")) {
        return Optional.of(driver);
      }
    }
    // Of an iSCSI disk: .../hostN/sessionN/targetN:0:0/N:0:0:0/block/sdX.
    if (disk.toString().matches(".*/session\\d+/target.*")) {
      return Optional.of("iscsi");
    }
    Path transport = disk.resolve("device/transport");
    String fabric = Files.isReadable(transport) ? Files.readString(transport).strip() : "pcie";
    return Set.of("tcp", "rdma", "fc").contains(fabric)
        ? Optional.of("nvme over " + fabric)
        : Optional.empty();
  }

  private static List<Path> slaves(Path disk) throws IOException {
    Path slaves = disk.resolve("slaves");
    if (!Files.isDirectory(slaves)) {
      return List.of();
    }
    List<Path> found = new ArrayList<>();
    try (DirectoryStream<Path> all = Files.newDirectoryStream(slaves)) {
      all.forEach(found::add);
    }
    return found;
  }
}
