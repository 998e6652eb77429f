package io.holdfast.vm.adopt;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What /proc says of one process (proc(5)). */
final class ProcessFiles {
  private static final Path PROC = Path.of("/proc");
  private static final String DELETED = " (deleted)";

  private static final Pattern MAPPING =
      Pattern.compile("([0-9a-f]+)-([0-9a-f]+) (\\S{4}) ([0-9a-f]+) \\S+ ([0-9]+) *(.*)");

  private final int pid;
  private final Path directory;

  ProcessFiles(int pid) {
    this.pid = pid;
    this.directory = PROC.resolve(Integer.toString(pid));
  }

  /**
   * The process that listens on a Unix socket: of those that have it open the one that {@code
   * likely} names, else the first. A socket that was bound by a relative path is not found.
   */
  static Optional<Integer> listeningOn(Path socket, int likely) throws IOException {
    List<String> inodes =
        unixListeners(PROC.resolve("net/unix")).entrySet().stream()
            .filter(e -> e.getValue().equals(socket.toString()))
            .map(Map.Entry::getKey)
            .toList();
    if (inodes.isEmpty()) {
      return Optional.empty();
    }
    if (likely > 0 && new ProcessFiles(likely).holdsAny(inodes)) {
      return Optional.of(likely);
    }
    try (DirectoryStream<Path> all = Files.newDirectoryStream(PROC, "[0-9]*")) {
      for (Path each : all) {
        int pid = Integer.parseInt(each.getFileName().toString());
        if (new ProcessFiles(pid).holdsAny(inodes)) {
          return Optional.of(pid);
        }
      }
    }
    return Optional.empty();
  }

  private boolean holdsAny(List<String> inodes) {
    try {
      return descriptors().values().stream()
          .anyMatch(inodes.stream().map(ProcessFiles::socket).toList()::contains);
    } catch (IOException e) {
      // It has ended, or it is somebody else's.
      return false;
    }
  }

  private static String socket(String inode) {
    return "socket:[" + inode + "]";
  }

  /** Paths of listening Unix sockets by inode. */
  private static Map<String, String> unixListeners(Path table) throws IOException {
    Map<String, String> listeners = new HashMap<>();
    for (String line : Files.readAllLines(table, StandardCharsets.ISO_8859_1)) {
      String[] fields = line.trim().split(" +", 8);
      // Flags 00010000: it listens.
      if (fields.length == 8 && fields[3].equals("00010000")) {
        listeners.put(fields[6], fields[7]);
      }
    }
    return listeners;
  }

  /** Its command line. */
  List<String> commandLine() throws IOException {
    String all = Files.readString(directory.resolve("cmdline"), StandardCharsets.UTF_8);
    return all.isEmpty() ? List.of() : List.of(all.substring(0, all.length() - 1).split("\0", -1));
  }

  /** The path of its program; whether that file still is what it runs does not show in it. */
  Path program() throws IOException {
    String link = link("exe");
    return Path.of(
        link.endsWith(DELETED) ? link.substring(0, link.length() - DELETED.length()) : link);
  }

  Path workingDirectory() throws IOException {
    return Path.of(link("cwd"));
  }

  /** A file as the process sees it under this path. */
  Path seen(Path path) {
    return directory.resolve("root").resolve(Path.of("/").relativize(path));
  }

  private String link(String name) throws IOException {
    return Files.readSymbolicLink(directory.resolve(name)).toString();
  }

  /**
   * Its namespace of a kind, such as {@code net} (namespaces(7)): equal for processes in the same
   * one; empty if the kernel has no such kind.
   */
  String namespace(String kind) throws IOException {
    try {
      return link("ns/" + kind);
    } catch (NoSuchFileException e) {
      return "";
    }
  }

  /** Whether system calls are filtered for it (seccomp(2)). */
  boolean filtered() throws IOException {
    return Files.readAllLines(directory.resolve("status"), StandardCharsets.ISO_8859_1).stream()
        .anyMatch(line -> line.matches("Seccomp:\\s*[12]"));
  }

  /** Its control group, empty if it can't be told. */
  String controlGroup() {
    return text("cgroup");
  }

  /** What a security module confines it to, empty if there is none. */
  String label() {
    return text("attr/current");
  }

