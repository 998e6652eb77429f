package io.holdfast.vm.update;

import io.holdfast.core.box.Box;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.run.Patience;
import io.holdfast.core.state.Operation;
import io.holdfast.linux.ExitStatus;
import io.holdfast.linux.Fd;
import io.holdfast.linux.FdPair;
import io.holdfast.linux.Linux;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SocketType;
import io.holdfast.store.VmId;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Hotplug;
import io.holdfast.vm.Memory;
import io.holdfast.vm.Vm;
import io.holdfast.vm.device.disk.ImageLocks;
import io.holdfast.vm.device.disk.Images;
import io.holdfast.vm.device.disk.OpenFiles;
import io.holdfast.vm.probe.Pairing;
import io.holdfast.vm.probe.QemuProbe;
import io.holdfast.vm.probe.Trials;
import io.holdfast.vm.qemu.Correction;
import io.holdfast.vm.qemu.Layout;
import io.holdfast.vm.qemu.QemuBinary;
import io.holdfast.vm.qemu.QemuProcess;
import io.holdfast.vm.qemu.QemuUnusableException;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.qemu.Relay;
import io.holdfast.vm.qemu.RunState;
import io.holdfast.vm.qemu.Urgency;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.Findings;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * A VM as a participant of an update: it gets another QEMU process under it.
 *
 * <p>Brownout: the successor comes up on the same memory and the same specification, with that
 * memory mapped and populated, and both are connected through a {@link Relay}. Blackout: the
 * predecessor stops and its device state flows. After the commit the predecessor is fenced by
 * SIGSTOP, and the successor runs. Then the predecessor is killed.
 */
public final class VmUpdate implements Source, Target {
  /** The journal's key for the path of the QEMU that the update goes to. */
  public static final String TARGET = "target";

  /** The timeline's key for what is special about the guest. */
  public static final String GUEST = "guest";

  /** Its value for a guest that was not let run, because it was paused before. */
  public static final String STAYS_PAUSED = "stays paused";

  /** The timeline's key for how long QEMU had the guest stopped, by its own timestamps, in ns. */
  public static final String STOPPED_FOR = "guest.stopped.ns";

  /** The timeline's key for why that cannot be told. */
  public static final String STOPPED_UNKNOWN = "guest.stopped.unknown";

  /** The timeline's key for why nothing runs the guest any more, found when it was to go on. */
  public static final String LOST = "lost";

  /** The journal's key for the process that the update started. */
  public static final String SUCCESSOR = "successor";

  private static final String STARTING = "starting";
  private static final String RUNS = "runs";

  /** The guest may have run in the successor that is recorded. */
  private static final String PERHAPS = "yes";

  /** That successor died before it was told to run. */
  private static final String NEVER = "no";

  private static final String IN = "holdfast-in";

  /** What a plan says of it. */
  private static final Duration BLACKOUT = Duration.ofMillis(15);

  /**
   * How long the predecessor stays fenced before it is ended. Unmapping the guest's RAM keeps a
   * processor busy for tens of milliseconds, just when the guest runs on cold caches and, under
   * TCG, has its code translated anew.
   */
  private static final Duration SETTLE = Duration.ofMillis(300);

  /**
   * How long a successor that is killed keeps the guest waiting when an update is cancelled: it may
   * hang in the kernel on the same storage.
   */
  private static final Duration SOON = Duration.ofSeconds(3);

  /**
   * How long the images' storage may take to answer while the guest is paused and can resume in its
   * predecessor.
   */
  private static final Duration AGAIN = Patience.of(Duration.ofSeconds(2));

  private final Linux linux;
  private final Vm vm;
  private final QemuProbe probe;
  private final String target;
  private final boolean reversible;
  private final DeviceState deviceState;
  private final GuestClock clock;
  private final QemuProcess predecessor;
  private final Stopping stopping;
  private final int generation;

  private List<Correction> corrections = List.of();
  private Optional<VmSpec> promised = Optional.empty();

  /** What the guest has open, and what Holdfast has given to it. */
  private List<OpenFiles> known = List.of();

