package io.holdfast.vm.device.disk;

import io.holdfast.linux.FileIdentity;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.qemu.QemuProcess;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.spec.Findings;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * What a guest's images are on, and whether that works until the guest freezes for a kexec, when
 * the rest of the host has stopped: file systems of the network are forced off their servers, and
 * processes end that serve others.
 */
public final class Storage {
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
   * Adds an obstacle for each image that a QEMU itself reads over the network.
   *
   * @throws QmpException if QEMU does not answer
   */
  public static void network(QemuProcess running, Findings findings) throws QmpException {
    for (JsonObject node : Images.nodes(running.qmp())) {
      String driver = node.string("drv");
      if (CLIENTS.contains(driver)) {
        findings.obstacle(
            "image " + node.string("file"),
            "QEMU reads it over the network (" + driver + "), which stops before the guest does",
            ADVICE);
      }
    }
  }

  /**
   * Adds what {@link #find} found: the images that fail before the guest freezes for a kexec, and
   * those that end with this kernel.
   */
  public static void plan(SortedMap<String, Finding> found, Findings findings) {
    found.forEach(
        (path, finding) -> {
          finding.fails().ifPresent(why -> findings.obstacle("image " + path, why, ADVICE));
          if (finding.ofThisKernel()) {
            findings.loss(
                "image "
                    + path
                    + ": it is in memory of this kernel, and gone with it; a file of that"
                    + " name must be there again before the agent starts");
          }
        });
  }

  /**
   * What storage tells of an image.
   *
   * @param fails why it fails when the rest of the host stops; empty if it does not
   * @param ofThisKernel whether it is a file in memory of this kernel
   */
  public record Finding(Optional<String> fails, boolean ofThisKernel) {}

  /**
   * Reads where images are. Waits for their storage.
   *
   * @param paths of the images; those that do not exist are left out
   * @throws IOException if one can't be read
   */
  public static SortedMap<String, Finding> find(Set<String> paths) throws IOException {
    SortedMap<String, Finding> found = new TreeMap<>();
    for (String path : paths) {
      Path image = Path.of(path);
      if (Files.exists(image)) {
        found.put(
            path, new Finding(ofImage(image), Files.isRegularFile(image) && ofThisKernel(image)));
      }
    }
    return found;
  }

  /** Why an image fails when the rest of the host stops; empty if it does not. */
  private static Optional<String> ofImage(Path image) throws IOException {
    Optional<FileIdentity> identity = OpenFiles.identity(image);
    if (identity.isEmpty()) {
      return Optional.empty();
    }
    if (!Files.isRegularFile(image)) {
      return ofDevice(DEVICES, identity.get().device(), Storage::ofImage);
    }
    Mount mount = Mount.of(image);
    Optional<String> why = ofFileSystem(mount.type());
    Optional<Long> device = mount.device();
    return why.isPresent() || device.isEmpty()
        ? why
        : ofDevice(DEVICES, device.get(), Storage::ofImage);
  }

  /** Whether a file is on a file system that ends with this kernel. */
  static boolean ofThisKernel(Path file) throws IOException {
    return Set.of("tmpfs", "ramfs", "rootfs").contains(Mount.of(file).type());
  }

  /** Why images on a file system of this type fail then. */
  static Optional<String> ofFileSystem(String type) {
    if (NETWORK.contains(type)) {
      return Optional.of(
          "it is on a network file system ("
              + type
              + "), which is unmounted before the guest stops");
    }
    return type.equals("fuse") || type.equals("fuseblk") || type.startsWith("fuse.")
        ? Optional.of(
            "it is on a FUSE file system (" + type + "), whose process ends before the guest stops")
        : Optional.empty();
  }

  /** Why a file fails then. */
  interface OfFile {
    Optional<String> why(Path file) throws IOException;
  }

  /**
   * Why a block device fails then, or one that it is made of.
   *
   * @param devices where devices are by their numbers
   * @param files of those that loop devices are made of
   */
  static Optional<String> ofDevice(Path devices, long device, OfFile files) throws IOException {
    Path link = BlockDevices.directory(devices, device);
    return Files.exists(link) ? ofDisk(link.toRealPath(), files) : Optional.empty();
  }

  private static Optional<String> ofDisk(Path directory, OfFile files) throws IOException {
    Path disk =
        Files.exists(directory.resolve("partition")) ? directory.resolveSibling("") : directory;
    String name = String.valueOf(disk.normalize().getFileName());
    Optional<String> over = over(disk.normalize(), name);
    if (over.isPresent()) {
      return Optional.of(
          "its device "
              + name
              + " is a network device ("
              + over.get()
              + "), which stops before the"
              + " guest does");
    }
    String backing = BlockDevices.text(disk.resolve("loop/backing_file"));
    if (!backing.isEmpty()) {
      Path file = Path.of(backing);
      return Files.exists(file)
          ? files.why(file).map(why -> "its device " + name + " is " + file + ": " + why)
          : Optional.empty();
    }
    for (Path part : entries(disk.resolve("slaves"), "*")) {
      Optional<String> why = ofDisk(part.toRealPath(), files);
      if (why.isPresent()) {
        return why;
      }
    }
    return Optional.empty();
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
    // Of NVMe with several paths the disk is the subsystem's, and each path has its own transport.
    List<Path> paths = new ArrayList<>(entries(disk.resolve("device"), "nvme*"));
    paths.add(disk.resolve("device"));
    for (Path each : paths) {
      String transport = BlockDevices.text(each.resolve("transport"));
      if (Set.of("tcp", "rdma", "fc").contains(transport)) {
        return Optional.of("nvme over " + transport);
      }
    }
    return Optional.empty();
  }

  private static List<Path> entries(Path directory, String names) throws IOException {
    List<Path> found = new ArrayList<>();
    if (Files.isDirectory(directory)) {
      try (DirectoryStream<Path> all = Files.newDirectoryStream(directory, names)) {
        all.forEach(found::add);
      }
    }
    return found;
  }

  /**
   * What a file is on, from /proc/self/mountinfo (proc(5)).
   *
   * @param device the number of the block device of the file system; empty if it has none
   */
  record Mount(String type, Optional<Long> device) {
    static Mount of(Path file) throws IOException {
      long device = ((Number) Files.getAttribute(file, "unix:dev")).longValue();
      for (String line : Files.readAllLines(Path.of("/proc/self/mountinfo"))) {
        int rest = line.indexOf(" - ");
        String[] fields = line.split(" ", 4);
        if (rest > 0 && fields[2].equals(BlockDevices.number(device))) {
          String[] source = line.substring(rest + 3).split(" ", 3);
          return new Mount(source[0], Optional.of(device).filter(_ -> hasDevice(device)));
        }
      }
      // One of several of the file system, such as a subvolume.
      FileStore store = Files.getFileStore(file);
      Path source = Path.of(store.name());
      return new Mount(
          store.type(),
          source.isAbsolute() && Files.exists(source)
              ? OpenFiles.identity(source).map(FileIdentity::device)
              : Optional.empty());
    }

    private static boolean hasDevice(long device) {
      return Files.exists(BlockDevices.directory(DEVICES, device));
    }
  }
}
