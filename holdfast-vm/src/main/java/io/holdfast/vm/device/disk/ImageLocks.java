package io.holdfast.vm.device.disk;

import io.holdfast.linux.LateLogger;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.IntStream;

/**
 * The locks of a QEMU on its images, which its successor needs as soon as the guest resumes.
 *
 * <p>A QEMU that uses permission N of an image has a read lock on byte 100 + N of it; one that does
 * not share permission N with others has a read lock on byte 200 + N (raw_apply_lock_bytes in
 * QEMU's block/file-posix.c). A QEMU refuses to use an image if another process has any lock on the
 * byte that speaks against that. The locks are those of fcntl(2); /proc/PID/fdinfo and /proc/locks
 * show them (proc(5)).
 */
public final class ImageLocks {
  private static final LateLogger LOG = new LateLogger(ImageLocks.class);
  private static final Path PROC = Path.of("/proc");
  private static final Path ALL = PROC.resolve("locks");
  private static final String IN_FDINFO = "lock:\t";

  /** Locks of fcntl(2), which exclude each other; those of flock(2) do not count. */
  private static final Set<String> TYPES = Set.of("POSIX", "OFDLCK");

  private static final String WRITE = "WRITE";
  private static final long USES = 100;
  private static final long KEEPS = 200;
  private static final int PERMISSIONS = 64;

  private ImageLocks() {}

  /**
   * A lock.
   *
   * @param file device and inode, as the kernel prints them here
   * @param write whether it excludes read locks, too
   */
  public record Lock(String file, boolean write, long start, long end) {
    private boolean covers(long at) {
      return start <= at && at <= end;
    }

    /** Whether a successor that needs the locks {@code needed} can't have them. */
    public boolean conflicts(Set<Long> needed) {
      return needed.stream().anyMatch(at -> covers(opposite(at)) || (write && covers(at)));
    }

    private static long opposite(long at) {
      return at < KEEPS ? at - USES + KEEPS : at - KEEPS + USES;
    }

    @Override
    public String toString() {
      return (write ? "a write lock" : "a read lock")
          + " on bytes "
          + start
          + " to "
          + (end == Long.MAX_VALUE ? "the end" : Long.toString(end));
    }
  }

  /**
   * A lock that blocks a successor.
   *
   * @param image as the predecessor's descriptor is called
   * @param holder for people: {@code process 123 (backup)}
   */
  public record Conflict(Path image, String holder, Lock lock) {
    @Override
    public String toString() {
      return holder + " has " + lock + " of " + image;
    }
  }

  /**
   * Finds the locks of others that would keep a successor from the locks that the running QEMU has
   * on its images now. A lock that a process of another PID namespace or another machine has can be
   * told only if it differs from each lock of the running QEMU.
   *
   * @param running the process of the QEMU
   * @param ours processes whose locks are no obstacle: the successor, the agent
   * @throws IOException if the QEMU has ended, or the locks can't be read
   */
  public static List<Conflict> conflicts(long running, Set<Long> ours) throws IOException {
    List<Conflict> found = once(running, ours);
    if (found.isEmpty()) {
      return found;
    }
    // A lock that changed while it was read may look like somebody else's.
    List<Conflict> still = once(running, ours);
    return found.stream().filter(still::contains).toList();
  }

  private static List<Conflict> once(long running, Set<Long> ours) throws IOException {
    Map<String, Path> images = new HashMap<>();
    List<Lock> mine = new ArrayList<>();
    try (DirectoryStream<Path> descriptors =
        Files.newDirectoryStream(PROC.resolve(running + "/fdinfo"))) {
      for (Path each : descriptors) {
        List<Lock> found = inFdinfo(each);
        mine.addAll(found);
        for (Lock lock : found) {
          link(running, each.getFileName().toString())
              .ifPresent(image -> images.putIfAbsent(lock.file(), image));
        }
      }
    } catch (DirectoryIteratorException e) {
      throw e.getCause();
    }
    Map<String, Set<Long>> needed = needed(mine);
    Map<Lock, Integer> candidates = new HashMap<>();
    for (String line : Files.readAllLines(ALL, StandardCharsets.ISO_8859_1)) {
      for (Lock lock : parse(line)) {
        if (lock.conflicts(needed.getOrDefault(lock.file(), Set.of()))) {
          var _ = candidates.merge(lock, 1, Integer::sum);
        }
      }
    }
    for (Lock lock : mine) {
      int others = candidates.getOrDefault(lock, 0) - 1;
      if (others > 0) {
        candidates.put(lock, others);
      } else {
        var _ = candidates.remove(lock);
      }
    }
    return candidates.isEmpty() ? List.of() : named(candidates.keySet(), images, running, ours);
  }

