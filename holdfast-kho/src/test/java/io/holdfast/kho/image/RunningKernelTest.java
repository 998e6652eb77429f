package io.holdfast.kho.image;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.fdt.FdtTree;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

@Promise("kernel-images")
class RunningKernelTest {
  private static final String RELEASE = FakeKernel.RELEASE;

  @TempDir Path root;

  @BeforeEach
  void host() throws IOException {
    Files.createDirectories(root.resolve("proc"));
    Files.createDirectories(root.resolve("boot"));
    Files.writeString(root.resolve("proc/version"), FakeKernel.BANNER + "\n");
    Files.writeString(root.resolve("proc/cmdline"), "root=/dev/vda liveupdate=on\n");
  }

  private RunningKernel.Known known() {
    RunningKernel found = RunningKernel.find(root);
    assertThat(found).isInstanceOf(RunningKernel.Known.class);
    return (RunningKernel.Known) found;
  }

  private RunningKernel.Unknown unknown(String... reasons) {
    RunningKernel found = RunningKernel.find(root);
    assertThat(found).isInstanceOf(RunningKernel.Unknown.class);
    RunningKernel.Unknown unknown = (RunningKernel.Unknown) found;
    assertThat(unknown.reason()).contains(reasons).endsWith(".");
    assertThat(unknown.advice()).contains("--from IMAGE");
    return unknown;
  }

  @Test
  void itsImageIsFoundByItsRelease() throws IOException {
    Path image = FakeKernel.good().write(root.resolve("boot/vmlinuz-" + RELEASE));
    assertThat(known().image().file()).isEqualTo(image);
    assertThat(known().image().abi().luo()).containsExactly("luo-v5");
    assertThat(known().commandLine()).isEqualTo("root=/dev/vda liveupdate=on");
  }

  @Test
  void itsImageIsFoundUnderAnyName() throws IOException {
    FakeKernel.speaking("kho-v1")
        .banner("Linux version 6.1.0 (a@b) #1")
        .write(root.resolve("boot/vmlinuz-6.1.0"));
    Files.writeString(root.resolve("boot/vmlinuz-broken"), "no kernel");
    Path image = FakeKernel.good().write(root.resolve("boot/vmlinuz.old"));
    assertThat(known().image().file()).isEqualTo(image);
    Files.delete(image);
    Path modules = Files.createDirectories(root.resolve("usr/lib/modules").resolve(RELEASE));
    image = FakeKernel.good().write(modules.resolve("vmlinuz"));
    assertThat(known().image().file()).isEqualTo(image);
  }

  @Test
  void anotherBuildOfTheSameReleaseIsNotTakenForIt() throws IOException {
    FakeKernel.good()
        .banner(FakeKernel.BANNER.replace("#1", "#2"))
        .write(root.resolve("boot/vmlinuz-" + RELEASE));
    unknown("another build of it", "vmlinuz-" + RELEASE);
  }

  @Test
  void withoutAnImageItIsUnknown() throws IOException {
    RunningKernel.Unknown unknown = unknown(RELEASE, root.resolve("boot").toString());
    assertThat(unknown.commandLine()).contains("root=/dev/vda liveupdate=on");
    Files.writeString(root.resolve("boot/vmlinuz-" + RELEASE), "no kernel");
    unknown("it is no kernel");
    Files.delete(root.resolve("boot/vmlinuz-" + RELEASE));
    Files.delete(root.resolve("boot"));
    unknown(root.resolve("boot") + " can't be read");
    Files.delete(root.resolve("proc/version"));
    Files.delete(root.resolve("proc/cmdline"));
    assertThat(unknown("proc/version can't be read").commandLine()).isEmpty();
  }

  @Test
  void anImageThatTheKernelContradictsIsNotTakenForIt() throws IOException {
    FakeKernel.good().write(root.resolve("boot/vmlinuz-" + RELEASE));
    Path out = Files.createDirectories(root.resolve("sys/kernel/debug/kho/out/sub_fdts"));
    Files.write(out.resolveSibling("fdt"), FdtTree.of("kho-v4").toBlob());
    Files.write(out.resolve("LUO"), "luo-v5\0\0\0\0\0\0".getBytes(StandardCharsets.US_ASCII));
    assertThat(known().image().release()).isEqualTo(RELEASE);
    Files.write(out.resolve("LUO"), "luo-v6\0\0\0\0\0\0".getBytes(StandardCharsets.US_ASCII));
    unknown("lacks luo-v6, which the kernel hands over");
    Files.delete(out.resolve("LUO"));
    Files.write(out.resolveSibling("fdt"), FdtTree.of("kho-v5").toBlob());
    unknown("lacks kho-v5, which the kernel hands over");
    Files.writeString(out.resolveSibling("fdt"), "damaged");
    assertThat(known().image().release()).isEqualTo(RELEASE);
  }
}
