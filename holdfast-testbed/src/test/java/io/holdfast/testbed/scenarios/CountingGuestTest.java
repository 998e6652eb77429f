package io.holdfast.testbed.scenarios;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CountingGuestTest {
  @TempDir private Path folder;

  @Test
  @Tag("guest")
  void countsInRealQemu() throws IOException, InterruptedException {
    Path disk = folder.resolve("disk");
    Files.write(disk, new byte[1 << 20]);
    CountingGuest.install(disk);
    Path console = folder.resolve("console");
    List<String> command =
        List.of(
            System.getenv().getOrDefault("HOLDFAST_QEMU", "qemu-system-x86_64"),
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-accel",
            "tcg",
            "-m",
            "64",
            "-serial",
            "file:" + console,
            "-drive",
            "if=virtio,format=raw,file=" + disk);
    Process qemu = new ProcessBuilder(command).inheritIO().start();
    try {
      while (qemu.isAlive() && (!Files.exists(console) || CountingGuest.lines(console) < 20)) {
        boolean _ = qemu.waitFor(50, TimeUnit.MILLISECONDS);
      }
      assertThat(qemu.isAlive()).isTrue();
    } finally {
      qemu.destroyForcibly().waitFor();
    }
    int lines = CountingGuest.lines(console);
    assertThat(lines).isGreaterThanOrEqualTo(20);
    assertThat(CountingGuest.onDisk(disk)).isGreaterThanOrEqualTo(CountingGuest.after(lines));
  }

  private Path console(String said) throws IOException {
    return Files.writeString(folder.resolve("console"), said);
  }

  @Test
  void theLineUnderWayIsNotCounted() throws IOException {
    assertThat(CountingGuest.lines(console(""))).isZero();
    assertThat(CountingGuest.lines(console("00040000\n00080000\n000c0"))).isEqualTo(2);
  }

  @Test
  void aLineLeftOutOrRepeatedIsFoundOut() throws IOException {
    for (String said : List.of("00040000\n000c0000\n", "00040000\n00040000\n", "\n", "x\n")) {
      Path console = console(said);
      assertThatThrownBy(() -> CountingGuest.lines(console))
          .isInstanceOf(IOException.class)
          .hasMessageContaining("of the guest's console is");
    }
  }
}
