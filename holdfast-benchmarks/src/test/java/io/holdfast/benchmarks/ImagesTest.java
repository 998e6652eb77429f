package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A guest writes to its image and to no other file, whatever names are given to. */
@Tag("guest")
@Promise("same-files")
class ImagesTest {
  private final Host host;

  ImagesTest() throws IOException, InterruptedException {
    host = Host.start();
  }

  @AfterEach
  void end() throws IOException {
    host.close();
  }

  private Path disk() {
    return host.directory().resolve("disk.qcow2");
  }

  private Path aside() {
    return host.directory().resolve("aside.qcow2");
  }

  /** Gives the image another name, and its name to another image; returns what is in that. */
  private byte[] replace() throws IOException {
    Files.move(disk(), aside());
    RunningGuest.image(disk());
    return Files.readAllBytes(disk());
  }

  private void giveBack() throws IOException {
    Files.move(aside(), disk(), StandardCopyOption.REPLACE_EXISTING);
  }

  private void completes() {
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    host.assertWhole();
  }

  @Test
  void anImageWhoseNameIsAnothersRefusesTheUpdate() throws IOException {
    host.runVm(Host.qemu());
    byte[] others = replace();
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("refused");
    JsonObject obstacle = report.array("obstacles").objects().getFirst();
    assertThat(obstacle.string("what")).contains(disk().toString());
    assertThat(obstacle.string("why")).contains("another file");
    host.assertWhole();
    assertThat(disk()).hasBinaryContent(others);
    giveBack();
    completes();
  }

  /** The successor would have the same files open, each under the other one's name. */
  @Test
  void twoImagesThatChangedTheirNamesRefuseTheUpdate() throws IOException {
    Path second = host.directory().resolve("second.qcow2");
    RunningGuest.image(second);
    host.runVm(
        host.definition(Host.qemu())
            .with(
                "disks",
                List.of(
                    JsonObject.of("path", disk().toString()),
                    JsonObject.of("path", second.toString()))));
    swap(disk(), second);
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("refused");
    assertThat(report.array("obstacles").objects())
        .extracting(obstacle -> obstacle.string("what"))
        .containsExactlyInAnyOrder(disk().toString(), second.toString());
    host.assertWhole();
    swap(disk(), second);
    // The plan sees the right ones.
    JsonObject late =
        host.update(
            lateQemu("mv '%1$s' '%2$s'; mv '%3$s' '%1$s'; mv '%2$s' '%3$s'", second).toString());
    assertThat(late.string("outcome")).as("%s", late).isEqualTo("cancelled");
    assertThat(late.string("message"))
        .contains("are not the files of these names", disk().toString(), second.toString());
    assertThat(late.number("blackout")).as("the guest was never stopped").isZero();
    host.assertWhole();
    swap(disk(), second);
    completes();
  }

  private void swap(Path one, Path other) throws IOException {
    Files.move(one, aside());
    Files.move(other, one);
    Files.move(aside(), other);
  }

  /** A QEMU that does something to the image, a name aside and another image before it starts. */
  private Path lateQemu(String does, Path other) throws IOException {
    Path late = host.directory().resolve("late");
    Files.writeString(
        late,
        """
        #!/bin/sh
        case "$*" in *holdfast-control*) ;; *' -incoming '*)
          %s ;;
        esac
        exec '%s' "$@"
        """
            .formatted(does.formatted(disk(), aside(), other), Host.qemu()));
    Files.setPosixFilePermissions(late, PosixFilePermissions.fromString("rwxr-xr-x"));
    return late;
  }

  @Test
  void aBackingFileWhoseNameIsAnothersRefusesTheUpdate() throws IOException {
    Path base = host.directory().resolve("base.qcow2");
    Files.move(disk(), base);
    qemuImg("create", "-q", "-f", "qcow2", "-b", base.toString(), "-F", "qcow2", disk().toString());
    host.runVm(Host.qemu());
    Files.move(base, aside());
    RunningGuest.image(base);
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("refused");
    assertThat(report.array("obstacles").objects().getFirst().string("what"))
        .contains(base.toString());
    host.assertWhole();
    Files.move(aside(), base, StandardCopyOption.REPLACE_EXISTING);
    completes();
  }

  /** The plan has seen the right one. */
  @Test
  void anImageThatIsReplacedWhenTheSuccessorStartsCancelsTheUpdate() throws IOException {
    host.runVm(Host.qemu());
    Path other = host.directory().resolve("other.qcow2");
    RunningGuest.image(other);
    byte[] others = Files.readAllBytes(other);
    Path late = lateQemu("mv '%1$s' '%2$s'; mv '%3$s' '%1$s'", other);
    JsonObject report = host.update(late.toString());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("cancelled");
    assertThat(report.string("message"))
        .contains("are not the files of these names", disk().toString());
    assertThat(report.number("blackout")).as("the guest was never stopped").isZero();
    assertThat(disk()).hasBinaryContent(others);
    host.assertWhole();
    giveBack();
    completes();
  }

  /** QEMU would refuse to resume the guest in the successor, after the commit. */
  @ParameterizedTest
  @CsvSource({"false, 0, 9223372036854775807", "true, 200, 1"})
  @Promise("plan-refuses-first")
  void anImageThatAnotherProcessLocksRefusesTheUpdate(boolean write, long start, long length)
      throws IOException {
    host.runVm(Host.qemu());
    try (LockedFile other = LockedFile.of(disk(), write, start, length)) {
      other.lock();
      JsonObject report = host.update(Host.qemu());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("refused");
      JsonObject obstacle = report.array("obstacles").objects().getFirst();
      assertThat(obstacle.string("what")).contains(disk().toString());
      assertThat(obstacle.string("why")).contains("process " + other.pid(), "lock on bytes");
      host.assertWhole();
    }
    completes();
  }

  /** The plan has seen no lock. */
  @Test
  @Promise("plan-refuses-first")
  void anImageThatIsLockedWhenTheSuccessorStartsCancelsTheUpdate() throws IOException {
    host.runVm(Host.qemu());
    try (LockedFile other = LockedFile.of(disk(), false, 0, Long.MAX_VALUE)) {
      JsonObject report = host.update(lateQemu(other.commands(), disk()).toString());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("cancelled");
      assertThat(report.string("message"))
          .contains("could not lock its images", "process " + other.pid(), disk().toString());
      assertThat(report.number("blackout")).as("the guest was never stopped").isZero();
      host.assertWhole();
    }
    completes();
  }

  private static void qemuImg(String... arguments) throws IOException {
    List<String> command = new ArrayList<>(List.of("qemu-img"));
    command.addAll(List.of(arguments));
    Process process = new ProcessBuilder(command).inheritIO().start();
    try {
      assertThat(process.waitFor()).isZero();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }
}