  private boolean givenUp;

  /** The successor is up and waits for the device state. */
  private boolean prepared;

  private Optional<Pairing> pairing = Optional.empty();
  private Optional<QemuProcess> successor = Optional.empty();
  private Optional<Relay> relay = Optional.empty();
  private Optional<Qmp.Expectation> loaded = Optional.empty();
  private Optional<Qmp.Expectation> resumed = Optional.empty();

  /** Keeps the copy of the device state where the agent's death does not lose it. */
  public interface DeviceState {
    /** Makes an empty one, kept from now on; the descriptor is the caller's. */
    Fd create(VmId vm);

    /** The one that an earlier agent made; the caller's. Empty if there is none. */
    Optional<Fd> find(VmId vm);

    /** Lets it go. */
    void drop(VmId vm);
  }

  /**
   * Makes a participant for one update.
   *
   * @param target path of the QEMU binary to go to
   * @param reversible whether the plan is to prove the way back, too
   * @param clock what becomes of the guest's wall clock
   */
  public VmUpdate(
      Linux linux,
      Vm vm,
      QemuProbe probe,
      String target,
      boolean reversible,
      DeviceState deviceState,
      GuestClock.Choice clock) {
    this.linux = linux;
    this.vm = vm;
    this.probe = probe;
    this.target = target;
    this.reversible = reversible;
    this.deviceState = deviceState;
    this.clock = new GuestClock(linux, vm, clock);
    this.predecessor = vm.process();
    this.stopping = new Stopping(linux, vm, this.clock);
    this.generation = vm.generation() + 1;
  }

  @Override
  public String name() {
    return vm.spec().name();
  }

  @Override
  public Optional<String> instance() {
    return vm.id().instance();
  }

  @Override
  public List<Box> boxes() {
    return List.of(vm.box());
  }

  @Override
  public Plan plan() throws IOException {
    Findings findings = new Findings();
    Optional<Obstacle> lost = stopping.lost();
    if (lost.isPresent()) {
      return Plan.refused(lost.get());
    }
    RunState guest = stopping.plan(findings);
    String into = target;
    try {
      QemuBinary binary = probe.binary(target);
      into = "QEMU " + binary.version() + " (" + target + ")";
      for (String missing : probe.lacks(binary, vm.spec())) {
        findings.obstacle(
            into,
            "it lacks what the guest was promised: " + missing,
            "Update to a QEMU that has it. A guest that is to run on both needs a machine type"
                + " and a CPU of both from its start, such as --cpu Nehalem.");
      }
      String machine = vm.spec().machine();
      if (!QemuBinary.versioned(machine) && !binary.sameMachinesAs(predecessor.binary())) {
        findings.obstacle(
            into,
            "machine type "
                + machine
                + " has no version: only another QEMU "
                + predecessor.binary().version()
                + " is known to present the same machine",
            "Update to a build of the same version, or start such guests as q35 or pc.");
      }
    } catch (QemuUnusableException e) {
      findings.obstacle(target, e.reason(), e.advice());
    }
    for (ImageLocks.Conflict each :
        ImageLocks.conflicts(predecessor.identity().pid(), Set.of(ProcessHandle.current().pid()))) {
      findings.obstacle(
          each.image().toString(),
          each.holder() + " has " + each.lock() + ": a successor could not use the image",
          "End that process, or let it release its lock; `lslocks` shows all locks.");
    }
    Hotplug.bound(vm.spec(), findings);
    Memory.obstacle(vm.spec()).ifPresent(findings::obstacle);
    findings.preserved("guest RAM, " + (vm.spec().memory() >> 20) + " MiB, stays where it is");
    findings.preserved(
        "device state goes from QEMU " + predecessor.binary().version() + " to " + into);
    stopping.devices(findings);
    vm.backends().plan(findings);
    if (guest == RunState.RUNNING) {
      clock.plan(findings, Optional.of(BLACKOUT));
    }
    Duration trials = Duration.ZERO;
    if (findings.obstacles().isEmpty()) {
      String running = Trials.program(predecessor);
      String machine = vm.spec().machine();
      pairing = Pairing.of(probe, predecessor.qmp(), running, target, machine);
      String to = into;
      pairing.ifPresent(pair -> pair.before(to, findings));
      trials = findings.obstacles().isEmpty() ? tried(running, target, into, findings) : trials;
      if (findings.obstacles().isEmpty()) {
        pairing.ifPresent(pair -> pair.risks(to, findings));
      }
      if (reversible) {
        String back = "QEMU " + predecessor.binary().version() + " on the way back";
        trials = trials.plus(tried(target, running, back, findings));
        Pairing.of(probe, predecessor.qmp(), target, running, machine)
            .ifPresent(pair -> pair.risks(back, findings));
      }
    }
    return new Plan(
        findings.preserved(),
        findings.obstacles(),
        findings.losses(),
        findings.risks(),
        Optional.of(Duration.ofMillis(700 + (vm.spec().memory() >> 20) / 4).plus(trials)),
        Optional.of(BLACKOUT));
  }

