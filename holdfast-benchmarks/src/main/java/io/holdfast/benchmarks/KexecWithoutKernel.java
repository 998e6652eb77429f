package io.holdfast.benchmarks;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import io.holdfast.kexec.depart.Departure;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.update.VmUpdate;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Makes of what an agent left that died at the commit of a VM's update, its successor with it, what
 * an update of the kernel leaves on the other side once its sessions are unpacked. So the way back
 * from there can be gone on any machine, with real VMs and without a kexec.
 */
final class KexecWithoutKernel {
  private KexecWithoutKernel() {}

  /**
   * Ends the fenced predecessor, and rewrites the VM's record and the update's journal. No agent
   * may run.
   *
   * @param run the run directory
   * @param vm the VM's name
   * @param others names of VMs that came along in the same update
   */
  static void arrive(Path run, String vm, String... others) throws IOException {
    List<String> participants = new ArrayList<>(List.of(others));
    participants.addAll(List.of(vm, Departure.NAME));
    Path record = run.resolve("vms/" + vm + "/vm.json");
    JsonObject before = Json.parse(Files.readString(record));
    ProcessIdentity fenced = ProcessIdentity.parse(before.string("process"));
    ProcessHandle.of(fenced.pid()).ifPresent(ProcessHandle::destroyForcibly);
    Files.writeString(record, before.with("process", ProcessIdentity.NOBODY.toString()).pretty());
    try (DirectoryStream<Path> journals =
        Files.newDirectoryStream(run.resolve("updates"), "*-" + vm + "-*.journal")) {
      for (Path journal : journals) {
        ByteArrayOutputStream arrived = new ByteArrayOutputStream();
        for (JournalRecord each :
            JournalText.decode(Files.readAllBytes(journal)).records().stream()
                .filter(KexecWithoutKernel::crosses)
                .toList()) {
          arrived.writeBytes(
              JournalText.encode(
                  each instanceof JournalRecord.Began began
                      ? new JournalRecord.Began(
                          began.update(),
                          CarrierKind.KEXEC,
                          began.at(),
                          participants,
                          began.instances())
                      : each));
        }
        Files.write(journal, arrived.toByteArray());
      }
    }
  }

  /** What is written before the reboot call; and nobody has started a successor there. */
  private static boolean crosses(JournalRecord record) {
    if (record instanceof JournalRecord.Entered entered) {
      return entered.state().compareTo(UpdateState.HANDED_OVER) <= 0;
    }
    return !(record instanceof JournalRecord.Fact fact && fact.key().equals(VmUpdate.SUCCESSOR));
  }
}
