package io.holdfast.testbed;

import java.nio.file.Path;
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
  /** The configurations in testbed/kernel. */
  public enum Config {
    /** What a host would run. */
    STANDARD,
    /** Checks itself: lock order, page flags, KHO; and has the kernel's own tests. */
    DEBUG
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
