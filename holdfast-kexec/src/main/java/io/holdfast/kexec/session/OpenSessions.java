package io.holdfast.kexec.session;

import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Which processes have sessions, {@code /dev/liveupdate} or a run directory's lock open, by the
 * links in proc(5). Only reads; a process of another user shows nothing to a user who is not root.
 *
 * @param sessions the processes that have a session open, by its name
 * @param device the processes that have the device open
 * @param lock the processes that have the lock file open
 * @param hidden whether some process does not show what it has open
 */
public record OpenSessions(
    Map<String, Set<Integer>> sessions, Set<Integer> device, Set<Integer> lock, boolean hidden) {
  private static final String DEVICE = "/dev/liveupdate";

  /**
   * Reads them.
   *
   * @param proc where proc is mounted
   * @param lockFile the lock file, which need not exist
   */
  public static OpenSessions read(Path proc, Path lockFile) {
    OpenSessions found = new OpenSessions(new TreeMap<>(), new TreeSet<>(), new TreeSet<>(), false);
    boolean hidden = false;
    try (DirectoryStream<Path> processes = Files.newDirectoryStream(proc, "[0-9]*")) {
      for (Path process : processes) {
        hidden |= !found.add(process, lockFile);
      }
    } catch (IOException | DirectoryIteratorException e) {
      hidden = true;
    }
    return new OpenSessions(found.sessions, found.device, found.lock, hidden);
  }

  /** Reads one process; returns false if it does not show what it has open. */
  private boolean add(Path process, Path lockFile) {
    int pid = Integer.parseInt(process.getFileName().toString());
    if (pid == ProcessHandle.current().pid()) {
      return true;
    }
    try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(process.resolve("fd"))) {
      for (Path each : descriptors) {
        add(pid, link(each), lockFile);
      }
      return true;
    } catch (IOException | DirectoryIteratorException e) {
      return !Files.exists(process); // It has ended meanwhile.
    }
  }

  /** What a descriptor is; nothing if it was closed meanwhile. */
  private static String link(Path descriptor) {
    try {
      return Files.readSymbolicLink(descriptor).toString();
    } catch (IOException e) {
      return "";
    }
  }

  private void add(int pid, String link, Path lockFile) {
    if (link.startsWith(SessionGuard.LINK)) {
      boolean _ =
          sessions
              .computeIfAbsent(link.substring(SessionGuard.LINK.length()), _ -> new TreeSet<>())
              .add(pid);
    } else if (link.equals(DEVICE)) {
      boolean _ = device.add(pid);
    } else if (link.equals(lockFile.toString())) {
      boolean _ = lock.add(pid);
    }
  }
}