  private String text(String name) {
    try {
      return Files.readString(directory.resolve(name)).replace("\0", "").strip();
    } catch (IOException e) {
      return "";
    }
  }

  /** What each of its descriptors is open on, by number. */
  Map<Integer, String> descriptors() throws IOException {
    Map<Integer, String> descriptors = new TreeMap<>();
    try (DirectoryStream<Path> all = Files.newDirectoryStream(directory.resolve("fd"))) {
      for (Path each : all) {
        String what = target(each);
        if (!what.isEmpty()) {
          descriptors.put(Integer.parseInt(each.getFileName().toString()), what);
        }
      }
    }
    return descriptors;
  }

  private static String target(Path descriptor) throws IOException {
    try {
      return Files.readSymbolicLink(descriptor).toString();
    } catch (NoSuchFileException e) {
      // Closed meanwhile.
      return "";
    }
  }

  /**
   * The file that a descriptor is open on, equal for equal files; empty if it was closed meanwhile.
   */
  Optional<Object> file(int descriptor) {
    try {
      return Optional.of(identity(directory.resolve("fd/" + descriptor)));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  /** Which file a path leads to: equal for equal files. */
  static Object identity(Path path) throws IOException {
    return List.of(Files.getAttribute(path, "unix:dev"), Files.getAttribute(path, "unix:ino"));
  }

  /** Its listening sockets' numbers, by {@code unix:PATH} and {@code tcp:PORT}. */
  Map<String, Integer> listeners() throws IOException {
    Path works = workingDirectory();
    Map<String, String> addresses = new HashMap<>();
    unixListeners(directory.resolve("net/unix"))
        .forEach(
            (inode, path) ->
                addresses.put(
                    socket(inode),
                    "unix:" + (path.startsWith("@") ? path : works.resolve(path).normalize())));
    for (String table : List.of("net/tcp", "net/tcp6")) {
      Path file = directory.resolve(table);
      if (Files.exists(file)) {
        for (String line : Files.readAllLines(file, StandardCharsets.ISO_8859_1)) {
          String[] fields = line.trim().split(" +", -1);
          // State 0A: it listens.
          if (fields.length > 9 && fields[3].equals("0A")) {
            String port = fields[1].substring(fields[1].lastIndexOf(':') + 1);
            addresses.put(socket(fields[9]), "tcp:" + Integer.parseInt(port, 16));
          }
        }
      }
    }
    Map<String, Integer> listeners = new HashMap<>();
    descriptors()
        .forEach(
            (number, what) -> {
              String address = addresses.get(what);
              if (address != null) {
                listeners.put(address, number);
              }
            });
    return listeners;
  }

  /**
   * A mapping.
   *
   * @param shared whether what is written there is the file's
   * @param offset of the address that was asked for, in the file
   */
  record Mapped(boolean shared, long offset, long inode, String path) {}

  /** What is mapped at an address. */
  Optional<Mapped> mapped(long address) throws IOException {
    for (String line : Files.readAllLines(directory.resolve("maps"), StandardCharsets.ISO_8859_1)) {
      Matcher m = MAPPING.matcher(line);
      if (m.matches()) {
        long from = Long.parseUnsignedLong(m.group(1), 16);
        long to = Long.parseUnsignedLong(m.group(2), 16);
        if (Long.compareUnsigned(from, address) <= 0 && Long.compareUnsigned(address, to) < 0) {
          return Optional.of(
              new Mapped(
                  m.group(3).endsWith("s"),
                  Long.parseLong(m.group(4), 16) + address - from,
                  Long.parseLong(m.group(5)),
                  m.group(6)));
        }
      }
    }
    return Optional.empty();
  }

  /** The descriptor that a mapping was made of. */
  Optional<Integer> descriptorOf(Mapped mapped) throws IOException {
    for (Map.Entry<Integer, String> each : descriptors().entrySet()) {
      if (each.getValue().equals(mapped.path()) && inode(each.getKey()) == mapped.inode()) {
        return Optional.of(each.getKey());
      }
    }
    return Optional.empty();
  }

  private long inode(int descriptor) {
    try {
      return (Long) Files.getAttribute(directory.resolve("fd/" + descriptor), "unix:ino");
    } catch (IOException e) {
      return -1;
    }
  }

  /** Its number. */
  int pid() {
    return pid;
  }

  @Override
  public String toString() {
    return "process " + pid;
  }
}
