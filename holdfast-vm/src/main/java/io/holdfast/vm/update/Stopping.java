package io.holdfast.vm.update;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.participant.Step;
import io.holdfast.core.state.Operation;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.file.StorageCalls;
import io.holdfast.linux.file.StorageHangsException;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Hotplug;
import io.holdfast.vm.Vm;
import io.holdfast.vm.device.disk.Images;
import io.holdfast.vm.qemu.MigrationSettings;
import io.holdfast.vm.qemu.QemuProcess;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.qemu.RunState;
import io.holdfast.vm.qemu.StoppedTime;
import io.holdfast.vm.spec.Findings;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.locks.LockSupport;

/**
 * How the QEMU that runs a guest when an update begins is stopped, gives its device state away, and
 * is let run again if the update is cancelled: the same for another QEMU and for another kernel.
 */
final class Stopping {
  /** The journal's key for a guest that was stopped, or is about to be. */
  static final String STOPPED = "stopped";

  /** The journal's key for a guest that was found paused, which nobody lets run. */
  static final String PAUSED = "paused";

  /** The journal's key for what migrations of the predecessor were set to before the update. */
  static final String SETTINGS = "migration";

  private static final String OUT = "holdfast-out";
  private static final Duration SOON = Duration.ofMillis(2);

  private final Linux linux;
  private final Vm vm;
  private final GuestClock clock;
  private final QemuProcess predecessor;
  private Optional<Qmp.Expectation> stopped = Optional.empty();

  /** QEMU began to write the device state; expected from the first attempt to send it. */
  private Optional<Qmp.Expectation> sending = Optional.empty();

  private boolean storageAnswers = true;

  /** The clocks before the first attempt to stop the guest. */
  private Optional<StoppedTime.Clocks> before = Optional.empty();

  private Optional<Begun> begun = Optional.empty();

  /**
   * The guest was stopped.
   *
   * @param before the clocks before QEMU was told to
   * @param stop QEMU's event
   */
  private record Begun(StoppedTime.Clocks before, JsonObject stop) {}

  Stopping(Linux linux, Vm vm, GuestClock clock) {
    this.linux = linux;
    this.vm = vm;
    this.clock = clock;
    this.predecessor = vm.process();
  }

  private String name() {
    return vm.spec().name();
  }

  /** That nothing runs the VM any more, if so. */
  Optional<Obstacle> lost() {
    return vm.lost()
        .map(
            why ->
                new Obstacle(
                    "VM " + name(),
                    why,
                    "Stop it with `holdfast vm stop "
                        + name()
                        + "`, then run it again from its disks."));
  }

  /** Says what keeps the guest from being stopped, or QEMU from giving its state away. */
  RunState plan(Findings findings) throws IOException {
    RunState guest = predecessor.runState();
    if (guest == RunState.PAUSED) {
      findings.preserved("the guest stays paused");
    } else if (guest != RunState.RUNNING) {
      findings.obstacle("the guest of VM " + name(), guest.why(), guest.advice(name()));
    }
    for (String reason : blockers()) {
      findings.obstacle("VM " + name(), reason, "Remove what QEMU names, then try again.");
    }
    List<String> foreign = MigrationSettings.of(predecessor.qmp()).foreign();
    if (!foreign.isEmpty()) {
      findings.loss(
          "what somebody has set for migrations of its QEMU: " + String.join(", ", foreign));
    }
    images(findings);
    for (String device : Hotplug.unaccounted(vm.spec(), predecessor.qmp())) {
      findings.obstacle(
          "VM " + name(),
          device,
          "Plug devices in and out with `holdfast vm qmp`; undo this with another QMP client of its"
              + " QEMU.");
    }
    return guest;
  }

  /** Plans the VM's devices. */
  void devices(Findings findings) throws IOException {
    vm.spec().devices().forEach(device -> device.plan(findings));
    ask(findings, findings::missing).orElse(List.of()).forEach(findings::obstacle);
  }

  /**
   * Asks storage something for a plan, unless it has not answered before. That it does not answer
   * is an obstacle.
   */
  <T> Optional<T> ask(Findings findings, StorageCalls.Call<T> question) throws IOException {
    if (!storageAnswers) {
      return Optional.empty();
    }
    try {
      return Optional.of(
          vm.storage().make("reading the images of VM " + name(), Images.PATIENCE, question));
    } catch (StorageHangsException e) {
      storageAnswers = false;
      findings.obstacle(
          "the images of VM " + name(),
          String.valueOf(e.getMessage()),
          "Update when their storage answers again; the guest stays where it is.");
      return Optional.empty();
    }
  }

