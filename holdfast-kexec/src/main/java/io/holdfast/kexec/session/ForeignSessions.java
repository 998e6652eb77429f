package io.holdfast.kexec.session;

import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;

/**
 * Sessions that other programs made, which the host's shutdown would undo with them: they are held
 * open up to the kexec. On the other side nobody touches them but their program, which retrieves
 * them by their names.
 */
public final class ForeignSessions {
  private static final LateLogger LOG = new LateLogger(ForeignSessions.class);

  private ForeignSessions() {}

  /**
   * Finds sessions in the processes that have them open.
   *
   * @return duplicates by name, the caller's to close; a name that nobody has is missing
   */
  public static Map<String, Fd> find(Linux linux, Set<String> names) throws IOException {
    Map<String, Fd> found = new HashMap<>();
    try (DirectoryStream<Path> processes = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
      for (Path process : processes) {
        if (found.size() == names.size()) {
          break;
        }
        find(linux, process, names, found);
      }
    }
    return found;
  }

  private static void find(Linux linux, Path process, Set<String> names, Map<String, Fd> found) {
    int pid = Integer.parseInt(process.getFileName().toString());
    if (pid == ProcessHandle.current().pid()) {
      return;
    }
    try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(process.resolve("fd"))) {
      for (Path each : descriptors) {
        String link = Files.readSymbolicLink(each).toString();
        String name =
            link.startsWith(SessionGuard.LINK) ? link.substring(SessionGuard.LINK.length()) : "";
        if (names.contains(name) && !found.containsKey(name)) {
          try (PidFd owner = linux.pidfd(pid)) {
            found.put(name, owner.take(Integer.parseInt(each.getFileName().toString())));
          }
        }
      }
    } catch (IOException | SystemCallException e) {
      LOG.get().log(System.Logger.Level.DEBUG, process + " has ended, or closed it", e);
    }
  }
}
