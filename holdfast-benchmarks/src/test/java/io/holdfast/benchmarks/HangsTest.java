package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.FaultyAgent.Fault;
import io.holdfast.benchmarks.FaultyAgent.Victim;
import io.holdfast.linux.Call;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** A QEMU that hangs is not dead: what could not be undone is undone when it answers again. */
@Tag("guest")
@Promise("slow-is-not-dead")
class HangsTest {
  private final Host host;

  HangsTest() throws IOException, InterruptedException {
    host = Host.start();
  }

  @AfterEach
  void end() throws IOException {
    host.close();
  }

  private void runVm(String disk) {
    runVm(disk, JsonObject.empty());
  }

  private void runVm(String disk, JsonObject more) {
    // A guest whose QEMU was stopped by a signal finds that time has passed: 26 s, for which its
    // watchdog would bark at half of this.
    JsonObject definition = host.definition(Host.qemu());
    for (String key : more.keys()) {
      definition = definition.with(key, more.get(key).orElseThrow());
    }
    String append = definition.string("append") + " watchdog_thresh=60";
    JsonObject image = JsonObject.of("path", disk, "format", "qcow2");
    var _ = host.runVm(definition.with("append", append).with("disks", List.of(image)));
  }

  /** The guest is stopped and its QEMU hangs: the update is cancelled, and can't be undone. */
  private JsonObject hang(String record) throws IOException {
    rehearse();
    host.arm(new Fault(true, Call.WRITE, record, Victim.PREDECESSOR_HANGS));
    JsonObject report = host.update(Host.qemu());
    assertThat(host.armed()).isFalse();
    return stuck(report);
  }

  /** The crossing is tried once per agent: the fault is meant for the update. */
  private void rehearse() {
    JsonObject dry = JsonObject.of("name", Host.VM, "qemu", Host.qemu(), "dryRun", true);
    var _ = host.call("Update.Vmm", dry);
  }

  private JsonObject stuck(JsonObject report) {
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("stuck");
    assertThat(report.string("message"))
        .contains("did not answer")
        .contains("tried again every few seconds")
        .contains("`holdfast vm stop");
    assertHeld(report.string("id"));
    return report;
  }

  private void assertHeld(String update) {
    JsonObject listed = host.call("Vm.List", JsonObject.empty()).array("vms").objects().getFirst();
    assertThat(listed.string("state")).as("%s", listed).isEqualTo("stuck");
    assertThat(listed.string("reason")).contains(update).contains("did not answer");
    JsonObject name = JsonObject.of("name", Host.VM);
    for (String method : new String[] {"Update.Vmm", "Vm.Pause", "Vm.Resume"}) {
      assertThatThrownBy(() -> host.call(method, name))
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("update " + update + " can't go on")
          .hasMessageContaining("`holdfast vm stop " + Host.VM + "`");
    }
    assertThat(Host.qemus(host.run())).as("only the one that has the guest").hasSize(1);
  }

  private void goOn() {
    StallingFile.signal("-CONT", Host.recordedProcess(host.run()));
  }

  private void assertUndone(String update) {
    Host.await("the guest runs again", () -> host.show().string("state").equals("running"));
    host.assertWhole();
    JsonObject report = host.call("Update.Show", JsonObject.of("id", update)).object("report");
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("cancelled");
    assertThat(report.string("message")).contains("VM vm1 runs on its predecessor");
    JsonObject next = host.update(Host.qemu());
    assertThat(next.string("outcome")).as("%s", next).isEqualTo("completed");
    host.assertWhole();
  }

  @Test
  void cancelHoldsWhenTheQemuAnswersAgain() throws IOException {
    runVm(host.disk().toString());
    JsonObject report = hang("^fact \\S+ vm1 stopped ");
    goOn();
    assertUndone(report.string("id"));
    // With its state on its way.
    report = hang("^entered \\S+ FROZEN ");
    goOn();
    assertUndone(report.string("id"));
  }

  @Test
  void cancelHoldsWhenTheNextAgentCanAskTheQemu() throws IOException {
    runVm(host.disk().toString());
    JsonObject report = hang("^fact \\S+ vm1 stopped ");
    host.killAgent();
    host.startAgent();
    JsonObject vm = host.show();
    assertThat(vm.string("state")).as("%s", vm).isEqualTo("unknown");
    assertThat(vm.string("reason")).contains("kill -CONT " + Host.recordedProcess(host.run()));
    goOn();
    assertUndone(report.string("id"));
  }

  /** The agent is killed at this record, and the QEMU that the guest goes to is stopped. */
  private long hangSuccessor(boolean after, String record) throws IOException {
    rehearse();
    long predecessor = Host.recordedProcess(host.run());
    host.arm(new Fault(after, Call.WRITE, record, Victim.AGENT));
    assertThatThrownBy(() -> host.update(Host.qemu()))
        .isInstanceOf(VarlinkConnectionException.class);
    host.awaitAgentDeath();
    List<Long> others = new ArrayList<>(Host.qemus(host.run()));
    others.remove(predecessor);
    assertThat(others).hasSize(1);
    long successor = others.getFirst();
    StallingFile.signal("-STOP", successor);
    Host.await("a stopped successor", () -> Host.stopped(successor));
    host.startAgent();
    return successor;
  }

