package io.holdfast.kho.image;

import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtException;
import io.holdfast.fdt.FdtProperty;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/** Looks for the image of the running kernel. */
final class ImageFinder {
  private static final int MAX_CANDIDATES = 200;

  private final Path root;
  private final List<String> notes = new ArrayList<>();

  ImageFinder(Path root) {
    this.root = root;
  }

  Optional<String> commandLine() {
    return text("proc/cmdline");
  }

  RunningKernel find() {
    Optional<String> commandLine = commandLine();
    Optional<String> version = text("proc/version");
    if (version.isEmpty()) {
      return new RunningKernel.Unknown(
          root.resolve("proc/version")
              + " can't be read, so that no image can be told to be that of the running kernel.",
          "Name the image that was booted with --from IMAGE.",
          commandLine);
    }
    String banner = version.get();
    String release = KernelImage.releaseOf(banner);
    for (Path candidate : candidates(release)) {
      Optional<KernelImage> image = matching(candidate, release, banner);
      if (image.isPresent()) {
        Optional<String> contradiction = contradiction(image.get());
        if (contradiction.isPresent()) {
          notes.add(contradiction.get());
          break;
        }
        return new RunningKernel.Known(image.get(), commandLine.orElse(""));
      }
    }
    return new RunningKernel.Unknown(
        "The image of the running kernel, "
            + release
            + ", was not found in "
            + root.resolve("boot")
            + " or "
            + root.resolve("lib/modules").resolve(release)
            + (notes.isEmpty() ? "." : ": " + String.join("; ", notes) + "."),
        "Name the image that was booted with --from IMAGE.",
        commandLine);
  }

  /** Images whose names fit come first, then all others. */
  private Set<Path> candidates(String release) {
    Set<Path> candidates = new LinkedHashSet<>();
    if (!release.isEmpty() && !release.contains("/")) {
      for (String name :
          List.of("boot/vmlinuz-", "boot/bzImage-", "boot/kernel-", "boot/vmlinux-")) {
        candidates.add(root.resolve(name + release));
      }
      for (String folder : List.of("lib/modules/", "usr/lib/modules/")) {
        candidates.add(root.resolve(folder + release).resolve("vmlinuz"));
      }
    }
    Set<Path> others = new TreeSet<>();
    try (DirectoryStream<Path> boot =
        Files.newDirectoryStream(root.resolve("boot"), "{vmlinuz,bzImage,kernel}*")) {
      boot.forEach(others::add);
    } catch (IOException | DirectoryIteratorException e) {
      notes.add(root.resolve("boot") + " can't be read");
    }
    candidates.addAll(others);
    Set<Path> there = new LinkedHashSet<>();
    for (Path candidate : candidates) {
      if (there.size() < MAX_CANDIDATES && Files.isRegularFile(candidate)) {
        there.add(candidate);
      }
    }
    return there;
  }

  private Optional<KernelImage> matching(Path candidate, String release, String banner) {
    // A boot image names its release in the open: others need not be unpacked.
    Optional<String> header = KernelImage.headerVersion(candidate);
    if (header.isPresent() && !header.get().startsWith(release + " ")) {
      return Optional.empty();
    }
    try {
      KernelImage image = KernelImage.read(candidate);
      if (image.banner().equals(banner)) {
        return Optional.of(image);
      }
      if (image.release().equals(release)) {
        notes.add(
            candidate
                + " has this release and is another build of it, so that it is not what was booted");
      }
    } catch (ImageException e) {
      notes.add(String.valueOf(e.getMessage()));
    }
    return Optional.empty();
  }

  /**
   * What the kernel's debugfs shows of its outgoing state names the formats that it writes. It is
   * there for root, on a kernel with CONFIG_KEXEC_HANDOVER_DEBUGFS and KHO on.
   */
  private Optional<String> contradiction(KernelImage image) {
    Path out = root.resolve("sys/kernel/debug/kho/out");
    Optional<String> kho = khoFormat(out.resolve("fdt"));
    Optional<String> luo = luoFormat(out.resolve("sub_fdts/LUO"));
    if (kho.isPresent() && !image.abi().kho().contains(kho.get())) {
      return Optional.of(image.file() + " lacks " + kho.get() + ", which the kernel hands over");
    }
    if (luo.isPresent() && !image.abi().luo().contains(luo.get())) {
      return Optional.of(image.file() + " lacks " + luo.get() + ", which the kernel hands over");
    }
    return Optional.empty();
  }

  /** The format that the root of the outgoing state tree names. */
  private static Optional<String> khoFormat(Path file) {
    try {
      return FdtBlob.of(MemorySegment.ofArray(Files.readAllBytes(file)))
          .tree()
          .root()
          .property("compatible")
          .map(FdtProperty::string);
    } catch (IOException | FdtException e) {
      return Optional.empty();
    }
  }

  /** The format that struct luo_ser names in its first 8 bytes. */
  private static Optional<String> luoFormat(Path file) {
    try {
      byte[] bytes = Files.readAllBytes(file);
      int end = 0;
      while (end < Math.min(bytes.length, 8) && bytes[end] != 0) {
        end++;
      }
      String name = new String(bytes, 0, end, StandardCharsets.US_ASCII);
      return Optional.of(name).filter(n -> n.startsWith("luo-v"));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  private Optional<String> text(String file) {
    try {
      return Optional.of(Files.readString(root.resolve(file), StandardCharsets.UTF_8).strip());
    } catch (IOException e) {
      return Optional.empty();
    }
  }
}