  /**
   * Tries the crossing on a machine that never ran, and says what came of it.
   *
   * @return what it cost
   */
  private Duration tried(String from, String to, String into, Findings findings)
      throws QmpException {
    VmSpec spec = vm.spec();
    Trials.Outcome outcome =
        probe
            .trials()
            .of(
                from,
                to,
                spec.with(Correction.apply(corrections, spec.arguments()), spec.devices()),
                vm.inherited(),
                Trials.sizes(predecessor.qmp()));
    switch (outcome) {
      case Trials.Outcome.Passed(var found, var cost) -> {
        if (from.equals(Trials.program(predecessor))) {
          corrections = found;
        }
        findings.preserved("a machine like this one was saved, and loads into " + into);
        found.forEach(correction -> findings.preserved(correction.toString()));
        return cost;
      }
      case Trials.Outcome.Failed(var why) ->
          findings.obstacle(
              into,
              "it does not take over a machine like this one, tried on one that never ran: " + why,
              "Update to another build of QEMU. Without the device that is named, the VM can be"
                  + " updated to this one.");
      case Trials.Outcome.Untried(var why) ->
          findings.risk(
              "whether " + into + " takes over this machine could not be tried beforehand: " + why);
    }
    return Duration.ZERO;
  }

  @Override
  public void prepare(Step step) throws IOException {
    if (prepared && successor.isPresent() && !successor.get().hasExited()) {
      return;
    }
    if (step.recorded(SUCCESSOR).isPresent()) {
      withdraw(step);
    }
    QemuBinary binary = probe.binary(target);
    vm.reopened(linux);
    // Journalled before there is a process: recovery looks for it by the socket in this
    // generation's directory.
    step.record(TARGET, target);
    step.record(SUCCESSOR, STARTING);
    step.progress(
        "starting QEMU "
            + binary.version()
            + " and mapping "
            + (vm.spec().memory() >> 20)
            + " MiB");
    correct(corrections);
    QemuProcess started = start(step, binary);
    step.progress("comparing the machines");
    Layout here = Layout.of(predecessor);
    Layout there = Layout.of(started);
    List<Correction> more = Correction.between(here, there);
    if (!more.isEmpty()) {
      // Not seen on the machine that was tried: its back ends were others.
      step.progress("starting it again: " + more.getFirst());
      correct(more);
      started.end();
      vm.backends().drop(generation);
      step.record(SUCCESSOR, STARTING);
      started = start(step, binary);
      there = Layout.of(started);
    }
    sameMachine(here, there);
    sameFiles(started, Images.PATIENCE);
    step.note("successor.pid", Integer.toString(started.identity().pid()));
    step.note("successor.version", binary.version());
    step.progress("connecting");
    try (FdPair out = linux.socketPair(SocketType.STREAM)) {
      stopping.prepare(step, out.left());
      out.left().close();
      try (Fd copy = deviceState.create(vm.id())) {
        connect(started, out.right(), copy);
      }
    }
    stopping.expect();
    resumed = Optional.of(started.qmp().expect("RESUME"));
    checkLocks(started);
    prepared = true;
  }

