package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Signal;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.update.VmUpdate;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** A VM of which an agent can't tell holds its name and all it has, until it can be told again. */
@Tag("guest")
@Promise("unknown-is-not-absent")
class UnknownTest {
  private static final Pattern WITHIN = Pattern.compile("query-status within (\\d+) ms");
  private final Host host;

  UnknownTest() throws IOException, InterruptedException {
    host = Host.start();
  }

  @AfterEach
  void end() throws IOException {
    host.close();
  }

  private Path vm() {
    return host.run().resolve("vms").resolve(Host.VM);
  }

  private JsonObject listed() {
    return host.call("Vm.List", JsonObject.empty()).array("vms").objects().getFirst();
  }

  private void assertHeld(String why) {
    JsonObject listed = listed();
    assertThat(listed.string("name")).isEqualTo(Host.VM);
    assertThat(listed.string("state")).as("%s", listed).isEqualTo("unknown");
    assertThat(listed.string("reason")).contains(why);
    assertThat(host.show().string("state")).isEqualTo("unknown");
    JsonObject name = JsonObject.of("name", Host.VM);
    for (Runnable each :
        new Runnable[] {
          () -> host.call("Vm.Run", JsonObject.of("definition", host.definition(Host.qemu()))),
          () -> host.call("Vm.Adopt", name.with("qmp", "/nowhere").with("dryRun", true)),
          () -> host.call("Vm.Stop", name),
          () -> host.call("Update.Vmm", name),
          () -> host.call("Update.Vmms", JsonObject.empty())
        }) {
      assertThatThrownBy(each::run)
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("is unknown")
          .hasMessageContaining(why);
    }
    assertThat(Host.qemus(host.run())).as("it runs on").hasSize(1);
  }

  private void assertTakenBack() {
    Host.await("the VM is taken back", () -> listed().string("state").equals("running"));
    host.assertWhole();
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    host.assertWhole();
  }

  /** As one that does not answer in time. */
  @Test
  void aQemuThatCanNotBeAskedAcrossARestartOfTheAgent() throws IOException {
    host.runVm(Host.qemu());
    host.killAgent();
    Path socket = vm().resolve("generation-1/qmp.sock");
    Path aside = vm().resolve("generation-1/aside.sock");
    Files.move(socket, aside);
    host.startAgent();
    assertHeld("does not answer");
    // Another agent knows no more, and takes nothing away either.
    host.killAgent();
    host.startAgent();
    assertHeld("does not answer");
    Files.move(aside, socket);
    assertTakenBack();
  }

  /** Here the log before its console's: what is there is no file. */
  @Test
  @Promise("hot-plug")
  void aVmOfWhichNotAllCanBeOpened() throws IOException {
    host.runVm(Host.qemu());
    host.killAgent();
    Path log = vm().resolve("console.log.1");
    Linux.system().listen(log, 1).close();
    host.startAgent();
    assertHeld(log.toString());
    Files.delete(log);
    assertTakenBack();
    // A VM runs without its QMP channel, which is opened when that can be done.
    host.killAgent();
    Path channel = vm().resolve("qmp.sock");
    Files.delete(channel);
    Path blocker = Files.createFile(Files.createDirectory(channel).resolve("blocker"));
    host.startAgent();
    Host.await("the VM is taken back", () -> listed().string("state").equals("running"));
    assertThat(channel).isDirectory();
    Files.delete(blocker);
    Host.await("the QMP channel", () -> Files.exists(channel) && !Files.isDirectory(channel));
    new QmpEvents(host.run(), Host.VM).close();
    host.assertWhole();
  }

