package io.holdfast.vm.device.disk;

import io.holdfast.linux.FileIdentity;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The files and block devices that a process has open. So a guest's images are known whatever they
 * are called by now: a path may name another file than the one that QEMU opened by it.
 *
 * @param links a link of /proc to each
 */
public record OpenFiles(Map<FileIdentity, Path> links) {
  private static final int TYPE = 0170000;
  private static final int REGULAR = 0100000;
  private static final int BLOCK = 0060000;

  /** What a process prints to; each generation has its own. */
  private static final int STANDARD = 2;

  private static final String MEMFD = "/memfd:";

  public OpenFiles {
    links = Map.copyOf(links);
  }

  /**
   * Those of a process, but for what it prints to.
   *
   * @throws IOException if it has ended, or may not be looked at
   */
  public static OpenFiles of(long pid) throws IOException {
    Map<FileIdentity, Path> links = new HashMap<>();
    try (DirectoryStream<Path> all = Files.newDirectoryStream(Path.of("/proc/" + pid + "/fd"))) {
      for (Path each : all) {
        if (Integer.parseInt(each.getFileName().toString()) <= STANDARD) {
          continue;
        }
        try {
          identity(each).ifPresent(identity -> links.put(identity, each));
        } catch (NoSuchFileException e) {
          // Closed meanwhile.
        }
      }
    }
    return new OpenFiles(links);
  }

  /**
   * Which one a path names; empty for what is neither a file nor a block device. A block device is
   * known by its own number, with inode 0.
   */
  static Optional<FileIdentity> identity(Path path) throws IOException {
    Map<String, Object> is = Files.readAttributes(path, "unix:mode,dev,ino,rdev");
    int type = ((Number) is.getOrDefault("mode", 0)).intValue() & TYPE;
    return switch (type) {
      case REGULAR -> Optional.of(new FileIdentity(number(is, "dev"), number(is, "ino")));
      case BLOCK -> Optional.of(new FileIdentity(number(is, "rdev"), 0));
      default -> Optional.empty();
    };
  }

  private static long number(Map<String, Object> attributes, String name) {
    return ((Number) attributes.getOrDefault(name, 0)).longValue();
  }

  /** What this has that is in none of {@code others}, by name; not memory without one. */
  public List<String> besides(List<OpenFiles> others) throws IOException {
    List<String> besides = new ArrayList<>();
    for (Map.Entry<FileIdentity, Path> each : links.entrySet()) {
      if (others.stream().noneMatch(other -> other.links.containsKey(each.getKey()))) {
        String name = Files.readSymbolicLink(each.getValue()).toString();
        if (!name.startsWith(MEMFD)) {
          besides.add(name);
        }
      }
    }
    besides.sort(null);
    return besides;
  }
}