  /** After the commit it would be too late: the successor could not have its images. */
  private void checkLocks(QemuProcess started) throws IOException {
    Set<Long> ours = Set.of((long) started.identity().pid(), ProcessHandle.current().pid());
    List<ImageLocks.Conflict> conflicts = ImageLocks.conflicts(predecessor.identity().pid(), ours);
    if (!conflicts.isEmpty()) {
      throw new IOException(
          "the successor could not lock its images: "
              + String.join("; ", conflicts.stream().map(Object::toString).toList())
              + ". End that process, then update again");
    }
  }

  /** Ends what an earlier call of {@link #prepare} began, so that it can begin anew. */
  private void withdraw(Step step) throws IOException {
    prepared = false;
    stopping.forget();
    relay.ifPresent(Relay::close);
    relay = Optional.empty();
    endSuccessor(step, QemuProcess.DEATH);
    successor = Optional.empty();
    vm.backends().drop(generation);
  }

  private QemuProcess start(Step step, QemuBinary binary) throws IOException {
    QemuProcess started =
        vm.startSuccessor(
            linux, binary, generation, CommandLine.Start.SUCCEED, Optional.of(step.remaining()));
    successor = Optional.of(started);
    step.record(SUCCESSOR, started.identity().toString());
    return started;
  }

  /**
   * Writes down what the guest's devices really are, which every successor needs: also one that is
   * started again after the commit, or on another kernel.
   */
  private void correct(List<Correction> found) throws IOException {
    VmSpec before = vm.spec();
    List<String> corrected = Correction.apply(found, before.arguments());
    if (!corrected.equals(before.arguments())) {
      vm.promises(before.with(corrected, before.devices()));
    }
    promised = Optional.of(vm.spec());
  }

  /** The device state fits only into the machine that it comes from. */
  private void sameMachine(Layout here, Layout there) throws QmpException {
    List<String> differences = here.differences(there);
    if (!differences.isEmpty()) {
      throw new QmpException(
          "Layout",
          "the successor's machine is not the guest's: " + String.join("; ", differences));
    }
  }

  /**
   * What the successor has open is what the guest has, or what Holdfast gave to it. An image's name
   * may have gone to another file since the plan; and when the successor has loaded the state it
   * may have opened images again, to write.
   */
  private void sameFiles(QemuProcess opened, Duration limit) throws IOException {
    boolean _ =
        vm.storage()
            .make(
                "comparing the images of the successor with the guest's",
                limit,
                () -> {
                  try (Priority _ = new Priority(linux)) {
                    sameFiles(opened);
                    return true;
                  }
                });
  }

  private void sameFiles(QemuProcess opened) throws IOException {
    OpenFiles now = OpenFiles.of(opened.identity().pid());
    if (!vm.arriving()) {
      List<String> unlike = vm.images().unlike(now);
      if (!unlike.isEmpty()) {
        throw new IOException(
            "the guest's images are not the files of these names any more: "
                + String.join(", ", unlike));
      }
    }
    if (predecessor.hasExited()) {
      return; // Nobody is left to compare with, as after a kexec.
    }
    List<String> others = now.besides(known);
    if (!others.isEmpty()) {
      // Not in each blackout: the agent may have thousands of files open.
      known =
          List.of(
              OpenFiles.of(predecessor.identity().pid()),
              OpenFiles.of(ProcessHandle.current().pid()));
      // What Holdfast has in the VM's directory, such as an adopted one's console log, is its own.
      others =
          now.besides(known).stream()
              .filter(each -> !Path.of(each).startsWith(vm.directory()))
              .toList();
    }
    if (!others.isEmpty()) {
      throw new IOException(
          "the successor has opened files that the guest has not: " + String.join(", ", others));
    }
  }

  /**
   * Compares a file with itself as images are compared after a kexec, so that what that needs is in
   * the agent's AOT cache: guests are paused then.
   *
   * @param file a regular one
   * @throws IOException if it can't be read
   */
  public static void rehearse(Linux linux, Path file) throws IOException {
    Images.rehearse(linux, file);
  }

