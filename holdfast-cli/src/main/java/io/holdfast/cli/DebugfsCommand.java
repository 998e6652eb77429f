package io.holdfast.cli;

import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.cryptomator.jfuse.api.Fuse;
import org.cryptomator.jfuse.api.FuseBuilder;
import org.cryptomator.jfuse.api.FuseMountFailedException;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.PositionalParamSpec;

/** {@code holdfast debugfs}: the agent's state as a tree of files, as long as the command runs. */
final class DebugfsCommand {
  private static final String NOT_MOUNTED = "io.holdfast.cli.NotMounted";
  private static final Path DEVICE = Path.of("/dev/fuse");

  /** Where distributions have libraries of x86-64. */
  private static final List<String> LIBRARIES =
      List.of("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib");

  /** The library by its versions; the name without one comes with headers only. */
  private static final List<String> NAMES = List.of("libfuse3.so.3", "libfuse3.so.4");

  /**
   * Nothing is cached by the kernel beyond the call that asked: names, sizes and contents come and
   * go.
   */
  private static final String OPTIONS =
      "ro,nosuid,nodev,noexec,fsname=holdfast,subtype=holdfast,entry_timeout=0,attr_timeout=0,negative_timeout=0";

  private static final long TURN_MILLIS = 200;

  /** How long who has a file open is waited for at the end. */
  private static final long ENDING_MILLIS = 2_000;

  private DebugfsCommand() {}

  static CommandSpec debugfs() {
    CommandSpec spec =
        CommandLineInterface.command(
            "debugfs",
            "Mounts what the agent holds and does as a read-only tree of files (FUSE).",
            DebugfsCommand::debugfs);
    spec.usageMessage()
        .footer(
            "%nIt stays until Ctrl-C, or until MOUNTPOINT is unmounted (umount, fusermount3 -u). In it:%n"
                + "  state              the agent, and the state of each update that is under way%n"
                + "  manifest           what the next kernel would be told, for dtc -I dtb%n"
                + "  preserved          what would be preserved for it, by session and token%n"
                + "  timeline           updates and their steps%n"
                + "  boxes/NAME/LABEL   what services put into boxes%n"
                + "  vms/NAME/LABEL     what is held for VMs, described%n"
                + "A file is read as it was when it was opened; docs/debugfs.md says more.");
    return spec.addPositional(
        PositionalParamSpec.builder()
            .index("0")
            .type(String.class)
            .paramLabel("MOUNTPOINT")
            .required(true)
            .description("An empty directory.")
            .build());
  }

  private static Exit debugfs(Invocation invocation) {
    Linux linux = Linux.system();
    Path mountPoint = mountPoint(invocation);
    Path library = library(invocation);
    checkDevice(invocation, linux);
    // Whether there is an agent that answers.
    JsonObject unusedStatus = invocation.call("io.holdfast.Agent.Status", JsonObject.empty());
    CountDownLatch end = new CountDownLatch(1);
    DebugfsTree tree = new DebugfsTree(linux, invocation::connect);
    try (Interrupts.Scope _ =
        invocation
            .interrupts()
            .handle(
                () -> {
                  end.countDown();
                  return true;
                })) {
      Fuse fuse = mount(invocation, linux, tree, mountPoint, library);
      try {
        String device = device(mountPoint);
        invocation.print(
            JsonObject.of("mounted", mountPoint.toString()),
            () ->
                "The agent's state is in "
                    + mountPoint
                    + ", until Ctrl-C or: umount "
                    + mountPoint
                    + "\n");
        while (!end.await(TURN_MILLIS, TimeUnit.MILLISECONDS) && mounted(device)) {
          tree.tidy();
        }
      } finally {
        unmount(fuse);
      }
      return Exit.OK;
    } catch (IOException e) {
      throw failure(invocation, "is mounted no more: " + e.getMessage());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return Exit.FAILED;
    }
  }

  private static Failure failure(Invocation invocation, String message) {
    return new Failure(Exit.FAILED, NOT_MOUNTED, invocation.trying() + ": " + message);
  }

  private static Path mountPoint(Invocation invocation) {
    Path path = Path.of(invocation.shell().absolute(invocation.argument()));
    try {
      Path real = path.toRealPath();
      if (!Files.readAttributes(real, BasicFileAttributes.class).isDirectory()) {
        throw failure(invocation, "it is no directory; name an empty one");
      }
      if (mountInfo().stream().anyMatch(each -> each.path().equals(real.toString()))) {
        throw failure(
            invocation,
            "something is mounted there already; umount "
                + path
                + " first, or name another directory");
      }
      try (DirectoryStream<Path> files = Files.newDirectoryStream(real)) {
        if (files.iterator().hasNext()) {
          throw failure(invocation, "it is not empty; name an empty directory");
        }
      }
      return real;
    } catch (NoSuchFileException e) {
      throw failure(invocation, "there is no such directory; make it: mkdir -p " + path);
    } catch (FileSystemException e) {
      if (String.valueOf(e.getReason()).contains("endpoint is not connected")) {
        throw failure(
            invocation,
            "a file system is mounted there whose program has ended; take it away: umount " + path);
      }
      throw failure(invocation, "it can't be looked at: " + e.getMessage());
    } catch (IOException e) {
      throw failure(invocation, "it can't be looked at: " + e.getMessage());
    }
  }

