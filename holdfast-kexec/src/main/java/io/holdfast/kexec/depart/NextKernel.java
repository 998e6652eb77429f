package io.holdfast.kexec.depart;

import java.nio.file.Path;
import java.util.Optional;
import java.util.Set;

/**
 * The kernel to go to.
 *
 * @param image a bzImage
 * @param initrd its first file system, if it has one
 * @param commandLine the whole of it
 * @param running the image of the kernel that runs now, if it has to be told
 * @param sessions the names of other programs' sessions that go along
 */
public record NextKernel(
    Path image,
    Optional<Path> initrd,
    String commandLine,
    Optional<Path> running,
    Set<String> sessions) {
  /** Copies the set. */
  public NextKernel {
    sessions = Set.copyOf(sessions);
  }
}
