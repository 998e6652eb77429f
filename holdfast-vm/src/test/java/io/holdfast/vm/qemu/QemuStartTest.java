package io.holdfast.vm.qemu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** How long a QEMU may take to start. */
@Promise("slow-is-not-dead")
class QemuStartTest {
  @TempDir private Path directory;

  private static VmSpec spec(long memory) {
    return new VmSpec(
        "vm", memory, 1, "pc-q35-7.2", "max", "tcg", "", List.of(), List.of(), Optional.empty());
  }

  @ParameterizedTest
  @CsvSource({
    "BOOT,           1,  40",
    "BOOT,        1024,  40",
    "SUCCEED,     1025,  50",
    "SUCCEED,     8192, 110",
    "SUCCEED,   262144, 2590",
    "SUCCEED_LATE, 8192, 30",
  })
  void limitFollowsRamToPopulate(CommandLine.Start start, long mebibytes, long seconds) {
    assertThat(QemuProcess.limit(mebibytes << 20, start, Optional.empty()))
        .isEqualTo(Duration.ofSeconds(seconds));
  }

  @Test
  void limitIsAtMostWhatIsLeftOfTheStep() {
    assertThat(
            QemuProcess.limit(
                8L << 30, CommandLine.Start.SUCCEED, Optional.of(Duration.ofSeconds(70))))
        .isEqualTo(Duration.ofSeconds(70));
    assertThat(
            QemuProcess.limit(
                8L << 30, CommandLine.Start.SUCCEED, Optional.of(Duration.ofMinutes(10))))
        .isEqualTo(Duration.ofSeconds(110));
  }

  @Test
  @Timeout(20)
  void startThatDoesNotAnswerEndsWithItsStep() throws IOException {
    Path hangs = directory.resolve("qemu");
    Files.writeString(hangs, "#!/bin/sh\nexec sleep 100\n");
    Files.setPosixFilePermissions(hangs, PosixFilePermissions.fromString("rwx------"));
    Path generation = directory.resolve("generation-2");
    assertThatThrownBy(
            () ->
                QemuProcess.start(
                    Linux.system(),
                    new QemuBinary(hangs.toString(), "1", "", List.of(), Map.of(), List.of()),
                    spec(8L << 30),
                    Optional.empty(),
                    generation,
                    Map.of(),
                    CommandLine.Start.SUCCEED,
                    Optional.of(Duration.ofMillis(300))))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("did not come up")
        .hasMessageContaining("within 300 ms");
    assertThat(generation).doesNotExist();
  }
}
