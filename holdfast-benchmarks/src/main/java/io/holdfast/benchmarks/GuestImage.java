package io.holdfast.benchmarks;

import io.holdfast.testbed.TimeStampCounter;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The test guest as {@code guest/build} leaves it.
 *
 * @param kernel its kernel's image
 * @param initramfs its user space
 */
public record GuestImage(Path kernel, Path initramfs) {
  /** Its disk's size in bytes. */
  public static final long DISK = 64L << 20;

  /**
   * Its kernel's command line; {@code guest/README.md} says why. It is told the rate of its time
   * stamp counter: beside nine others on two processors a guest's clock ran too fast by far, most
   * likely because it measured that rate when it had no vCPU, and a short wait was a lockup.
   */
  public static String append() {
    return "console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable" + TimeStampCounter.rate();
  }

  /**
   * Finds it: in the folder that HOLDFAST_GUEST names, else where {@code guest/build} puts it.
   *
   * @throws IllegalStateException if it isn't there
   */
  public static GuestImage find() {
    String told = System.getenv().getOrDefault("HOLDFAST_GUEST", "");
    String cache = System.getenv().getOrDefault("XDG_CACHE_HOME", "");
    Path folder =
        told.isEmpty()
            ? (cache.isEmpty()
                    ? Path.of(System.getProperty("user.home"), ".cache")
                    : Path.of(cache))
                .resolve("holdfast/guest")
            : Path.of(told);
    GuestImage image = new GuestImage(folder.resolve("vmlinuz"), folder.resolve("initramfs.cpio"));
    if (!Files.isReadable(image.kernel) || !Files.isReadable(image.initramfs)) {
      throw new IllegalStateException(
          "no test guest in "
              + folder
              + "; run guest/build, or let HOLDFAST_GUEST name its folder");
    }
    return image;
  }
}