  private void images(Findings findings) throws IOException {
    storageAnswers = true;
    Set<String> paths = Images.paths(predecessor);
    long pid = predecessor.identity().pid();
    for (String path : ask(findings, () -> vm.images().replaced(pid, paths)).orElse(List.of())) {
      findings.obstacle(
          path,
          "it is another file now than the image that the guest has open, and a successor would"
              + " write to it",
          "Give the guest's image its name back; `ls -l /proc/"
              + pid
              + "/fd` tells what it is called now.");
    }
  }

  /** QEMU's own reasons against migrating, and what runs on its disks. */
  private List<String> blockers() throws QmpException {
    List<String> reasons = new ArrayList<>();
    JsonObject migration = predecessor.qmp().execute("query-migrate").object("return");
    if (migrating(migration)) {
      reasons.add("somebody migrates it: status " + migration.string("status"));
    }
    migration.optionalArray("blocked-reasons").ifPresent(array -> reasons.addAll(array.strings()));
    for (JsonObject job : predecessor.qmp().execute("query-block-jobs").array("return").objects()) {
      reasons.add(
          "a block job is under way: " + job.string("type") + " on " + job.string("device"));
    }
    return reasons;
  }

  /**
   * Brownout: all that can be done before the guest stops.
   *
   * @param out a stream socket that the device state is to be written to; QEMU gets a duplicate
   */
  void prepare(Step step, Fd out) throws QmpException {
    MigrationSettings found = MigrationSettings.of(predecessor.qmp());
    if (step.recorded(SETTINGS).isEmpty()) {
      // A repeated call finds the settings of this update.
      step.record(SETTINGS, found.json().toString());
    }
    found.replace(predecessor.qmp());
    give(predecessor, OUT, out);
    if (predecessor.runState() == RunState.RUNNING) {
      clock.prepare(step);
    }
  }

  /** Brownout, last: from now on it is heard when the guest stops. */
  void expect() throws QmpException {
    stopped.ifPresent(Qmp.Expectation::forget);
    stopped = Optional.of(predecessor.qmp().expect("STOP"));
  }

  static void give(QemuProcess to, String name, Fd fd) throws QmpException {
    var _ = to.qmp().execute("getfd", JsonObject.of("fdname", name), Qmp.COMMAND, List.of(fd));
  }

  /**
   * Stops the guest. May be called again.
   *
   * @return false if it was paused before the update, and nothing had to be done
   */
  boolean stop(Step step) throws IOException {
    RunState guest = predecessor.runState();
    boolean again = step.recorded(STOPPED).isPresent();
    if (guest == RunState.PAUSED && !again) {
      // Whoever goes on from here, successor, predecessor or another agent, leaves it paused.
      step.record(PAUSED, "yes");
      vm.backends().frozen(vm.generation());
      return false;
    }
    if (guest == RunState.HANDED_OVER && sending.isPresent()) {
      // An earlier call of this update came as far as that.
      vm.backends().frozen(vm.generation());
      return again;
    }
    if (guest != RunState.RUNNING && guest != RunState.PAUSED) {
      // By itself, since the plan.
      throw new IOException(guest.why() + ". " + guest.advice(name()));
    }
    if (!again) {
      step.record(STOPPED, "yes");
    }
    StoppedTime.Clocks first = before.orElseGet(StoppedTime.Clocks::read);
    before = Optional.of(first);
    if (guest == RunState.RUNNING) {
      var _ = predecessor.qmp().execute("stop", JsonObject.empty(), step.remaining(), List.of());
    }
    JsonObject stop = stopped.orElseThrow().await(step.remaining());
    begun = Optional.of(new Begun(first, stop));
    vm.backends().frozen(vm.generation());
    return true;
  }

  /**
   * Lets QEMU write the device state, which it does after this has returned. Does nothing if an
   * earlier call made QEMU begin.
   */
  void send(Step step) throws IOException {
    if (sending.isPresent()) {
      // QEMU emits the event before it answers a later command.
      var _ = predecessor.qmp().execute("query-migrate");
      if (sending.get().hasCome()) {
        return;
      }
    } else {
      sending = Optional.of(predecessor.qmp().expectMigration("setup"));
    }
    var _ =
        predecessor
            .qmp()
            .execute("migrate", JsonObject.of("uri", "fd:" + OUT), step.remaining(), List.of());
  }

  /**
   * Notes for how long QEMU had the guest stopped; nothing if another agent stopped it.
   *
   * @param resume the event of the QEMU that let it run
   */
  void runs(Step step, JsonObject resume) {
    if (begun.isEmpty()) {
      return;
    }
    StoppedTime.Clocks after = StoppedTime.Clocks.read();
    switch (StoppedTime.between(begun.get().before(), begun.get().stop(), resume, after)) {
      case StoppedTime.Measured(Duration length) ->
          step.note(VmUpdate.STOPPED_FOR, Long.toString(length.toNanos()));
      case StoppedTime.Unknown(String reason) -> step.note(VmUpdate.STOPPED_UNKNOWN, reason);
    }
  }