  private void goOn(long successor) {
    StallingFile.signal("-CONT", successor);
    Host.await("the guest runs", () -> host.show().string("state").equals("running"));
    host.assertWhole();
    assertThat(host.show().number("generation")).isEqualTo(2);
  }

  @Test
  void updateIsFinishedWhenTheSuccessorAnswersTheNextAgentAgain() throws IOException {
    runVm(host.disk().toString());
    long successor = hangSuccessor(true, "^fact \\S+ vm1 runs ");
    JsonObject vm = host.show();
    assertThat(vm.string("state")).as("%s", vm).isEqualTo("stuck");
    assertThat(vm.string("reason")).contains("process " + successor + " does not answer");
    goOn(successor);
  }

  /** The record names the successor already. */
  @Test
  void vmIsTakenBackWhenTheSuccessorAnswersTheNextAgentAgain() throws IOException {
    runVm(host.disk().toString());
    long successor = hangSuccessor(false, "^entered \\S+ NORMAL ");
    JsonObject vm = host.show();
    assertThat(vm.string("state")).as("%s", vm).isEqualTo("unknown");
    assertThat(vm.string("reason")).contains("kill -CONT " + successor);
    goOn(successor);
  }

  /** The guest's disk is on a FUSE file system whose daemon hangs when the guest is stopped. */
  @Test
  @Promise({"slow-is-not-dead", "kernel-plan"})
  void cancelHoldsWhenStalledStorageIsBack() throws IOException, InterruptedException {
    assumeTrue(Linux.system().effectiveUser() == 0, "needs root, to mount a FUSE file system");
    try (StallingFile image = StallingFile.over(host.disk())) {
      runVm(image.path().toString());
      assertKeepsFromAKexec(image.path());
      assertRefusedWhileStorageStalls(image);
      rehearse();
      host.arm(new Fault(true, Call.WRITE, "^entered \\S+ PREPARED ", Victim.NOBODY));
      Thread stall =
          Thread.ofPlatform()
              .start(
                  () -> {
                    Host.await("the end of the brownout", () -> !host.armed());
                    image.stall();
                  });
      JsonObject report = host.update(Host.qemu());
      stall.join();
      JsonObject _ = stuck(report);
      image.goOn();
      assertUndone(report.string("id"));
      assertGoesOnWhenStorageStallsBeforeTheCommit(image);
      host.stopVm();
    }
  }

  /** The successor's images are compared with the guest's once more then. */
  private void assertGoesOnWhenStorageStallsBeforeTheCommit(StallingFile image)
      throws IOException, InterruptedException {
    host.arm(new Fault(true, Call.WRITE, "^entered \\S+ RESTORING ", Victim.NOBODY));
    AtomicBoolean ended = new AtomicBoolean();
    Thread stall =
        Thread.ofPlatform()
            .start(
                () -> {
                  try {
                    Host.await("the state's way", () -> !host.armed());
                    image.stall();
                    // An agent that waited for storage would be in the update for ever.
                    Host.await("the end", () -> !host.show().string("state").equals("updating"));
                    ended.set(true);
                  } finally {
                    image.goOn();
                  }
                });
    JsonObject report = host.update(Host.qemu());
    stall.join();
    assertThat(ended).as("the update ended while storage was stalled: %s", report).isTrue();
    assertThat(report.string("outcome")).as("%s", report).isIn("cancelled", "stuck");
    Host.await("the guest runs", () -> host.show().string("state").equals("running"));
    host.assertWhole();
  }

  /** A plan is refused that cannot read the images. */
  private void assertRefusedWhileStorageStalls(StallingFile image) {
    image.stall();
    try {
      JsonObject dry = JsonObject.of("name", Host.VM, "qemu", Host.qemu(), "dryRun", true);
      // The kernel knows the file's attributes for a moment.
      Host.await(
          "a refusal",
          () -> host.call("Update.Vmm", dry).object("report").string("outcome").equals("refused"));
    } finally {
      image.goOn();
    }
    rehearse();
  }

  /** A command that changes the machine, whose QEMU hangs before it. */
  private void late(String command, JsonObject arguments) throws IOException {
    String sent = "\"execute\": ?\"" + command + "\"";
    host.arm(new Fault(false, Call.SENDMSG, sent, Victim.PREDECESSOR_HANGS));
    JsonObject call = JsonObject.of("name", Host.VM, "command", command, "arguments", arguments);
    assertThatThrownBy(() -> host.call("Vm.Qmp", call))
        .isInstanceOf(VarlinkException.class)
        .hasMessageContaining("did not answer " + command)
        .hasMessageContaining("is taken until QEMU answers");
    assertThat(host.armed()).isFalse();
    assertThatThrownBy(() -> host.update(Host.qemu()))
        .isInstanceOf(VarlinkException.class)
        .hasMessageContaining(command + ", which QEMU has not answered yet");
  }

