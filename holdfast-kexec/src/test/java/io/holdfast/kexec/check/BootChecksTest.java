package io.holdfast.kexec.check;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.kexec.depart.NextKernel;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a plan says of a kernel that would not find its root; the host's files are made up. */
@Promise("kernel-plan")
final class BootChecksTest {
  private static final String LINE = "root=/dev/vda1 kho=on liveupdate=on";
  private static final Optional<Path> INITRD = Optional.of(Path.of("/boot/initrd"));

  @TempDir Path root;

  @BeforeEach
  void bootedWithAll() throws IOException {
    write("proc/sys/kernel/kexec_load_disabled", "0\n");
    write("proc/sys/kernel/osrelease", "7.3.4\n");
    write("proc/cmdline", "BOOT_IMAGE=/vmlinuz " + LINE + "\n");
    parameters(4096);
    Files.createDirectories(root.resolve("lib/modules/7.3.4"));
    Files.createDirectories(root.resolve("lib/modules/7.3.5"));
  }

  private void write(String name, String text) throws IOException {
    Files.createDirectories(root.resolve(name).getParent());
    Files.writeString(root.resolve(name), text);
  }

  /** The running kernel's boot parameters, with an initramfs of so many bytes. */
  private void parameters(int initramfs) throws IOException {
    byte[] page = new byte[4096];
    page[0x21c] = (byte) initramfs;
    page[0x21d] = (byte) (initramfs >> 8);
    Path file = root.resolve("sys/kernel/boot_params/data");
    Files.createDirectories(file.getParent());
    Files.write(file, page);
  }

  private List<Obstacle> obstacles(Optional<Path> initrd, String line, String release) {
    NextKernel next =
        new NextKernel(Path.of("/boot/vmlinuz"), initrd, line, Optional.empty(), Set.of());
    return new BootChecks(root).obstacles(next, Optional.of(release));
  }

  private String only(Optional<Path> initrd, String line, String release) {
    List<Obstacle> found = obstacles(initrd, line, release);
    assertThat(found).hasSize(1);
    assertThat(found.getFirst().advice()).isNotEmpty();
    return found.getFirst().what() + ": " + found.getFirst().why();
  }

  @Test
  void oneThatHasAllIsNotRefused() {
    assertThat(obstacles(INITRD, LINE, "7.3.5")).isEmpty();
  }

  @Test
  void oneWithoutTheInitramfsThatThisOneHadIsRefused() throws IOException {
    assertThat(only(Optional.empty(), LINE, "7.3.5")).contains("no initramfs");
    parameters(0);
    assertThat(obstacles(Optional.empty(), LINE, "7.3.5")).isEmpty();
    Files.delete(root.resolve("sys/kernel/boot_params/data"));
    assertThat(obstacles(Optional.empty(), LINE, "7.3.5")).isEmpty();
  }

  @Test
  void aCommandLineWithoutARootIsRefused() throws IOException {
    assertThat(only(INITRD, "kho=on liveupdate=on", "7.3.5")).contains("root=");
    write("proc/cmdline", "quiet\n");
    assertThat(obstacles(INITRD, "kho=on liveupdate=on", "7.3.5")).isEmpty();
  }

  @Test
  void oneWithoutItsModulesIsRefused() throws IOException {
    assertThat(only(INITRD, LINE, "7.3.6")).contains("lib/modules/7.3.6");
    Files.delete(root.resolve("lib/modules/7.3.4"));
    assertThat(obstacles(INITRD, LINE, "7.3.6")).isEmpty();
  }

  @Test
  void aHostThatLoadsNoKernelIsRefused() throws IOException {
    write("proc/sys/kernel/kexec_load_disabled", "1\n");
    assertThat(only(INITRD, LINE, "7.3.5")).contains("kexec_load_disabled");
  }
}
