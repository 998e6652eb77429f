package io.holdfast.agent;

import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;

/**
 * Where the agent keeps its names: the run directory, which only its own user may enter.
 *
 * @param run the run directory, on a tmpfs where there is one
 * @param socket where the agent listens
 */
public record AgentPaths(Path run, Path socket) implements Arrival.Places {
  /**
   * The run directory unless told otherwise: HOLDFAST_RUN, else {@code /run/holdfast} for root,
   * else the user's own run directory or one in {@code /tmp}.
   */
  public static Path defaultRun() {
    String told = System.getenv().getOrDefault("HOLDFAST_RUN", "");
    if (!told.isEmpty()) {
      return Path.of(told).toAbsolutePath();
    }
    int user = Linux.system().effectiveUser();
    if (user == 0) {
      return Path.of("/run/holdfast");
    }
    String own = System.getenv().getOrDefault("XDG_RUNTIME_DIR", "");
    return own.isEmpty() ? Path.of("/tmp/holdfast-" + user) : Path.of(own, "holdfast");
  }

  /**
   * Where the agent listens unless told otherwise: HOLDFAST_SOCKET, or {@code agent.sock} in the
   * run directory.
   */
  public static Path defaultSocket(Path run) {
    String told = System.getenv("HOLDFAST_SOCKET");
    return told != null && !told.isEmpty()
        ? Path.of(told).toAbsolutePath()
        : run.resolve("agent.sock");
  }

  /** The directory of all VMs. */
  Path vms() {
    return run.resolve("vms");
  }

  /** One VM's directory. */
  @Override
  public Path vm(String name) {
    return vms().resolve(name);
  }

  /** The directory of the updates: a journal and a report each. */
  @Override
  public Path updates() {
    return run.resolve("updates");
  }

  /** Makes the directories that are missing, for this user only. */
  void create() throws IOException {
    var mine = PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));
    for (Path directory : new Path[] {run, vms(), updates()}) {
      if (!Files.isDirectory(directory)) {
        Files.createDirectories(directory, mine);
      }
      checkMine(directory);
    }
  }

  /** In /tmp anybody may have made it first, to be given our sockets. */
  private static void checkMine(Path directory) throws IOException {
    int owner = (Integer) Files.getAttribute(directory, "unix:uid", LinkOption.NOFOLLOW_LINKS);
    boolean link = Files.isSymbolicLink(directory);
    boolean open =
        Files.getPosixFilePermissions(directory).stream()
            .anyMatch(
                p -> p == PosixFilePermission.OTHERS_WRITE || p == PosixFilePermission.GROUP_WRITE);
    if (owner != Linux.system().effectiveUser() || link || open) {
      throw new IOException(
          "directory "
              + directory
              + " can't be the agent's: it must be its user's own, no link, and writable by nobody"
              + " else; choose another one with --run DIR");
    }
  }
}
