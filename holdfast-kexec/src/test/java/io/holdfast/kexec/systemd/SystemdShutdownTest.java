package io.holdfast.kexec.systemd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.state.Action;
import io.holdfast.promise.Promise;
import io.holdfast.testkit.NoStep;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** What the agent and systemd's shutdown say to each other; the command is a script. */
@Timeout(60)
@Promise("systemd-hosts")
final class SystemdShutdownTest {
  @TempDir Path directory;
  private SystemdShutdown shutdown;

  /** A systemctl that writes down what it is told, and says of the host what a file says. */
  @BeforeEach
  void make() throws IOException {
    Path command = directory.resolve("systemctl");
    Files.writeString(
        command,
        """
        #!/bin/sh
        echo "$*" >>%1$s/told
        [ ! -e %1$s/gone ] || { echo 'Failed to connect'; exit 1; }
        [ "$1" != is-system-running ] || cat %1$s/state
        """
            .formatted(directory));
    Files.setPosixFilePermissions(command, PosixFilePermissions.fromString("rwx------"));
    Files.writeString(directory.resolve("state"), "stopping\n");
    Files.writeString(directory.resolve("comm"), "systemd-shutdow\n");
    shutdown =
        new SystemdShutdown(
            new Systemctl(command.toString()), directory, directory.resolve("comm"));
  }

  private List<String> told() throws IOException {
    return Files.readAllLines(directory.resolve("told")).stream()
        .filter(line -> !line.equals("is-system-running"))
        .toList();
  }

  private CompletableFuture<Void> stopTheRest() {
    return CompletableFuture.runAsync(
        () -> {
          try {
            shutdown.stopTheRest(new NoStep(Action.SHUT_DOWN, false));
          } catch (IOException e) {
            throw new CompletionException(e);
          }
        });
  }

  private CompletableFuture<Optional<String>> hostStopped() {
    return CompletableFuture.supplyAsync(
        () -> {
          try {
            return shutdown.hostStopped();
          } catch (IOException | InterruptedException e) {
            throw new CompletionException(e);
          }
        });
  }

  @Test
  void itWaitsUntilTheHostHasStoppedAndThenSaysWhyItDoesNotLeave() throws Exception {
    CompletableFuture<Void> stopping = stopTheRest();
    assertThatThrownBy(() -> stopping.get(3, TimeUnit.SECONDS))
        .isInstanceOf(java.util.concurrent.TimeoutException.class);
    assertThat(told())
        .containsExactly("--no-block --job-mode=replace-irreversibly start kexec.target");
    assertThat(directory.resolve(SystemdShutdown.MARKER)).exists();
    CompletableFuture<Optional<String>> asked = hostStopped();
    stopping.get();
    assertThat(asked.isDone()).isFalse();
    shutdown.goesOn("web did not freeze");
    assertThat(asked.get()).contains("web did not freeze");
    // What can't be aborted is not.
    assertThat(told()).hasSize(1);
    assertThat(directory.resolve(SystemdShutdown.MARKER)).exists();
  }

  @Test
  void aShutdownThatSomebodyCancelledFailsTheUpdate() throws Exception {
    Files.writeString(directory.resolve("state"), "degraded\n");
    assertThatThrownBy(() -> stopTheRest().get()).hasMessageContaining("it is degraded");
    shutdown.goesOn("it failed");
    assertThat(told()).hasSize(3).endsWith("cancel", "--no-block start default.target");
    assertThat(directory.resolve(SystemdShutdown.MARKER)).doesNotExist();
  }

  @Test
  void whenSystemdIsGoneWhoeverAsksIsTold() throws Exception {
    Files.writeString(directory.resolve(SystemdShutdown.MARKER), "");
    Files.writeString(directory.resolve("gone"), "");
    shutdown.goesOn("it failed");
    assertThat(hostStopped().get()).contains("it failed");
    assertThat(directory.resolve(SystemdShutdown.MARKER)).exists();
  }

  @Test
  void whoeverAsksBeforeSystemdIsThroughIsSentAway() throws Exception {
    Files.writeString(directory.resolve("comm"), "systemd\n");
    CompletableFuture<Void> stopping = stopTheRest();
    assertThat(hostStopped().get()).hasValueSatisfying(why -> assertThat(why).contains("still"));
    assertThat(stopping.isDone()).isFalse();
    Files.writeString(directory.resolve("state"), "running\n");
    assertThatThrownBy(stopping::get).hasMessageContaining("it is running");
  }

  @Test
  void whatNeverBeganIsNotAborted() {
    shutdown.goesOn("refused");
    assertThat(directory.resolve("told")).doesNotExist();
  }
}
