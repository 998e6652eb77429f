package io.holdfast.kexec.depart;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Call;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What was checked is what is loaded. */
@Promise("kernel-plan")
final class KernelFilesTest {
  private static final int NO_INITRAMFS = 4;

  @TempDir Path directory;
  private final List<String> loaded = new ArrayList<>();
  private final Linux linux =
      new Linux(
          (call, a, b, c, d, e, f) -> {
            if (call != Call.KEXEC_FILE_LOAD) {
              return Kernel.system().call(call, a, b, c, d, e, f);
            }
            loaded.add(text(a) + (e == NO_INITRAMFS ? "" : " and " + text(b)));
            return 0;
          });
  private Path image;
  private Path initrd;

  @BeforeEach
  void write() throws IOException {
    image = Files.writeString(directory.resolve("vmlinuz"), "kernel 1");
    initrd = Files.writeString(directory.resolve("initrd"), "initrd 1");
  }

  private static String text(long fd) {
    try {
      return Files.readString(Path.of("/proc/self/fd/" + fd));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private KernelFiles files(Optional<Path> first) {
    return new KernelFiles(
        linux, new NextKernel(image, first, "kho=on", Optional.empty(), Set.of()));
  }

  @Test
  void aNameThatIsAnothersByThenChangesNothing() throws IOException {
    try (KernelFiles files = files(Optional.of(initrd))) {
      assertThat(files.open()).hasContent("kernel 1");
      for (Path each : List.of(image, initrd)) {
        Path other = Files.writeString(directory.resolve("other"), "kernel 2");
        Files.move(other, each, StandardCopyOption.REPLACE_EXISTING);
      }
      files.load();
      assertThat(loaded).containsExactly("kernel 1 and initrd 1");
    }
    try (KernelFiles files = files(Optional.empty())) {
      files.load();
      assertThat(loaded.getLast()).isEqualTo("kernel 2");
    }
  }

  @Test
  void aFileThatWasWrittenToIsNotLoaded() throws IOException {
    for (Path each : List.of(image, initrd)) {
      try (KernelFiles files = files(Optional.of(initrd))) {
        Path _ = files.open();
        Files.writeString(each, "kernel 2, longer");
        assertThatThrownBy(files::load)
            .isInstanceOf(IOException.class)
            .hasMessageStartingWith(each + " was written to after the plan had checked it");
      }
    }
    assertThat(loaded).isEmpty();
  }

  @Test
  void aFileThatIsMissingIsToldByItsName() throws IOException {
    Files.delete(initrd);
    try (KernelFiles files = files(Optional.of(initrd))) {
      assertThatThrownBy(files::open)
          .isInstanceOf(IOException.class)
          .hasMessageContaining(initrd.toString())
          .hasMessageContaining("ENOENT");
    }
  }
}