  /**
   * The images' paths name on this kernel what they named on the previous one. Their numbers there
   * say nothing here.
   */
  private void sameFilesAsBefore() throws IOException {
    List<String> others = vm.images().othersHere(linux, vm.storage());
    if (!others.isEmpty()) {
      throw new IOException(
          "the guest's images are not the files that had these names on the previous kernel: "
              + String.join(", ", others)
              + "; give the images their names back");
    }
  }

  /**
   * Lets a successor load what comes from {@code source}, and keeps a copy of it; both descriptors
   * are borrowed.
   */
  private void connect(QemuProcess to, Fd source, Fd copy) throws IOException {
    try (FdPair in = linux.socketPair(SocketType.STREAM)) {
      Stopping.give(to, IN, in.right());
      in.right().close();
      loaded = Optional.of(to.qmp().expectMigration("completed", "failed"));
      var _ = to.qmp().execute("migrate-incoming", JsonObject.of("uri", "fd:" + IN));
      relay = Optional.of(new Relay(linux, source, in.left(), copy));
    }
  }

  @Override
  public void freeze(Step step) throws IOException {
    try (Priority _ = new Priority(linux)) {
      // Its thread is there then, and as urgent as this one; if storage hangs the guest runs on.
      boolean _ = vm.storage().make("asking storage", AGAIN, () -> linux.nice(0, Urgency.MOST));
      Priority.raise(linux, predecessor);
      QemuProcess next = successor.orElseThrow(() -> gone());
      if (next.hasExited()) {
        // Better now than with the guest stopped, and its state handed over to nobody.
        throw gone();
      }
      Priority.raise(linux, next);
      if (stopping.stop(step) && !promised.equals(Optional.of(vm.spec()))) {
        throw new IOException(
            "a device of VM "
                + name()
                + " was unplugged when its successor had been started with it; try again");
      }
    }
  }

  @Override
  public void handOver(Step step) throws IOException {
    try (Priority _ = new Priority(linux)) {
      stopping.send(step);
    }
  }

  @Override
  public void restore(Step step) throws IOException {
    if (changedHands(step) || step.recorded(RUNS).equals(Optional.of(PERHAPS))) {
      // Another attempt at an update of the kernel, for the sake of others.
      return;
    }
    if (step.recovering()) {
      restoreAgain(step);
    } else {
      try (Priority _ = new Priority(linux)) {
        awaitLoad(step, "the successor", AGAIN);
      }
    }
  }

  /**
   * Waits until the successor has loaded the device state.
   *
   * @param storage how long the images' storage may take to answer then
   */
  private void awaitLoad(Step step, String who, Duration storage) throws IOException {
    boolean completed;
    try {
      JsonObject event = loaded.orElseThrow().await(step.remaining());
      completed = event.object("data").string("status").equals("completed");
    } catch (QmpException e) {
      // One that could not load may be gone before its event was read.
      if (!failedByItself()) {
        throw e;
      }
      completed = false;
    }
    if (!completed) {
      boolean remembered = failedByItself();
      String why = successor.flatMap(QemuProcess::said).orElse("it did not say why");
      throw new IOException(
          who
              + " could not load the device state: "
              + why
              + pairing.filter(_ -> remembered).map(pair -> pair.failed(why)).orElse(""));
    }
    long bytes = relay.orElseThrow().await(step.remaining());
    step.note("device-state.bytes", Long.toString(bytes));
    sameFiles(successor.orElseThrow(), storage);
  }

  /**
   * Whether the successor ended because of what it was to load: nobody killed it, and the
   * predecessor is there to send. Waits for its end, and so for its last words.
   */
  private boolean failedByItself() {
    Optional<ExitStatus> end = successor.flatMap(QemuProcess::exitStatus);
    boolean killed =
        end.isPresent()
            && end.get() instanceof ExitStatus.Killed(int signal)
            && (signal == Signal.KILL.number() || signal == Signal.TERM.number());
    return end.isPresent() && !end.get().success() && !killed && !predecessor.hasExited();
  }