  /** The bytes that locks of a QEMU are on, of each file. */
  private static Map<String, Set<Long>> needed(List<Lock> locks) {
    Map<String, Set<Long>> needed = new HashMap<>();
    for (Lock lock : locks) {
      IntStream.range(0, PERMISSIONS)
          .mapToObj(each -> List.of(USES + each, KEEPS + each))
          .flatMap(List::stream)
          .filter(lock::covers)
          .forEach(at -> needed.computeIfAbsent(lock.file(), _ -> new HashSet<>()).add(at));
    }
    return needed;
  }

  /** Looks for who has locks; only where there is one that must be somebody else's. */
  private static List<Conflict> named(
      Set<Lock> locks, Map<String, Path> images, long running, Set<Long> ours) throws IOException {
    Map<Lock, Set<String>> holders = new HashMap<>();
    Set<Lock> ourLocks = new HashSet<>();
    try (DirectoryStream<Path> processes = Files.newDirectoryStream(PROC, "[0-9]*")) {
      for (Path process : processes) {
        long pid = Long.parseLong(process.getFileName().toString());
        for (Lock lock : pid == running ? Set.<Lock>of() : ofProcess(process)) {
          if (ours.contains(pid)) {
            ourLocks.add(lock);
          } else if (locks.contains(lock)) {
            holders.computeIfAbsent(lock, _ -> new TreeSet<>()).add(words(process));
          }
        }
      }
    } catch (DirectoryIteratorException e) {
      throw e.getCause();
    }
    Map<String, Conflict> conflicts = new TreeMap<>();
    for (Lock lock : locks) {
      Path image = images.getOrDefault(lock.file(), Path.of(lock.file()));
      if (!holders.containsKey(lock) && ourLocks.contains(lock)) {
        continue;
      }
      for (String holder :
          holders.getOrDefault(lock, Set.of("a process that is not visible here"))) {
        Conflict conflict = new Conflict(image, holder, lock);
        conflicts.put(conflict.toString(), conflict);
      }
    }
    return List.copyOf(conflicts.values());
  }

  private static Set<Lock> ofProcess(Path process) {
    Set<Lock> locks = new HashSet<>();
    try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(process.resolve("fdinfo"))) {
      for (Path each : descriptors) {
        locks.addAll(inFdinfo(each));
      }
    } catch (IOException | DirectoryIteratorException e) {
      LOG.get().log(System.Logger.Level.DEBUG, process + " has ended, or is somebody else's", e);
    }
    return locks;
  }

  private static List<Lock> inFdinfo(Path fdinfo) {
    List<Lock> locks = new ArrayList<>();
    try {
      for (String line : Files.readAllLines(fdinfo, StandardCharsets.ISO_8859_1)) {
        if (line.startsWith(IN_FDINFO)) {
          locks.addAll(parse(line.substring(IN_FDINFO.length())));
        }
      }
    } catch (IOException e) {
      LOG.get().log(System.Logger.Level.DEBUG, fdinfo + " was closed", e);
    }
    return locks;
  }

  /**
   * Reads a line of /proc/locks.
   *
   * @return empty for a lock that does not count, and for one that is only waited for
   */
  static List<Lock> parse(String line) {
    String[] fields = line.strip().split(" +", -1);
    if (fields.length != 8 || !TYPES.contains(fields[1])) {
      return List.of();
    }
    long end = fields[7].equals("EOF") ? Long.MAX_VALUE : Long.parseLong(fields[7]);
    return List.of(new Lock(fields[5], fields[3].equals(WRITE), Long.parseLong(fields[6]), end));
  }

  /** What a descriptor is called; empty if it was closed meanwhile. */
  private static Optional<Path> link(long pid, String descriptor) {
    try {
      return Optional.of(Files.readSymbolicLink(PROC.resolve(pid + "/fd/" + descriptor)));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  private static String words(Path process) {
    String pid = process.getFileName().toString();
    try {
      return "process "
          + pid
          + " ("
          + Files.readString(process.resolve("comm"), StandardCharsets.ISO_8859_1).strip()
          + ")";
    } catch (IOException e) {
      return "process " + pid;
    }
  }
}
