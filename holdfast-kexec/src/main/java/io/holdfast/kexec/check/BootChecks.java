package io.holdfast.kexec.check;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.kexec.depart.NextKernel;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * Whether the next kernel can be loaded, and would come as far as this one did: one that does not
 * find its root panics, and all guests are lost.
 */
public final class BootChecks {
  private static final String DISABLED = "proc/sys/kernel/kexec_load_disabled";

  // x86's boot parameters as the kernel was given them: Documentation/arch/x86/zero-page.rst.
  private static final String PARAMETERS = "sys/kernel/boot_params/data";
  private static final int RAMDISK_SIZE = 0x21c;

  private final Path root;

  /**
   * @param root of the host's files
   */
  public BootChecks(Path root) {
    this.root = root;
  }

  /**
   * Looks for all of what is in the way.
   *
   * @param release of the next kernel; empty if it is not known
   */
  public List<Obstacle> obstacles(NextKernel next, Optional<String> release) {
    List<Obstacle> found = new ArrayList<>();
    try {
      if (read(DISABLED).equals(Optional.of("1"))) {
        found.add(
            new Obstacle(
                "the running kernel",
                "it loads no other kernel any more: kernel.kexec_load_disabled is 1",
                "That can't be undone; restart the host without what sets it (sysctl.d, lockdown)."));
      }
      if (next.initrd().isEmpty() && initrd()) {
        found.add(
            new Obstacle(
                "the next kernel",
                "it would get no initramfs, and the running one needed its own to find its root file"
                    + " system: it would panic, and all guests be lost",
                "Name it with --initrd. If that kernel needs none, name an empty one (cpio -o -H newc"
                    + " </dev/null >empty)."));
      }
      if (rooted(read("proc/cmdline").orElse("")) && !rooted(next.commandLine())) {
        found.add(
            new Obstacle(
                "the next kernel",
                "its command line has no root=, and the running one's has",
                "Give the whole command line with --append, or take the running one's with"
                    + " --reuse-cmdline."));
      }
      Optional<String> runs = read("proc/sys/kernel/osrelease");
      if (release.isPresent()
          && runs.isPresent()
          && Files.isDirectory(modules(runs.get()))
          && !Files.isDirectory(modules(release.get()))) {
        found.add(
            new Obstacle(
                "the next kernel",
                "its modules are not installed: there is no " + modules(release.get()),
                "Install them with that kernel: it may need them for KVM, disks and networks."));
      }
    } catch (IOException e) {
      found.add(
          new Obstacle(
              "the running kernel",
              "it does not say how it was booted: " + e.getMessage(),
              "Mount /proc and /sys."));
    }
    return found;
  }

  private Path modules(String release) {
    return root.resolve("lib/modules").resolve(release);
  }

  private Optional<String> read(String file) throws IOException {
    Path path = root.resolve(file);
    return Files.exists(path) ? Optional.of(Files.readString(path).strip()) : Optional.empty();
  }

  /** Whether the running kernel was given one; only x86 tells. */
  private boolean initrd() throws IOException {
    Path path = root.resolve(PARAMETERS);
    if (!Files.exists(path)) {
      return false;
    }
    byte[] parameters = Files.readAllBytes(path);
    return parameters.length >= RAMDISK_SIZE + Integer.BYTES
        && ByteBuffer.wrap(parameters).order(ByteOrder.LITTLE_ENDIAN).getInt(RAMDISK_SIZE) != 0;
  }

  private static boolean rooted(String commandLine) {
    return Stream.of(commandLine.split("\\s+", -1)).anyMatch(word -> word.startsWith("root="));
  }
}
