package io.holdfast.testbed;

import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * A kernel that can be booted.
 *
 * @param image its bzImage
 * @param folder where {@code testbed/kernel/build} left what belongs to it (vmlinux, System.map,
 *     config, release, selftests); empty for somebody's own image
 * @param what for people, such as {@code 7.3.4-holdfast, standard}
 */
public record Kernel(Path image, Optional<Path> folder, String what) {
  /** Which kernel: the newest in one of the configurations in testbed/kernel, or an older one. */
  public enum Config {
    /** What a host would run. */
    STANDARD("--config standard"),
    /** Checks itself: lock order, page flags, KHO; and has the kernel's own tests. */
    DEBUG("--config debug"),
    /**
     * Linux 7.2 as {@link #STANDARD}, for what has to hold of two versions. It is never built on
     * the way: what needs it is skipped where it was not built before.
     */
    OLDER("--config standard --package linux-source-7.2");

    private final String options;

    Config(String options) {
      this.options = options;
    }

    /** How {@code testbed/kernel/build} is asked for it. */
    List<String> options() {
      return List.of(options.split(" ", -1));
    }

    /** For people. */
    String shown() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** Its symbols, for a debugger; empty for an image without. */
  public Optional<Path> vmlinux() {
    return folder.map(f -> f.resolve("vmlinux"));
  }

  /** The kernel's own tests, built. */
  public Optional<Path> selftests() {
    return folder.map(f -> f.resolve("selftests"));
  }
}