  /** Those that hang are waited for together, and the others are listed as ever. */
  @Test
  @Promise("slow-is-not-dead")
  void qemusThatHangAreUnknownAmongTheOthers() throws IOException {
    host.runVm(Host.qemu());
    List<String> hung = List.of("hung1", "hung2", "hung3");
    for (String name : hung) {
      Path disk = host.directory().resolve(name + ".qcow2");
      RunningGuest.image(disk);
      JsonObject _ =
          host.call(
              "Vm.Run",
              JsonObject.of(
                  "definition",
                  JsonObject.of(
                      "name",
                      name,
                      "qemu",
                      Host.qemu(),
                      "memory",
                      32 << 20,
                      "cpus",
                      1,
                      "accelerator",
                      "tcg",
                      "disks",
                      List.of(JsonObject.of("path", disk.toString())),
                      "extra",
                      List.of())));
      signal(name, Signal.STOP);
    }
    long began = System.nanoTime();
    for (JsonObject vm : host.call("Vm.List", JsonObject.empty()).array("vms").objects()) {
      boolean hangs = hung.contains(vm.string("name"));
      assertThat(vm.string("state")).as("%s", vm).isEqualTo(hangs ? "unknown" : "running");
      if (hangs) {
        Matcher within = WITHIN.matcher(vm.string("reason"));
        assertThat(within.find()).as("%s", vm).isTrue();
        assertThat(Long.parseLong(within.group(1))).isGreaterThanOrEqualTo(1900);
      }
    }
    // One after the other each would be waited for as long as the answer to any command.
    assertThat(Duration.ofNanos(System.nanoTime() - began))
        .isLessThan(Qmp.COMMAND.multipliedBy(hung.size()));
    for (String name : hung) {
      signal(name, Signal.CONT);
      Host.await(name, () -> show(name).string("state").equals("running"));
      JsonObject _ = host.call("Vm.Stop", JsonObject.of("name", name));
    }
    host.assertWhole();
  }

  /** As on storage that hangs: the record of one is a FIFO that nobody writes to. */
  @Test
  @Promise("slow-is-not-dead")
  void anAgentServesTheOthersWhileItTakesOneBack() throws IOException, InterruptedException {
    host.runVm(Host.qemu());
    host.killAgent();
    Path hung = Files.createDirectory(host.run().resolve("vms/hung"));
    Path record = hung.resolve("vm.json");
    assertThat(new ProcessBuilder("mkfifo", record.toString()).start().waitFor()).isZero();
    host.startAgentUntilItAnswers();
    Host.await("vm1 is taken back", () -> show(Host.VM).string("state").equals("running"));
    List<JsonObject> listed = host.call("Vm.List", JsonObject.empty()).array("vms").objects();
    assertThat(listed).hasSize(2);
    assertThat(listed.getFirst().string("state")).as("%s", listed.getFirst()).isEqualTo("unknown");
    assertThat(listed.getFirst().string("reason")).contains("being taken back");
    assertThat(host.call("Agent.Status", JsonObject.empty()).number("recovering")).isEqualTo(1);
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    // As that of an update that has just been asked for.
    Path live = host.run().resolve("updates/20260101-000000-" + Host.VM + "-1.journal");
    Files.createFile(live);
    // Who names it waits, and is told what became of it.
    CompletableFuture<JsonObject> waiting = CompletableFuture.supplyAsync(() -> show("hung"));
    Path damaged = Files.writeString(hung.resolve("damaged"), "{");
    try (OutputStream writer = Files.newOutputStream(record)) {
      Files.move(damaged, record, StandardCopyOption.ATOMIC_MOVE);
      writer.write('{');
    }
    assertThat(waiting.join().string("reason")).contains("vm.json is damaged");
    Host.await("the agent is ready", () -> host.said().contains(Host.READY));
    Files.delete(live);
    Files.delete(record);
    Host.await(
        "what is left of it is removed",
        () -> host.call("Vm.List", JsonObject.empty()).array("vms").size() == 1);
    host.assertWhole();
  }

  private JsonObject show(String name) {
    return host.call("Vm.Show", JsonObject.of("name", name)).object("vm");
  }

  private void signal(String name, Signal signal) {
    int pid = Math.toIntExact(show(name).number("pid"));
    try (PidFd process = Linux.system().pidfd(pid)) {
      assertThat(process.signal(signal)).isTrue();
    }
  }

