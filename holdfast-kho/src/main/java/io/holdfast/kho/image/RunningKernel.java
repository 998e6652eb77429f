package io.holdfast.kho.image;

import java.nio.file.Path;
import java.util.Optional;

/**
 * What the kernel that runs speaks, as far as it can be known. No kernel tells by itself which
 * versions of files' handlers it has: its image must be found, and be certainly the one that was
 * booted.
 */
public sealed interface RunningKernel {

  /**
   * The image that was booted: the line that {@code /proc/version} shows is the one in it, which
   * names the time and number of its build.
   *
   * @param commandLine the running kernel's command line
   */
  record Known(KernelImage image, String commandLine) implements RunningKernel {}

  /**
   * No image is known to be the one that was booted.
   *
   * @param reason what was looked at and found, sentences for people
   * @param advice what to do, sentences for people
   * @param commandLine the running kernel's command line; empty if that can't be read either
   */
  record Unknown(String reason, String advice, Optional<String> commandLine)
      implements RunningKernel {}

  /**
   * Finds the image of the kernel that runs, among {@code /boot} and {@code /lib/modules}, and
   * compares it with what the kernel itself shows: {@code /proc/version}, and of debugfs the roots
   * of the state that it would hand over. It reads only, and what it may not read it does without.
   *
   * @param root where the file system begins: {@code /}, or a folder with another host's files in
   *     it
   */
  static RunningKernel find(Path root) {
    return new ImageFinder(root).find();
  }

  /** The command line of the kernel that runs; empty if it can't be read. */
  static Optional<String> commandLine(Path root) {
    return new ImageFinder(root).commandLine();
  }
}