  /**
   * After the commit, before the guest ran: the successor that is there, or another one from the
   * kept state.
   */
  private void restoreAgain(Step step) throws IOException {
    Optional<QemuProcess> found = findSuccessor(step);
    if (found.isPresent()) {
      // Before it is asked: a QEMU talks to one client, and this one is needed if it hangs.
      successor = found;
    }
    if (found.isPresent() && found.get().runState() == RunState.PAUSED) {
      return;
    }
    if (found.isPresent()) {
      found.get().end();
    } else if (successor.isPresent()) {
      // Dead, but not reaped yet.
      successor.get().end();
    }
    if (vm.arriving()) {
      sameFilesAsBefore();
    }
    Fd kept =
        deviceState
            .find(vm.id())
            .orElseThrow(
                () ->
                    new IOException(
                        "the device state of VM "
                            + name()
                            + " is gone: it can't be started again"));
    step.progress(
        "the successor died before the guest ran in it: starting it again from the same state");
    try (kept;
        FdPair again = linux.socketPair(SocketType.STREAM);
        Fd copy = linux.memfd("device state", 0)) {
      step.record(SUCCESSOR, STARTING);
      long began = System.nanoTime();
      QemuProcess started =
          vm.startSuccessor(
              linux,
              successorBinary(),
              generation,
              CommandLine.Start.SUCCEED_LATE,
              Optional.of(step.remaining()));
      step.note("qemu-up.us", Long.toString((System.nanoTime() - began) / 1000));
      step.recorded(VmDeparture.STOPPED_IN)
          .ifPresent(micros -> step.note(VmDeparture.STOPPED_IN, micros));
      successor = Optional.of(started);
      resumed = Optional.of(started.qmp().expect("RESUME"));
      step.record(SUCCESSOR, started.identity().toString());
      connect(started, again.left(), copy);
      again.left().close();
      pump(kept, again.right());
      linux.adopt(again.right()).shutdown();
      boolean loads = false;
      try {
        awaitLoad(step, "the successor, started again,", Images.PATIENCE);
        loads = true;
      } finally {
        if (!loads) {
          // Or the next attempt would take it for one that may run.
          started.end();
        }
      }
    }
  }

  /**
   * What to start again. Under another kernel that is what ran before, and asking it once more what
   * it can do would only be waited for.
   */
  private QemuBinary successorBinary() throws QemuUnusableException {
    QemuBinary before = predecessor.binary();
    return vm.arriving() && before.path().equals(target) ? before : probe.binary(target);
  }

  /** Sends what {@code from} holds, from its start to its end. */
  private void pump(Fd from, Fd to) {
    linux.seek(from, 0);
    try (var arena = java.lang.foreign.Arena.ofConfined()) {
      var buffer = arena.allocate(64 * 1024);
      for (int bytes = linux.read(from, buffer); bytes > 0; bytes = linux.read(from, buffer)) {
        linux.write(to, buffer.asSlice(0, bytes));
      }
    }
  }

  private Optional<QemuProcess> findSuccessor(Step step) throws IOException {
    if (successor.isPresent() && !successor.get().stopped()) {
      return successor.get().hasExited() ? Optional.empty() : successor;
    }
    // One that was stopped by a signal when it was found may have been let go on since.
    successor.ifPresent(QemuProcess::close);
    successor = Optional.empty();
    Optional<String> recorded = step.recorded(SUCCESSOR);
    if (recorded.isEmpty()) {
      return Optional.empty();
    }
    Path directory = Vm.generationDirectory(vm.directory(), generation);
    String who = "the successor of " + name();
    if (recorded.get().equals(STARTING)) {
      return QemuProcess.attachUnknown(linux, knownBinary(), directory, who);
    }
    QemuProcess found =
        QemuProcess.attach(
            linux, ProcessIdentity.parse(recorded.get()), knownBinary(), directory, who);
    if (found.hasExited()) {
      found.close();
      return Optional.empty();
    }
    return Optional.of(found);
  }

