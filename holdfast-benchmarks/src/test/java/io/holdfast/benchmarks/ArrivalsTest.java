package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.FaultyAgent.Fault;
import io.holdfast.benchmarks.FaultyAgent.Victim;
import io.holdfast.linux.Call;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.Timeout;

/**
 * What comes after a kexec, with a real VM and without the kexec ({@link KexecWithoutKernel}): it
 * comes back, or is held until it can; meanwhile it can be given up.
 */
@Tag("guest")
@Timeout(600)
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
@Promise("kernel-arrival")
class ArrivalsTest {
  private Optional<Host> started = Optional.empty();

  /** Tests share a guest for as long as each of them leaves it whole. */
  @BeforeEach
  void start() throws IOException, InterruptedException {
    if (started.isPresent()) {
      return;
    }
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    started = Optional.of(Host.start());
  }

  @AfterEach
  void endUnlessWhole() throws IOException {
    if (started.isPresent() && host().runs()) {
      host().disarm();
      try {
        host().assertWhole();
        return;
      } catch (AssertionError e) {
        end();
        throw e;
      }
    }
    end();
  }

  @AfterAll
  void end() throws IOException {
    if (started.isPresent()) {
      started.get().close();
      started = Optional.empty();
    }
  }

  private Host host() {
    return started.orElseThrow();
  }

  /** The VM runs, and then is where a kexec brings it; no agent runs. */
  private void leave(String... others) throws IOException {
    if (!host().runs()) {
      var _ = host().runVm(Host.qemu());
    }
    host()
        .arm(
            new Fault(
                true,
                Call.WRITE,
                "^entered \\S*" + Host.VM + "\\S* COMMITTED ",
                Victim.SUCCESSOR_AND_AGENT));
    assertThatThrownBy(() -> host().update(Host.qemu()))
        .isInstanceOf(VarlinkConnectionException.class);
    host().awaitAgentDeath();
    KexecWithoutKernel.arrive(host().run(), Host.VM, others);
    host().assertNothingRuns();
  }

  private List<String> retry() {
    return host().call("Update.Retry", JsonObject.empty()).array("reports").objects().stream()
        .map(report -> report.string("outcome"))
        .toList();
  }

  private void assertHeld() {
    JsonObject vm = host().show();
    assertThat(vm.string("state")).as("%s", vm).isEqualTo("stuck");
    assertThat(vm.string("reason")).contains("holdfast update retry");
  }

  /** Where the disk is while it is not where the VM looks for it. */
  private Path away() {
    return host().directory().resolve("disk.away");
  }

  private Path disk() {
    return host().directory().resolve("disk.qcow2");
  }

  /** Nobody else can write to the disk as long as it is open; a QEMU notices when it shall run. */
  private FileChannel locked() throws IOException {
    FileChannel disk = FileChannel.open(disk(), StandardOpenOption.READ, StandardOpenOption.WRITE);
    var _ = disk.lock();
    return disk;
  }

  @Test
  void aVmComesBack() throws IOException {
    leave();
    host().startAgent();
    host().assertWhole();
    assertThatThrownBy(this::retry)
        .isInstanceOf(VarlinkException.class)
        .hasMessageContaining("nothing to try again");
  }

  /** On another kernel its image is known by what lasts: the numbers are others there. */
  @Test
  void aVmWhoseImagesNameIsAnothersIsHeldUntilItIsItsOwn() throws IOException {
    leave();
    Path record = host().run().resolve("vms/" + Host.VM + "/vm.json");
    JsonObject before = Json.parse(Files.readString(record));
    JsonObject image = before.object("images").object(disk().toString());
    assumeTrue(image.has("handle"), "the file system here has no UUID or no file handles");
    Files.writeString(
        record,
        before
            .with(
                "images",
                JsonObject.of(disk().toString(), image.with("device", 1).with("inode", 2)))
            .pretty());
    Files.move(disk(), away());
    Files.copy(away(), disk());
    byte[] others = Files.readAllBytes(disk());
    host().startAgent();
    assertHeld();
    assertThat(host().said()).contains("are not the files that had these names", disk().toString());
    assertThat(disk()).hasBinaryContent(others);
    Files.move(away(), disk(), StandardCopyOption.REPLACE_EXISTING);
    assertThat(retry()).containsExactly("completed");
    host().assertWhole();
  }

  @Test
  void aVmWhoseQemuDoesNotComeUpIsHeldUntilItDoes() throws IOException {
    leave();
    Files.move(disk(), away());
    host().startAgent();
    assertHeld();
    assertThat(retry()).containsExactly("stuck");
    assertHeld();
    Files.move(away(), disk());
    assertThat(retry()).containsExactly("completed");
    host().assertWhole();
  }

  /** Its QEMU is up then, and answers one client only: the next attempt of the same agent. */
  @Test
  void aVmThatCanNotRunYetRunsAtTheNextAttempt() throws IOException {
    leave();
    try (FileChannel _ = locked()) {
      host().startAgent();
      assertHeld();
      assertThat(retry()).containsExactly("stuck");
    }
    assertThat(retry()).containsExactly("completed");
    host().assertWhole();
  }

  @Test
  void aVmThatIsWaitedForCanBeGivenUpAndRunAnew() throws IOException {
    leave();
    Files.move(disk(), away());
    host().startAgent();
    assertHeld();
    host().stopVm();
    assertThat(Host.qemus(host().run())).isEmpty();
    Files.move(away(), disk());
    var _ = host().runVm(Host.qemu());
    long runsIn = host().show().number("pid");
    assertThat(retry()).containsExactly("completed");
    assertThat(host().show().number("pid")).isEqualTo(runsIn);
    assertThat(host().show().string("state")).isEqualTo("running");
    host().stopVm();
    host().assertEmpty();
  }

  @Test
  void ofAVmThatIsGivenUpNoProcessIsLeft() throws IOException {
    leave();
    try (FileChannel _ = locked()) {
      host().startAgent();
      assertHeld();
      assertThat(Host.qemus(host().run())).as("its QEMU is up").hasSize(1);
      host().stopVm();
    }
    host().assertNothingRuns();
    assertThat(retry()).containsExactly("completed");
    host().assertEmpty();
  }

  /** One VM can't even be read; meanwhile the other one is updated, and then run anew. */
  @Test
  void whileOneIsWaitedForTheOthersAreLikeAnyOther() throws IOException {
    leave("other");
    Path other = Files.createDirectories(host().run().resolve("vms/other"));
    Files.writeString(other.resolve("vm.json"), "{}");
    host().startAgent();
    assertThat(host().show().string("state")).isEqualTo("running");
    JsonObject report = host().update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    long runsIn = host().show().number("pid");
    assertThat(retry()).containsExactly("stuck");
    assertThat(host().show().number("pid")).isEqualTo(runsIn);
    host().stopVm();
    var _ = host().runVm(Host.qemu());
    runsIn = host().show().number("pid");
    assertThat(retry()).containsExactly("stuck");
    assertThat(host().show().number("pid")).isEqualTo(runsIn);
    Files.delete(other.resolve("vm.json"));
    Files.delete(other);
    assertThat(retry()).containsExactly("completed");
    assertThat(host().show().number("pid")).isEqualTo(runsIn);
    host().stopVm(); // what was there when it ran counts the other one as well
  }
}