  @Test
  @Promise("formats")
  void aRecordThatCanNotBeRead() throws IOException {
    host.runVm(Host.qemu());
    host.killAgent();
    Path record = vm().resolve("vm.json");
    byte[] sound = Files.readAllBytes(record);
    Files.write(record, Arrays.copyOf(sound, sound.length / 2));
    host.startAgent();
    assertHeld("vm.json is damaged");
    host.killAgent();
    Files.writeString(
        record, new String(sound, StandardCharsets.UTF_8).replace("\"disk\"", "\"disc\""));
    host.startAgent();
    assertHeld("disc");
    host.killAgent();
    Files.writeString(
        record,
        new String(sound, StandardCharsets.UTF_8).replace("\"format\": 1", "\"format\": 2"));
    host.startAgent();
    assertHeld("is of format 2, and this Holdfast reads formats 0 and 1");
    Path mended = Files.write(vm().resolve("vm.json.new"), sound);
    Files.move(mended, record, StandardCopyOption.ATOMIC_MOVE);
    assertTakenBack();
  }

  /** It may say that the guest is paused, or has a successor. */
  @Test
  void aJournalThatCanNotBeRead() throws IOException {
    host.runVm(Host.qemu());
    String id = "20260101-000000-" + Host.VM + "-1";
    Path journal = host.run().resolve("updates/" + id + ".journal");
    Files.writeString(journal, "began " + id + " EXEC 17\nentered " + id + "\n");
    host.killAgent();
    host.startAgent();
    JsonObject listed = listed();
    assertThat(listed.string("state")).as("%s", listed).isEqualTo("stuck");
    assertThat(listed.string("reason")).contains(journal.toString());
    assertThatThrownBy(() -> host.update(Host.qemu()))
        .isInstanceOf(VarlinkException.class)
        .hasMessageContaining(journal.toString());
    Files.delete(journal);
    assertTakenBack();
    Files.writeString(journal, "began " + id + " EXEC 17\nentered " + id + "\n");
    host.killAgent();
    host.startAgent();
    host.stopVm();
    host.assertEmpty();
  }

  /**
   * The journal of a stopped VM's update must not apply to a later VM of the same name. This one
   * says that the guest may have run in a successor that has died: all that is left is to be ended.
   */
  @Test
  @Promise("formats")
  void aJournalOfAnotherInstance() throws IOException {
    host.runVm(Host.qemu());
    UpdateId id = new UpdateId("20260101-000000-" + Host.VM + "-1");
    Path journal = host.run().resolve("updates/" + id + ".journal");
    ByteArrayOutputStream text = new ByteArrayOutputStream();
    List<JournalRecord> records = new ArrayList<>();
    records.add(
        new JournalRecord.Began(
            id,
            CarrierKind.EXEC,
            Instant.now(),
            List.of(Host.VM),
            Map.of(Host.VM, "0123456789abcdef")));
    for (UpdateState state :
        List.of(UpdateState.PREPARING, UpdateState.COMMITTED, UpdateState.RESUMED)) {
      records.add(new JournalRecord.Entered(id, state, 1));
    }
    records.add(new JournalRecord.Fact(id, Host.VM, VmUpdate.SUCCESSOR, "4194304@1"));
    records.add(new JournalRecord.Fact(id, Host.VM, "runs", "yes"));
    records.forEach(each -> text.writeBytes(JournalText.encode(each)));
    Files.write(journal, text.toByteArray());
    host.killAgent();
    host.startAgent();
    assertThat(journal).doesNotExist();
    assertThat(host.said()).contains("another one has its name");
    assertThat(listed().string("state")).isEqualTo("running");
    host.assertWhole();
  }

  /** The VM's name is nobody's any more. */
  @Test
  @Promise("formats")
  void aJournalOfAVmThatIsGone() throws IOException {
    host.runVm(Host.qemu());
    Path journal = host.run().resolve("updates/20260101-000000-" + Host.VM + "-1.journal");
    String record = "began 20260101-000000-" + Host.VM + "-1 EXEC 1795432800000 " + Host.VM;
    CRC32C crc = new CRC32C();
    crc.update(record.getBytes(StandardCharsets.US_ASCII));
    Files.writeString(journal, record + " %08x%n".formatted(crc.getValue()));
    host.stopVm();
    assertThat(journal).doesNotExist();
    Files.writeString(journal, record + " %08x%n".formatted(crc.getValue()));
    host.killAgent();
    host.startAgent();
    assertThat(journal).doesNotExist();
    assertThat(host.said()).contains("its VM " + Host.VM + " is gone");
  }
}