  /** Nobody waits for its stop, or for its device state, any more. */
  void forget() {
    stopped.ifPresent(Qmp.Expectation::forget);
    sending.ifPresent(Qmp.Expectation::forget);
  }

  /**
   * The update is cancelled: the guest runs on as if nothing had been tried. If its QEMU has ended
   * there is nothing to undo: that is noted under {@link VmUpdate#LOST}.
   *
   * @throws IOException if QEMU does not answer, or refuses; may be called again
   */
  void letRun(Step step) throws IOException {
    step.check(Operation.RUN_GUEST);
    if (predecessor.hasExited()) {
      step.note(
          VmUpdate.LOST,
          "the predecessor of VM "
              + name()
              + " died before its state was sent: the guest is lost"
              + vm.lost().map(why -> ": " + why).orElse("")
              + ". Stop it with `holdfast vm stop "
              + name()
              + "`, and run it again from its disks.");
      return;
    }
    Qmp qmp = predecessor.qmp();
    boolean begun = step.recorded(STOPPED).isPresent() || step.recorded(PAUSED).isPresent();
    if (begun && migrating()) { // else it is somebody else's
      Qmp.Expectation ended = qmp.expectMigration("completed", "failed", "cancelled");
      var _ = qmp.execute("migrate_cancel");
      if (migrating()) {
        var _ = ended.await(step.remaining());
      }
    }
    closeDescriptor(qmp);
    if (step.recorded(PAUSED).isPresent()) {
      step.note(VmUpdate.GUEST, VmUpdate.STAYS_PAUSED);
    } else if (step.recorded(STOPPED).isPresent()) {
      RunState guest = predecessor.runState();
      // One that stopped by itself did so after an earlier attempt had let it run.
      if (guest != RunState.RUNNING && !guest.byItself()) {
        Qmp.Expectation resumed = qmp.expect("RESUME");
        cont(qmp, step);
        // It comes before the reply; without it the report has the controller's view only.
        resumed.seen().ifPresent(event -> runs(step, event));
      }
    }
    Priority.restore(linux, predecessor);
    restoreSettings(step);
  }

  /** A migration that has failed is finalized a moment later, and until then QEMU refuses. */
  private static void cont(Qmp qmp, Step step) throws QmpException {
    while (true) {
      try {
        var _ = qmp.execute("cont");
        return;
      } catch (QmpException e) {
        boolean later = String.valueOf(e.getMessage()).contains("Migration is not finalized");
        if (!later || !step.remaining().minus(SOON).isPositive()) {
          throw e;
        }
        LockSupport.parkNanos(SOON.toNanos());
      }
    }
  }

  /** A migration that somebody else may want of it is to be as they have set it. */
  private void restoreSettings(Step step) throws QmpException {
    Optional<String> found = step.recorded(SETTINGS);
    if (found.isEmpty()) {
      return;
    }
    try {
      MigrationSettings.of(Json.parse(found.get())).restore(predecessor.qmp());
    } catch (QmpException e) {
      if (e.late()) {
        throw e;
      }
      // The guest runs, and QEMU would refuse it again.
      step.note("migration.settings", "not put back: " + e.getMessage());
    } catch (JsonException e) {
      step.note("migration.settings", "not put back: " + e.getMessage());
    }
  }

  /** After {@link #letRun}: the guest has stood still for nothing. */
  void correctClock(Step step) {
    if (step.recorded(STOPPED).isPresent() && !predecessor.hasExited()) {
      clock.correct(step);
    }
  }

  /** A descriptor that was given but never used is QEMU's until it is told otherwise. */
  private static void closeDescriptor(Qmp qmp) throws QmpException {
    try {
      var _ = qmp.execute("closefd", JsonObject.of("fdname", OUT));
    } catch (QmpException e) {
      if (e.late()) {
        throw e;
      }
      System.getLogger(Stopping.class.getName())
          .log(System.Logger.Level.DEBUG, "not given, or used up by the migration", e);
    }
  }

  private boolean migrating() throws QmpException {
    return migrating(predecessor.qmp().execute("query-migrate").object("return"));
  }

  private static boolean migrating(JsonObject state) {
    String status = state.optionalString("status").orElse("none");
    return switch (status) {
      case "setup",
          "active",
          "device",
          "pre-switchover",
          "cancelling",
          "wait-unplug",
          "postcopy-active" ->
          true;
      default -> false;
    };
  }
}
