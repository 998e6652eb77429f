package io.holdfast.vm.probe;

import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.qemu.DeviceTree;
import io.holdfast.vm.qemu.QemuUnusableException;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.spec.Findings;
import java.io.IOException;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Optional;
import java.util.SortedSet;
import java.util.TreeSet;

/**
 * What is known of two binaries and a VM besides a trial: whether an update between them failed
 * before, and which formats of device state the second one does not load.
 */
public final class Pairing {
  private final QemuProbe probe;
  private final String from;
  private final String to;
  private final String machine;
  private final SortedSet<String> devices;
  private final FailedPairs.Pair pair;

  private Pairing(
      QemuProbe probe, String from, String to, String machine, SortedSet<String> devices)
      throws QemuUnusableException {
    this.probe = probe;
    this.from = from;
    this.to = to;
    this.machine = machine;
    this.devices = devices;
    this.pair =
        new FailedPairs.Pair(BinaryIdentity.of(from), BinaryIdentity.of(to), machine, devices);
  }

  /**
   * Looks at a running VM.
   *
   * @param qmp of the QEMU that runs it
   * @param from path of the binary that saves the device state
   * @param to path of the binary that loads it
   * @param machine the VM's machine type
   * @return empty if one of the binaries is gone
   */
  public static Optional<Pairing> of(
      QemuProbe probe, Qmp qmp, String from, String to, String machine) throws QmpException {
    String printed =
        qmp.execute("human-monitor-command", JsonObject.of("command-line", "info qtree"))
            .string("return");
    SortedSet<String> devices = new TreeSet<>();
    DeviceTree.parse(printed).devices().forEach(device -> devices.add(device.driver()));
    try {
      return Optional.of(new Pairing(probe, from, to, machine, devices));
    } catch (QemuUnusableException _) {
      // The trial says it better.
      return Optional.empty();
    }
  }

  /**
   * Refuses a pair that failed before.
   *
   * @param into the second binary, for people
   */
  public void before(String into, Findings findings) {
    FailedPairs failed = probe.failedPairs();
    FailedPairs.Contents contents = failed.read();
    contents
        .complaints()
        .forEach(
            complaint ->
                findings.risk("a pair of QEMUs that failed before may not be known: " + complaint));
    contents
        .of(pair)
        .ifPresent(
            failure ->
                findings.obstacle(
                    into,
                    "an update like this one failed at %s with the guest stopped: %s"
                        .formatted(failure.when(), failure.why()),
                    "Update to another build of QEMU. To try this one again nevertheless, remove"
                        + " line %d of %s.".formatted(failure.line(), failed.file())));
  }

  /** Names what the devices may send and the second binary does not load. */
  public void risks(String into, Findings findings) {
    if (pair.from().equals(pair.to())) {
      return;
    }
    try {
      VmState here = probe.states().of(from, machine);
      VmState there = probe.states().of(to, machine);
      here.unloadable(there, devices)
          .forEach(
              what ->
                  findings.risk(
                      what + ", which " + into + " does not load; the update is cancelled then"));
    } catch (IOException e) {
      findings.risk(
          "whether "
              + into
              + " loads all that devices in use may send could not be compared: "
              + e.getMessage());
    }
  }

  /**
   * Remembers that the second binary did not load the state of the first.
   *
   * @param why its own words
   * @return what is to be said of it
   */
  public String failed(String why) {
    FailedPairs failed = probe.failedPairs();
    try {
      failed.add(pair, Instant.now().truncatedTo(ChronoUnit.SECONDS).toString(), why);
      return "; the next plan refuses this pair (" + failed.file() + ")";
    } catch (IOException e) {
      return "; the next plan should refuse this pair, but it could not be written down: " + e;
    }
  }
}