  /**
   * The target as far as it is known: recovery must not fail because its file has gone meanwhile.
   */
  private QemuBinary knownBinary() {
    try {
      return probe.binary(target);
    } catch (QemuUnusableException e) {
      return new QemuBinary(target, "unknown", "", List.of(), Map.of(), List.of());
    }
  }

  @Override
  public void fence(Step step) throws IOException {
    if (!changedHands(step)) {
      predecessor.fence();
      vm.backends().switchTo(generation);
    }
  }

  /**
   * Whether an earlier agent died after it had written down that the successor runs the VM: nothing
   * is left to do.
   */
  private boolean changedHands(Step step) {
    return step.recorded(SUCCESSOR).equals(Optional.of(predecessor.identity().toString()));
  }

  @Override
  public void resume(Step step) throws IOException {
    if (changedHands(step)) {
      return;
    }
    Optional<QemuProcess> found = findSuccessor(step);
    if (found.isEmpty() && step.recorded(RUNS).equals(Optional.of(PERHAPS))) {
      throw lost(step);
    }
    if (found.isEmpty()) {
      // It died after the commit and before it was told to run: forward, from the kept state.
      restoreAgain(step);
    }
    QemuProcess runs = successor.or(() -> found).orElseThrow(() -> gone());
    successor = Optional.of(runs);
    if (step.recorded(Stopping.PAUSED).isPresent()) {
      // It has not run, so it could still be started again from its state.
      resumed.ifPresent(Qmp.Expectation::forget);
      stopping.forget();
      step.note(GUEST, STAYS_PAUSED);
      return;
    }
    if (step.recovering() || step.recorded(RUNS).isPresent()) {
      RunState guest = runs.runState();
      // One that stopped by itself did so after an earlier attempt had let it run.
      if (guest == RunState.RUNNING || guest.byItself()) {
        vm.follow(runs);
        resumed.flatMap(Qmp.Expectation::seen).ifPresent(event -> stopping.runs(step, event));
        return;
      }
    }
    // From here on the guest may have run: were the successor to die now, the kept state would be a
    // fork of it.
    step.record(RUNS, PERHAPS);
    if (runs.hasExited()) {
      // Before it was told to run: whoever recovers this starts it again.
      step.record(RUNS, NEVER);
      throw gone();
    }
    vm.follow(runs);
    Qmp.Expectation running = resumed.isPresent() ? resumed.get() : runs.qmp().expect("RESUME");
    try (Priority _ = new Priority(linux)) {
      try {
        letRun(step, runs);
      } catch (QmpException e) {
        if (!e.refused() || predecessor.hasExited()) {
          throw e;
        }
        // It never runs again, and what it still has, such as the locks of images whose descriptors
        // it was started with, may be what is missing.
        step.note("cont.refused", String.valueOf(e.getMessage()));
        predecessor.end();
        step.record(RUNS, PERHAPS);
        letRun(step, runs);
      }
      stopping.runs(step, running.await(step.remaining()));
    }
  }

  private static void letRun(Step step, QemuProcess runs) throws QmpException {
    step.check(Operation.RUN_GUEST);
    try {
      var _ = runs.qmp().execute("cont", JsonObject.empty(), step.remaining(), List.of());
    } catch (QmpException e) {
      if (e.refused()) {
        step.record(RUNS, NEVER);
      }
      throw e;
    }
  }

  private IOException gone() {
    return new IOException("the successor of VM " + name() + " is gone");
  }