  private static Path library(Invocation invocation) {
    for (String name : NAMES) {
      for (String folder : LIBRARIES) {
        Path library = Path.of(folder, name);
        if (Files.exists(library)) {
          return library;
        }
      }
    }
    throw failure(
        invocation,
        "libfuse 3 is not there ("
            + String.join(" or ", NAMES)
            + "). Install it, on Debian with: apt-get install fuse3");
  }

  private static void checkDevice(Invocation invocation, Linux linux) {
    try {
      linux.open(DEVICE, OpenFlag.READ, OpenFlag.WRITE).close();
    } catch (SystemCallException e) {
      throw failure(
          invocation,
          switch (e.errno()) {
            case ENOENT, ENODEV, ENXIO ->
                "there is no "
                    + DEVICE
                    + ": this kernel has no FUSE (modprobe fuse), or this container was not given the device";
            case EACCES, EPERM ->
                "this user may not open "
                    + DEVICE
                    + " for reading and writing. Run the command as root, or have root allow it; in a"
                    + " container, have it given the device";
            default -> DEVICE + " can't be opened: " + e.getMessage();
          });
    }
    if (linux.effectiveUser() != 0) {
      Path helper = Path.of(invocation.shell().program("fusermount3"));
      if (!Files.isExecutable(helper)) {
        throw failure(
            invocation,
            "only root may mount by itself, and fusermount3, which does it for others, is not there."
                + " Install it, on Debian with: apt-get install fuse3");
      }
    }
  }

  private static Fuse mount(
      Invocation invocation, Linux linux, DebugfsTree tree, Path mountPoint, Path library) {
    try {
      FuseBuilder builder = Fuse.builder();
      builder.setLibraryPath(library.toString());
      Path self = Path.of("/proc/self");
      DebugfsOperations operations =
          new DebugfsOperations(
              linux,
              tree,
              builder.errno(),
              (int) Files.getAttribute(self, "unix:uid"),
              (int) Files.getAttribute(self, "unix:gid"));
      Fuse fuse = builder.build(operations);
      fuse.mount("holdfast", mountPoint, "-o", OPTIONS);
      return fuse;
    } catch (FuseMountFailedException | IllegalArgumentException e) {
      throw failure(
          invocation,
          "libfuse could not mount it, and said why above; mounting needs root, or fusermount3 and a"
              + " directory that is the user's own");
    } catch (UnsupportedOperationException | LinkageError | IOException e) {
      throw failure(invocation, library + " can't be used: " + e.getMessage());
    }
  }

  /** Unmounts it, if nobody has, and lets libfuse's threads end. */
  private static void unmount(Fuse fuse) throws InterruptedException {
    // It is detached at once. But it ends only when the last file is closed, which may be never:
    // then the end of this process ends it.
    Thread closing =
        Thread.ofPlatform()
            .daemon()
            .name("unmounting")
            .start(
                () -> {
                  try {
                    fuse.close();
                  } catch (TimeoutException e) {
                    // As said above.
                  }
                });
    closing.join(ENDING_MILLIS);
  }

  /**
   * A line of /proc/self/mountinfo.
   *
   * @param device as {@code MAJOR:MINOR}
   */
  private record Mount(String device, String path) {}

  private static List<Mount> mountInfo() throws IOException {
    return Files.readAllLines(Path.of("/proc/self/mountinfo")).stream()
        .map(line -> line.split(" ", -1))
        .map(
            words ->
                new Mount(
                    words[2],
                    words[4]
                        .replace("\\040", " ")
                        .replace("\\011", "\t")
                        .replace("\\012", "\n")
                        .replace("\\134", "\\")))
        .toList();
  }

  /** The file system that is mounted there. */
  private static String device(Path mountPoint) throws IOException {
    Optional<Mount> last =
        mountInfo().stream()
            .filter(each -> each.path().equals(mountPoint.toString()))
            .reduce((_, b) -> b);
    return last.map(Mount::device).orElseThrow(() -> new NoSuchFileException(mountPoint + ""));
  }

  private static boolean mounted(String device) throws IOException {
    return mountInfo().stream().anyMatch(each -> each.device().equals(device));
  }
}
