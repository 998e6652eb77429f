package io.holdfast.host.carrier;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.host.qemu.QemuProcess.Identity;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The guard's process and its record; that it holds sessions is tried on a real kernel. */
final class SessionGuardTest {
  @TempDir Path directory;

  private Path record() {
    return directory.resolve("guard");
  }

  @Test
  void thereIsOneFromBeginToEnd() throws IOException {
    SessionGuard guard = SessionGuard.open(Linux.system(), record());
    assertThat(Files.exists(record())).isFalse();
    guard.begin();
    String[] words = Files.readString(record()).strip().split(" ", 2);
    Identity process = Identity.parse(words[0]);
    assertThat(Identity.of(process.pid())).isEqualTo(process);
    assertThat(Identity.parse(words[1]))
        .isEqualTo(Identity.of((int) ProcessHandle.current().pid()));
    guard.close();
    assertThat(Files.exists(record())).isFalse();
    assertThat(Files.exists(Path.of("/proc/" + process.pid()))).isFalse();
  }

  @Test
  void oneThatADeadAgentLeftIsEnded() throws IOException, InterruptedException {
    Process left = new ProcessBuilder("sleep", "100").start();
    try {
      Identity process = Identity.of((int) left.pid());
      Files.writeString(record(), process + " " + new Identity(1, 999_999_999) + "\n");
      SessionGuard guard = SessionGuard.open(Linux.system(), record());
      assertThat(left.waitFor()).isEqualTo(128 + 9);
      assertThat(Files.exists(record())).isFalse();
      guard.close();
    } finally {
      left.destroyForcibly();
    }
  }

  @Test
  void oneOfAnAgentAtWorkIsLeftAlone() throws IOException {
    Process theirs = new ProcessBuilder("sleep", "100").start();
    try {
      Identity process = Identity.of((int) theirs.pid());
      Identity me = Identity.of((int) ProcessHandle.current().pid());
      Files.writeString(record(), process + " " + me + "\n");
      SessionGuard _ = SessionGuard.open(Linux.system(), record());
      assertThat(theirs.isAlive()).isTrue();
    } finally {
      theirs.destroyForcibly();
    }
  }
}
