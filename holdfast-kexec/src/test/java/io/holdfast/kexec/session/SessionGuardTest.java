package io.holdfast.kexec.session;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Linux;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The guard's process and its record; that it holds sessions is tried on a real kernel. */
@Promise("kernel-arrival")
final class SessionGuardTest {
  @TempDir Path directory;

  private Path record() {
    return directory.resolve("guard");
  }

  /** A process that has the record open. */
  private Process holder() throws IOException {
    return new ProcessBuilder("sleep", "100").redirectInput(record().toFile()).start();
  }

  private void write(ProcessIdentity agent) throws IOException {
    Files.writeString(record(), agent + "\n");
  }

  private static final ProcessIdentity DEAD = new ProcessIdentity(1, 999_999_999);

  @Test
  void thereIsOneFromBeginToEnd() throws IOException {
    Set<Long> before = children();
    SessionGuard guard = SessionGuard.open(Linux.system(), record());
    assertThat(Files.exists(record())).isFalse();
    guard.begin();
    assertThat(ProcessIdentity.parse(Files.readString(record()).strip()))
        .isEqualTo(ProcessIdentity.of((int) ProcessHandle.current().pid()));
    Set<Long> begun = children();
    begun.removeAll(before);
    assertThat(begun).hasSize(1);
    guard.close();
    assertThat(Files.exists(record())).isFalse();
    assertThat(Files.exists(Path.of("/proc/" + begun.iterator().next()))).isFalse();
  }

  private static Set<Long> children() {
    return ProcessHandle.current().children().map(ProcessHandle::pid).collect(Collectors.toSet());
  }

  @Test
  void oneThatADeadAgentLeftIsEnded() throws IOException, InterruptedException {
    write(DEAD);
    Process left = holder();
    try {
      SessionGuard guard = SessionGuard.open(Linux.system(), record());
      assertThat(left.waitFor()).isEqualTo(128 + 9);
      assertThat(Files.exists(record())).isFalse();
      guard.close();
    } finally {
      left.destroyForcibly();
    }
  }

  @Test
  void soIsOneWhoseRecordTheNextAgentReplacedAndDied() throws IOException, InterruptedException {
    write(DEAD);
    Process left = holder();
    try {
      Files.delete(record());
      write(DEAD);
      SessionGuard guard = SessionGuard.open(Linux.system(), record());
      assertThat(left.waitFor()).isEqualTo(128 + 9);
      guard.close();
    } finally {
      left.destroyForcibly();
    }
  }

  @Test
  void whoHasNoRecordOpenIsLeftAlone() throws IOException {
    write(DEAD);
    Process other = new ProcessBuilder("sleep", "100").start();
    try {
      SessionGuard.open(Linux.system(), record()).close();
      assertThat(other.isAlive()).isTrue();
    } finally {
      other.destroyForcibly();
    }
  }

  @Test
  void oneOfAnAgentAtWorkIsLeftAlone() throws IOException {
    write(ProcessIdentity.of((int) ProcessHandle.current().pid()));
    Process theirs = holder();
    try {
      SessionGuard.open(Linux.system(), record()).close();
      assertThat(theirs.isAlive()).isTrue();
      assertThat(Files.exists(record())).isTrue();
    } finally {
      theirs.destroyForcibly();
    }
  }
}