  /** QEMU inserts a medium when nobody waits for that any more: the record has none then. */
  private void assertMediumCanBeChangedThatWasChangedLate() throws IOException {
    Path late = Files.write(host.directory().resolve("late.iso"), new byte[4096]);
    Path next = Files.write(host.directory().resolve("next.iso"), new byte[8192]);
    host.arm(new Fault(false, Call.SENDMSG, "blockdev-insert-medium", Victim.PREDECESSOR_HANGS));
    assertThatThrownBy(() -> change(late))
        .isInstanceOf(VarlinkException.class)
        .hasMessageContaining("did not answer blockdev-insert-medium");
    goOn();
    Host.await("the medium", () -> drives().contains(late.toString()));
    assertThatThrownBy(() -> change(host.directory().resolve("missing.iso")))
        .isInstanceOf(VarlinkException.class);
    assertThat(drives()).contains(late.toString());
    change(next);
    assertThat(drives()).contains(next.toString()).doesNotContain(late.toString());
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    assertThat(drives()).contains(next.toString()).doesNotContain(late.toString());
  }

  private void change(Path medium) {
    JsonObject _ =
        host.call(
            "Vm.Media",
            JsonObject.of("name", Host.VM, "drive", "cdrom0", "medium", medium.toString()));
  }

  private String drives() {
    return host.call("Vm.Qmp", JsonObject.of("name", Host.VM, "command", "query-block")).toString();
  }

  /** Successors have a device that was plugged in when nobody waited for that any more. */
  @Test
  @Promise("hot-plug")
  void recordsADeviceThatQemuPlugsInLate() throws IOException {
    JsonObject drive = JsonObject.of("cdroms", List.of(JsonObject.empty()));
    runVm(host.disk().toString(), drive.with("hotplugPorts", 1));
    late("device_add", JsonObject.of("driver", "virtio-rng-pci", "id", "rng", "bus", "port0"));
    goOn();
    Host.await("the answer", host::isFree);
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    host.assertWhole();
    JsonObject list = JsonObject.of("path", "/machine/peripheral");
    JsonObject ask = JsonObject.of("name", Host.VM, "command", "qom-list", "arguments", list);
    assertThat(host.call("Vm.Qmp", ask).toString()).contains("\"rng\"");
    assertMediumCanBeChangedThatWasChangedLate();
    late("object-add", JsonObject.of("qom-type", "iothread", "id", "worker"));
    host.stopVm();
    host.assertEmpty();
  }

  /** The daemon would end before the guest freezes. */
  private void assertKeepsFromAKexec(Path image) {
    JsonObject plan =
        host.call(
                "Update.Kernel",
                JsonObject.of("kernel", Host.qemu(), "commandLine", "kho=on", "dryRun", true))
            .object("report");
    assertThat(plan.array("obstacles").objects())
        .anySatisfy(
            obstacle -> {
              assertThat(obstacle.string("what")).isEqualTo("image " + image);
              assertThat(obstacle.string("why")).contains("fuse", "ends before the guest stops");
            });
  }

  /** The record of the successor can't be written when the predecessor has ended. */
  @Test
  void finishIsTriedAgainInTheSameAgent() throws IOException {
    runVm(host.disk().toString());
    Path inTheWay = host.run().resolve("vms/" + Host.VM + "/vm.json.new");
    Files.createDirectory(inTheWay);
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("stuck");
    assertThat(report.string("message")).contains(inTheWay.toString());
    assertThat(host.show().string("state")).isEqualTo("stuck");
    Files.delete(inTheWay);
    Host.await("it is finished", () -> host.show().string("state").equals("running"));
    host.assertWhole();
    JsonObject id = JsonObject.of("id", report.string("id"));
    report = host.call("Update.Show", id).object("report");
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("recovered");
  }

  /** Its record names the predecessor, which has ended, and the guest is in the successor. */
  @Test
  void vmWhoseUpdateHasYetToEndIsNotShownAsLost() throws IOException {
    runVm(host.disk().toString());
    Path inTheWay = host.run().resolve("vms/" + Host.VM + "/vm.json.new");
    Files.createDirectory(inTheWay);
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("stuck");
    host.killAgent();
    long successor = Host.qemus(host.run()).getFirst();
    StallingFile.signal("-STOP", successor);
    Host.await("a stopped successor", () -> Host.stopped(successor));
    host.startAgent();
    JsonObject vm = host.show();
    assertThat(vm.string("state")).as("%s", vm).isEqualTo("stuck");
    assertThat(vm.string("reason")).contains("update " + report.string("id") + " can't go on");
    Files.delete(inTheWay);
    goOn(successor);
  }

  @Test
  void stopEndsAVmThatIsStuck() throws IOException {
    runVm(host.disk().toString());
    JsonObject _ = hang("^fact \\S+ vm1 stopped ");
    host.stopVm();
    host.assertEmpty();
  }
}
