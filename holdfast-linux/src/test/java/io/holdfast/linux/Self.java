package io.holdfast.linux;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;

/** What this process has, as the kernel tells it in /proc. */
final class Self {
  /** Where {@link #stat} has the parent and the session. */
  static final int PARENT = 1;

  static final int SESSION = 3;

  private Self() {}

  /**
   * Every open descriptor with what it is of, except the JVM's own class files and random devices.
   */
  static SortedMap<Integer, String> descriptors() {
    SortedMap<Integer, String> found = new TreeMap<>();
    try (Stream<Path> all = Files.list(Path.of("/proc/self/fd"))) {
      for (Path p : all.toList()) {
        String target = target(p);
        if (!target.isEmpty()
            && !target.startsWith("/proc/")
            && !target.startsWith("/dev/")
            && !target.endsWith(".jar")
            && !target.endsWith("/modules")
            && !target.endsWith(".class")) {
          found.put(Integer.parseInt(p.getFileName().toString()), target);
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return found;
  }

  private static String target(Path link) {
    try {
      return Files.readSymbolicLink(link).toString();
    } catch (IOException e) {
      return ""; // closed between listing and reading, as the listing's own descriptor is
    }
  }

  /** How many mappings there are of memfds. */
  static long memfdMappings() {
    return lines("/proc/self/maps").filter(l -> l.contains("/memfd:")).count();
  }

  /**
   * How many bytes of the mapping that begins at {@code address} are in memory; a field of
   * /proc/self/smaps in bytes.
   */
  static long smaps(long address, String field) {
    boolean in = false;
    for (String line : lines("/proc/self/smaps").toList()) {
      if (line.matches("[0-9a-f]+-[0-9a-f]+ .*")) {
        in = line.startsWith(Long.toHexString(address) + "-");
      } else if (in && line.startsWith(field + ":")) {
        return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
      }
    }
    throw new AssertionError("no " + field + " of a mapping at " + Long.toHexString(address));
  }

  /** The numbers of this process's children, running or not reaped yet. */
  static Set<Integer> children() {
    String parent = Long.toString(ProcessHandle.current().pid());
    Set<Integer> found = new TreeSet<>();
    try (Stream<Path> all = Files.list(Path.of("/proc"))) {
      for (Path p : all.filter(p -> p.getFileName().toString().matches("[0-9]+")).toList()) {
        int pid = Integer.parseInt(p.getFileName().toString());
        List<String> stat = stat(pid);
        if (stat.size() > PARENT && stat.get(PARENT).equals(parent)) {
          found.add(pid);
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return found;
  }

  /**
   * /proc/PID/stat after the program's name: state, parent, group, session, …; nothing if there is
   * no such process.
   */
  static List<String> stat(int pid) {
    try {
      String line = Files.readString(Path.of("/proc/" + pid + "/stat"));
      return List.of(line.substring(line.lastIndexOf(')') + 1).strip().split(" ", -1));
    } catch (IOException e) {
      return List.of();
    }
  }

  static String text(String path) {
    return String.join("\n", lines(path).toList()).strip();
  }

  private static Stream<String> lines(String path) {
    try {
      return Files.readAllLines(Path.of(path)).stream();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Everything that comes until the end. */
  static String readAll(Linux linux, Fd from) {
    StringBuilder text = new StringBuilder();
    byte[] buffer = new byte[8192];
    int n;
    while ((n = linux.read(from, MemorySegment.ofArray(buffer))) > 0) {
      text.append(new String(buffer, 0, n, StandardCharsets.UTF_8));
    }
    return text.toString();
  }
}