  /**
   * The successor died when the guest may have run in it already: there is no state to start it
   * again from without a fork. What is left is ended, so that the VM can be stopped.
   */
  private IOException lost(Step step) throws IOException {
    givenUp = true;
    QemuProcess dead =
        successor.isPresent()
            ? successor.get()
            : QemuProcess.attach(
                linux,
                ProcessIdentity.parse(step.recorded(SUCCESSOR).orElseThrow()),
                knownBinary(),
                Vm.generationDirectory(vm.directory(), generation),
                "the successor of " + name());
    predecessor.end();
    vm.becomes(generation, dead);
    vm.recorded();
    try {
      vm.reopened(linux);
    } catch (IOException e) {
      // The next update looks again.
      step.note("images.unknown", String.valueOf(e.getMessage()));
    }
    vm.backends().drop(generation - 1);
    relay.ifPresent(Relay::close);
    deviceState.drop(vm.id());
    return new IOException(
        "the successor of VM "
            + name()
            + " died as the guest began to run in it: the guest is lost, as it can't be started"
            + " again from its state without a fork. "
            + vm.lost().orElse("")
            + ". Stop it with `holdfast vm stop "
            + name()
            + "`, and run it again from its disks");
  }

  /**
   * Whether the guest is lost for good: it may have run in a successor that died. The death of the
   * predecessor alone means nothing once the update is committed.
   */
  public boolean givenUp() {
    return givenUp;
  }

  @Override
  public void finish(Step step) throws IOException {
    if (changedHands(step)) {
      // Whether the next agent would know is not known: writing that down may be what failed.
      vm.recorded();
      vm.backends().drop(vm.generation() - 1);
      deviceState.drop(vm.id());
      return;
    }
    QemuProcess runs =
        successor.isPresent() ? successor.get() : findSuccessor(step).orElseThrow(() -> gone());
    vm.settled(generation);
    vm.backends().running(generation, runs.qmp());
    Priority.restore(linux, runs);
    settle();
    // Whoever asks for the VM meanwhile is not to meet a process that is being ended.
    vm.becomes(generation, runs);
    // First the end of the one, then the record of the other: recovery copes with a record of a
    // dead process.
    predecessor.end();
    clock.correct(step);
    vm.recorded();
    vm.backends().drop(generation - 1);
    relay.ifPresent(Relay::close);
    deviceState.drop(vm.id());
  }

  /**
   * Waits while the guest pays for its first steps in the successor; the fenced predecessor can
   * wait.
   */
  private static void settle() throws IOException {
    try {
      Thread.sleep(SETTLE);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted before the predecessor was ended", e);
    }
  }

  /**
   * Lets go of a successor that does not run the VM yet, in an attempt that got no further: it
   * answers one client only, and the next attempt is to be that.
   */
  public void letGo() throws IOException {
    relay.ifPresent(Relay::close);
    if (successor.isPresent() && successor.get() != vm.process()) {
      if (successor.get().hasExited()) {
        successor.get().end();
      } else {
        successor.get().close();
      }
    }
  }

  @Override
  public void cancel(Step step) throws IOException {
    stopping.forget();
    relay.ifPresent(Relay::close);
    boolean ended = false;
    try {
      endSuccessor(step, SOON);
      ended = true;
    } catch (IOException | RuntimeException e) {
      step.progress("the successor has yet to end: " + e.getMessage());
    }
    // Also if the successor does not end: it has never run the guest, and was never told to.
    stopping.letRun(step);
    if (!ended) {
      endSuccessor(step, step.remaining().dividedBy(2));
    }
    // Last: nothing that only tidies up may keep the guest from running. A successor that is left
    // is found by its names.
    QemuProcess.removeNames(Vm.generationDirectory(vm.directory(), generation));
    vm.backends().drop(generation);
    deviceState.drop(vm.id());
    stopping.correctClock(step);
  }

  /** Whether it answers or not. */
  private void endSuccessor(Step step, Duration patience) throws IOException {
    Path directory = Vm.generationDirectory(vm.directory(), generation);
    Optional<String> recorded = step.recorded(SUCCESSOR);
    if (successor.isPresent()) {
      // This agent's own is so reaped, also when it has died already.
      successor.get().end(patience);
    } else if (recorded.equals(Optional.of(STARTING))) {
      QemuProcess.endUnknown(linux, directory, patience);
    } else if (recorded.isPresent()) {
      ProcessIdentity identity = ProcessIdentity.parse(recorded.get());
      QemuProcess.endKnown(linux, identity, directory, patience);
    }
  }
}
