package io.holdfast.agent;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.run.Deadlines;
import io.holdfast.core.run.ExecRecovery;
import io.holdfast.core.run.ExecUpdate;
import io.holdfast.core.run.Failure;
import io.holdfast.core.run.KexecArrival;
import io.holdfast.core.run.Orchestrator;
import io.holdfast.core.run.Outcome;
import io.holdfast.core.run.PlatformWorkers;
import io.holdfast.core.run.Timeline;
import io.holdfast.core.run.TimelineEvent;
import io.holdfast.core.run.Turns;
import io.holdfast.core.run.Workers;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.RefusedException;
import io.holdfast.core.state.UpdateState;
import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.VmId;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Memory;
import io.holdfast.vm.Vm;
import io.holdfast.vm.spec.VmSpec;
import io.holdfast.vm.update.GuestClock;
import io.holdfast.vm.update.Priority;
import io.holdfast.vm.update.VmUpdate;
import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.regex.Pattern;

/** Runs updates, keeps their reports, and takes up those that an earlier agent left. */
final class Updates {
  private static final LateLogger LOG = new LateLogger(Updates.class);
  private static final DateTimeFormatter STAMP =
      DateTimeFormatter.ofPattern("yyyyMMdd-HHmmss").withZone(ZoneOffset.UTC);

  private static final UpdateId REHEARSAL = new UpdateId("rehearsal");

  /** What the id of an update of the kernel has in place of a VM's name. */
  private static final String KERNEL = "kernel";

  private static final String BY_USER = "cancelled by the user";
  private static final String REPAIR = "Repair that and try again; nothing was changed.";
  private static final int PROCESSORS = Runtime.getRuntime().availableProcessors();

  /** How many of a VM's last updates its deadlines follow. */
  private static final int MEASURED = 5;

  private final Linux linux;
  private final AgentPaths places;
  private final Vms vms;
  private final VmUpdate.DeviceState deviceStates;
  private final Workers workers = new PlatformWorkers();
  private final Map<String, Running> running = new ConcurrentHashMap<>();
  private final Map<String, Batch> batches = new ConcurrentHashMap<>();
  private final Turns turns = new QuietTurns();
  private final CountDownLatch rehearsed = new CountDownLatch(1);
  private final AtomicInteger next = new AtomicInteger();
  private final Retries retries = new Retries();
  private final ReportStore reportStore;

  /** The journals that an earlier agent left. */
  private final Set<Path> left = ConcurrentHashMap.newKeySet();

  private final KernelUpdates kernels;

  Updates(
      Linux linux,
      AgentPaths places,
      Vms vms,
      Boxes boxes,
      DescriptorStore store,
      Optional<Arrival> arrival) {
    this.linux = linux;
    this.places = places;
    this.vms = vms;
    this.deviceStates = new DeviceStates(linux, store);
    this.reportStore = new ReportStore(places.updates(), retries);
    this.kernels =
        new KernelUpdates(linux, vms, boxes, store, deviceStates, workers, arrival, places);
  }

  /** An update that is under way. */
  private record Running(UpdateId id, Reports.Subject subject, Orchestrator orchestrator) {}

  /**
   * Replaces the host's kernel. If that succeeds nobody is left to return.
   *
   * @param progress hears of it, outside the blackout
   * @return a {@code Report} of interface io.holdfast.Update
   */
  JsonObject kernel(KernelUpdates.Wanted wanted, Consumer<JsonObject> progress) {
    UpdateId id = id(KERNEL);
    try {
      if (wanted.dryRun()) {
        Path nowhere = Files.createTempFile(places.updates(), "plan", ".journal");
        try (JournalFile journal = JournalFile.open(linux, nowhere)) {
          return kernels.planned(id, journal, wanted);
        } finally {
          Files.deleteIfExists(nowhere);
        }
      }
      awaitRehearsal();
      JournalFile journal = JournalFile.open(linux, journal(id));
      long zero = workers.nanoTime();
      try {
        JsonObject report =
            kernels.run(
                id,
                journal,
                wanted,
                orchestrator ->
                    running.put(
                        id.toString(),
                        new Running(id, new Reports.Subject.Host(List.of()), orchestrator)),
                event -> progress(id, "host", event, zero).ifPresent(progress));
        reportStore.keep(id, report);
        return report;
      } finally {
        running.remove(id.toString());
        if (kernels.undoing(id)) {
          journal.close();
          undo(id);
        } else if (!kernels.leaving()) {
          // One that is handed over and waits for somebody else's reboot call keeps it.
          journal.remove();
        }
      }
    } catch (IOException e) {
      throw Vms.notPossible("update " + id + " of the kernel: " + e.getMessage());
    }
  }

  /** Keeps trying to undo an update of the kernel. */
  private void undo(UpdateId id) {
    retries.add(
        "update " + id,
        () -> {
          try (JournalFile journal = JournalFile.open(linux, journal(id))) {
            Optional<JsonObject> report =
                kernels.undoing(id) ? kernels.undo(id, journal) : Optional.empty();
            if (report.isPresent()) {
              reportStore.keep(id, report.get());
              LOG.get()
                  .log(
                      System.Logger.Level.INFO,
                      "update " + id + ": " + report.get().string("message"));
            }
            if (!kernels.undoing(id)) {
              journal.remove();
              return true;
            }
            return false;
          }
        });
  }

  /**
   * The host has stopped, but for VMs. Returns when everything is handed over to the next kernel,
   * and the caller may make the reboot call; refused with the reason if it may not.
   */
  void hostStopped() {
    Optional<String> why = kernels.hostStopped();
    if (why.isPresent()) {
      throw new VarlinkError(
          "io.holdfast.Update.NotPossible",
          JsonObject.of(
              "message", "the VMs run, and the next kernel is not to be started: " + why.get()));
    }
  }

  /**
   * Tries again to bring back what did not come over a kexec.
   *
   * @return reports, one for each update of the kernel that had yet to end
   */
  List<JsonObject> retry() {
    List<String> story = new ArrayList<>();
    List<JsonObject> reports = new ArrayList<>();
    try (DirectoryStream<Path> journals = Files.newDirectoryStream(places.updates(), "*.journal")) {
      for (Path path : journals) {
        String id = path.getFileName().toString().replaceFirst("\\.journal$", "");
        if (!running.containsKey(id) && kernels.holds(id)) {
          recover(path, story);
          reports.add(show(id));
        }
      }
    } catch (IOException e) {
      throw Vms.notPossible("trying again: " + e.getMessage());
    }
    if (reports.isEmpty()) {
      throw new VarlinkError(
          "io.holdfast.Update.NotPossible",
          JsonObject.of(
              "message",
              "there is nothing to try again: no update of the kernel waits for a VM to come back"));
    }
    return reports;
  }

  /**
   * Runs an update of nothing, and one over a kexec, so that a first real one finds loaded and
   * linked in its blackout what it needs there; also when the agent's runtime cache is made, which
   * is what an agent in the next kernel has. To be called once, after the socket is there: the next
   * update waits for it.
   */
  void rehearse() {
    Thread.ofPlatform()
        .daemon()
        .name("rehearsal")
        .start(
            () -> {
              try {
                UpdateId id = REHEARSAL;
                JournalFile journal = JournalFile.open(linux, journal(id));
                Timeline.Listener listener =
                    e -> {
                      var _ = progress(id, "nothing", e, 0);
                    };
                Outcome outcome =
                    new ExecUpdate<>(
                            id,
                            List.of(new Nothing("nothing")),
                            journal,
                            workers,
                            Limits.vmm(),
                            listener)
                        .run();
                var _ = Reports.of(id, "nothing", outcome, Optional.empty(), false).pretty();
                // What comes over a kexec is waited for by guests that stand still, two at a time.
                List<String> names = List.of("nothing", "nothing-else");
                UpdateHistory.of(Arrival.rehearse(linux, id, names))
                    .map(
                        history ->
                            new KexecArrival(
                                history,
                                names.stream().map(Nothing::new).toList(),
                                Set.of(),
                                journal,
                                workers,
                                Limits.kernel(),
                                listener))
                    .ifPresent(Orchestrator::run);
                journal.remove();
                VmUpdate.rehearse(linux, Path.of(System.getProperty("java.home"), "release"));
              } catch (IOException | RuntimeException e) {
                LOG.get()
                    .log(
                        System.Logger.Level.WARNING,
                        "the rehearsal failed; a first update may take longer",
                        e);
              } finally {
                rehearsed.countDown();
              }
            });
  }

  /**
   * One guest stands still at a time: of two, each would have half of what the host does for it.
   * Nobody else does then, so a collection that would come in the blackout comes before it.
   */
  private final class QuietTurns implements Turns {
    private final Turns one = Turns.of(1);

    @Override
    public boolean await(Duration limit) throws InterruptedException {
      boolean come = one.await(limit);
      if (come) {
        System.gc();
        Priority.raiseHere(linux);
      }
      return come;
    }

    @Override
    public void end() {
      Priority.restoreHere(linux);
      one.end();
    }
  }

  /** A participant without a workload. */
  private record Nothing(String name) implements Source, Target {
    @Override
    public Plan plan() {
      return Plan.of("nothing");
    }

    @Override
    public void prepare(Step step) {
      step.record("prepared", "yes");
      step.progress("rehearsing");
    }

    @Override
    public void freeze(Step step) {
      step.record("frozen", "yes");
    }

    @Override
    public void handOver(Step step) {
      step.note("remaining", step.remaining().toString());
    }

    @Override
    public void restore(Step step) {
      step.note("recovering", Boolean.toString(step.recovering()));
    }

    @Override
    public void fence(Step step) {
      step.note("recorded", step.recorded("frozen").orElse("no"));
    }

    @Override
    public void resume(Step step) {
      step.record("runs", "yes");
    }

    @Override
    public void finish(Step step) {}

    @Override
    public void cancel(Step step) {}
  }

  /**
   * What is wanted of an update.
   *
   * @param qemu the binary to go to; the one that a VM runs now if empty
   * @param clock what becomes of the guest's wall clock
   * @param reversible whether the plan must prove the way back, too
   * @param dryRun only the plan
   */
  record Wanted(
      Optional<String> qemu, GuestClock.Choice clock, boolean reversible, boolean dryRun) {
    static Wanted of(JsonObject asked) {
      return new Wanted(
          asked.optionalString("qemu"),
          Updates.clock(asked),
          asked.optionalBool("reversible").orElse(false),
          asked.optionalBool("dryRun").orElse(false));
    }
  }

  static GuestClock.Choice clock(JsonObject asked) {
    return switch (asked.optionalString("clock").orElse("correct")) {
      case "correct" -> GuestClock.Choice.CORRECT;
      case "lag" -> GuestClock.Choice.LAG;
      default -> throw VarlinkError.invalidParameter("clock");
    };
  }

  /** What could not end is left to the next agent. */
  void close() {
    retries.close();
  }

  /** How many are under way. */
  int size() {
    return running.size();
  }

  /**
   * Replaces the QEMU of a VM.
   *
   * @param progress hears of it, outside the blackout
   * @return a {@code Report} of interface io.holdfast.Update
   */
  JsonObject vmm(String name, Wanted wanted, Consumer<JsonObject> progress) {
    // Refused as what it is, before it becomes a part of the update's own name.
    var _ = vms.get(name);
    UpdateId id = id(name);
    Vm vm = vms.claim(name, "update " + id);
    try {
      VmUpdate participant = participant(vm, wanted);
      return wanted.dryRun()
          ? planned(id, participant)
          : new Single(id, participant, progress).run();
    } catch (IOException e) {
      throw Vms.notPossible("update " + id + " of VM " + name + ": " + e.getMessage());
    } finally {
      vms.release(name);
    }
  }

  /**
   * Replaces the QEMUs of several VMs, each in an update of its own.
   *
   * @param names of all VMs if empty
   * @param parallel how many at once; if empty, as many as there are processors, or fewer if memory
   *     is scarce
   * @param begun is told the id by which {@link #cancel} cancels all of them
   * @param progress hears of all of them, one piece of news at a time
   * @return a {@code Report} of interface io.holdfast.Update for each, in the order of their names
   */
  List<JsonObject> vmms(
      Optional<List<String>> names,
      Wanted wanted,
      OptionalLong parallel,
      Consumer<String> begun,
      Consumer<JsonObject> progress) {
    Set<String> chosen = new LinkedHashSet<>();
    if (names.isPresent()) {
      // All of them are looked for before one of them is touched.
      names.get().forEach(name -> chosen.add(vms.get(name).spec().name()));
    } else {
      vms.all().forEach(vm -> chosen.add(vm.spec().name()));
      // Named like the others, so that nobody takes them for updated.
      vms.unknown().forEach(name -> vms.get(name));
    }
    if (chosen.isEmpty()) {
      throw new VarlinkError(
          "io.holdfast.Update.NotPossible",
          JsonObject.of("message", "there is no VM to update; `holdfast vm list` shows them"));
    }
    if (parallel.orElse(1) < 1) {
      throw VarlinkError.invalidParameter("parallel");
    }
    Batch batch = new Batch(id("batch"));
    batches.put(batch.id.toString(), batch);
    try (batch) {
      chosen.forEach(batch::take);
      int together = batch.together(parallel);
      batch.ready(wanted, progress);
      begun.accept(batch.id.toString());
      return batch.run(together);
    } catch (IOException e) {
      throw Vms.notPossible("update " + batch.id + ": " + e.getMessage());
    } finally {
      batches.remove(batch.id.toString());
    }
  }

  private Path journal(UpdateId id) {
    return places.updates().resolve(id + ".journal");
  }

  private UpdateId id(String what) {
    return new UpdateId(
        STAMP.format(workers.now()) + "-" + name(what) + "-" + next.incrementAndGet());
  }

  /** An update's id is a name of at most 63 characters; a VM's own may have as many. */
  private static String name(String vm) {
    return vm.length() <= 36 ? vm : vm.substring(0, 36);
  }

  private VmUpdate participant(Vm vm, Wanted wanted) {
    String target = wanted.qemu().orElse(vm.process().binary().path());
    return new VmUpdate(
        linux, vm, vms.probe(vm), target, wanted.reversible(), deviceStates, wanted.clock());
  }

  private JsonObject planned(UpdateId id, VmUpdate participant) throws IOException {
    Path nowhere = Files.createTempFile(places.updates(), "plan", ".journal");
    try (JournalFile journal = JournalFile.open(linux, nowhere)) {
      ExecUpdate<VmUpdate> orchestrator =
          new ExecUpdate<>(id, List.of(participant), journal, workers, Limits.vmm(), _ -> {});
      Orchestrator.Planned plan = orchestrator.plan();
      return Reports.planned(
          id, new Reports.Subject.OneVm(participant.name()), plan, orchestrator.timeline());
    } finally {
      Files.deleteIfExists(nowhere);
    }
  }

  /** The update of one VM, from when it is asked for; until it ends it can be cancelled. */
  private final class Single {
    private final UpdateId id;
    private final VmUpdate participant;
    private final JournalFile journal;
    private final Timeline.Listener listener;
    private final Deadlines deadlines;
    private final Orchestrator orchestrator;
    private long zero;
    private boolean begun;

    Single(UpdateId id, VmUpdate participant, Consumer<JsonObject> progress) throws IOException {
      this.id = id;
      this.participant = participant;
      String target = participant.name();
      this.deadlines = Limits.vmm(vms.get(target), completed(target));
      this.journal = JournalFile.open(linux, journal(id));
      this.listener = event -> progress(id, target, event, zero).ifPresent(progress);
      this.orchestrator =
          new ExecUpdate<>(id, List.of(participant), journal, workers, deadlines, turns, listener);
      running.put(id.toString(), new Running(id, new Reports.Subject.OneVm(target), orchestrator));
    }

    JsonObject run() throws IOException {
      begun = true;
      awaitRehearsal();
      zero = workers.nanoTime();
      Outcome outcome;
      try {
        outcome = orchestrator.run();
      } finally {
        running.remove(id.toString());
      }
      Optional<Outcome> before = Optional.empty();
      if (outcome instanceof Outcome.Stuck) {
        // Once more from what is there, which starts a successor again that never ran.
        try {
          Optional<Orchestrator> again =
              recovery(UpdateHistory.of(journal.read()), participant, journal, deadlines, listener);
          if (again.isPresent()) {
            before = Optional.of(outcome);
            outcome = again.get().run();
          }
        } catch (RuntimeException e) {
          // The journal cannot be read now: it may be later.
          LOG.get().log(System.Logger.Level.WARNING, "update " + id + " is tried again", e);
        }
      }
      boolean lost = lost(vms.get(participant.name()), participant, outcome);
      JsonObject report = Reports.of(id, participant.name(), outcome, before, lost);
      reportStore.keep(id, report);
      if (outcome instanceof Outcome.Stuck stuck && !lost) {
        journal.close();
        tryAgain(id, participant, before.orElse(stuck), stuck);
      } else {
        journal.remove();
      }
      return report;
    }

    /** Ends it, if it was never run. */
    void discard() {
      if (!begun) {
        running.remove(id.toString());
        try {
          journal.remove();
        } catch (IOException e) {
          LOG.get().log(System.Logger.Level.WARNING, "left over: the journal of update " + id, e);
        }
      }
    }

    /** What {@link #run} would have returned, had it not thrown this. */
    JsonObject broken(Exception thrown) {
      Failure failure =
          new Failure(
              Failure.Reason.FAILED,
              orchestrator.state(),
              Optional.empty(),
              Optional.of(participant.name()),
              String.valueOf(thrown.getMessage()),
              Optional.of(thrown));
      return Reports.of(
          id,
          participant.name(),
          new Outcome.Stuck(List.of(failure), orchestrator.timeline()),
          Optional.empty(),
          false);
    }
  }

  /** Returns what goes on with an update of a VM; empty if it has ended. */
  private Optional<Orchestrator> recovery(
      Optional<UpdateHistory> history,
      VmUpdate participant,
      JournalFile journal,
      Deadlines deadlines,
      Timeline.Listener listener) {
    return history
        .filter(each -> !each.ended())
        .map(
            each ->
                new ExecRecovery<>(
                    each, List.of(participant), journal, workers, deadlines, listener));
  }

  /** Whether nothing is left to try: once it is committed the successor has all of the guest. */
  private static boolean lost(Vm vm, VmUpdate participant, Outcome outcome) {
    boolean committed =
        outcome.timeline().states().stream()
            .anyMatch(each -> each.state() == UpdateState.COMMITTED);
    return vm.lost().isPresent() && (!committed || participant.givenUp());
  }

  /**
   * Keeps trying to end an update of a VM, from what its journal says.
   *
   * @param first how it ended at first
   * @param last how the last attempt ended
   */
  private void tryAgain(UpdateId id, VmUpdate participant, Outcome first, Outcome.Stuck last) {
    vms.stuck(participant.name(), id, last.causes().getLast().toString());
    retries.add("update " + id, () -> endedNow(id, participant, first));
  }

  private boolean endedNow(UpdateId id, VmUpdate participant, Outcome before) throws IOException {
    String name = participant.name();
    Optional<Vm> vm = vms.claimStuck(name, id);
    if (vm.isEmpty()) {
      return true;
    }
    try (JournalFile journal = JournalFile.open(linux, journal(id))) {
      Optional<Orchestrator> recovery =
          recovery(
              UpdateHistory.of(journal.read()),
              participant,
              journal,
              Limits.vmm(vm.get(), List.of()),
              _ -> {});
      if (recovery.isPresent()) {
        Outcome outcome = recovery.get().run();
        boolean lost = lost(vm.get(), participant, outcome);
        if (outcome instanceof Outcome.Stuck stuck && !lost) {
          vms.stuck(name, id, stuck.causes().getLast().toString());
          return false;
        }
        JsonObject report = Reports.of(id, name, outcome, Optional.of(before), lost);
        reportStore.keep(id, report);
        LOG.get().log(System.Logger.Level.INFO, "update " + id + ": " + report.string("message"));
      }
      vms.unstuck(name);
      journal.remove();
      return true;
    } finally {
      vms.release(name);
    }
  }

  /**
   * Updates of several VMs that were asked for together. Its VMs are taken until each has ended.
   */
  private final class Batch implements AutoCloseable {
    private interface Work {
      JsonObject run();
    }

    private record Taken(UpdateId update, Vm vm) {}

    private final UpdateId id;

    private final List<String> names = new ArrayList<>();

    /** What is to be done, by name. */
    private final Map<String, Work> works = new HashMap<>();

    private final Map<String, Taken> taken = new LinkedHashMap<>();
    private final List<Single> singles = new CopyOnWriteArrayList<>();
    private final Set<String> claimed = ConcurrentHashMap.newKeySet();

    Batch(UpdateId id) {
      this.id = id;
    }

    /** Takes a VM; one that can't be taken is refused, which does not stop the others. */
    void take(String name) {
      UpdateId update = id(name);
      names.add(name);
      try {
        Vm vm = vms.claim(name, "update " + update);
        boolean _ = claimed.add(name);
        taken.put(name, new Taken(update, vm));
      } catch (VarlinkError e) {
        String why = e.parameters().optionalString("message").orElse(e.name());
        works.put(
            name, () -> refused(update, name, "VM " + name, why, "Update it when that has ended."));
      }
    }

    /**
     * How many of the VMs may be updated at once; if that is more than wanted, they are refused.
     */
    int together(OptionalLong parallel) throws IOException {
      List<VmSpec> promises = taken.values().stream().map(each -> each.vm().spec()).toList();
      long available = Memory.available();
      int fitting = Memory.fitting(promises, available);
      int most = (int) Math.min(promises.size(), parallel.orElse(PROCESSORS));
      if (parallel.isPresent() && fitting < most) {
        Obstacle obstacle = Memory.obstacle(promises, most, fitting, available);
        taken.forEach(
            (name, each) -> works.put(name, () -> refused(each.update(), name, obstacle)));
        taken.clear();
      }
      // One that does not fit even by itself is refused by its own plan.
      return Math.max(1, Math.min(most, fitting));
    }

    /** Gets everything ready; from here on it can be cancelled. */
    void ready(Wanted wanted, Consumer<JsonObject> progress) {
      Consumer<JsonObject> inTurn =
          news -> {
            synchronized (this) {
              progress.accept(news);
            }
          };
      taken.forEach(
          (name, each) -> {
            VmUpdate participant = participant(each.vm(), wanted);
            if (wanted.dryRun()) {
              works.put(name, () -> plan(each.update(), participant));
              return;
            }
            try {
              Single single = new Single(each.update(), participant, inTurn);
              singles.add(single);
              works.put(name, () -> run(single));
            } catch (IOException | RuntimeException e) {
              String journal = "the journal of update " + each.update();
              works.put(name, () -> refused(each.update(), name, journal, words(e), REPAIR));
            }
          });
    }

    /** Runs all to their ends, so many at once. */
    List<JsonObject> run(int together) {
      JsonObject[] reports = new JsonObject[names.size()];
      AtomicInteger nextOne = new AtomicInteger();
      Runnable loop =
          () -> {
            for (int i = nextOne.getAndIncrement();
                i < reports.length;
                i = nextOne.getAndIncrement()) {
              String name = names.get(i);
              reports[i] = Objects.requireNonNull(works.get(name)).run();
              release(name);
            }
          };
      workers.together(Collections.nCopies(together, loop));
      return List.of(reports);
    }

    private JsonObject run(Single single) {
      try {
        return single.run();
      } catch (IOException | RuntimeException e) {
        LOG.get().log(System.Logger.Level.ERROR, "update " + single.id, e);
        return single.broken(e);
      }
    }

    private JsonObject plan(UpdateId update, VmUpdate participant) {
      try {
        return planned(update, participant);
      } catch (IOException | RuntimeException e) {
        Obstacle obstacle = new Obstacle("its plan", words(e), REPAIR);
        return Reports.refused(update, participant.name(), workers.now(), obstacle);
      }
    }

    private JsonObject refused(
        UpdateId update, String name, String what, String why, String advice) {
      return refused(update, name, new Obstacle(what, why, advice));
    }

    private JsonObject refused(UpdateId update, String name, Obstacle obstacle) {
      JsonObject report = Reports.refused(update, name, workers.now(), obstacle);
      reportStore.keep(update, report);
      return report;
    }

    private static String words(Exception e) {
      return String.valueOf(e.getMessage());
    }

    private void release(String name) {
      if (claimed.remove(name)) {
        vms.release(name);
      }
    }

    /** Cancels what can be cancelled; refused if nothing can. */
    void cancel() {
      List<RefusedException> refusals = new ArrayList<>();
      for (Single each : singles) {
        try {
          each.orchestrator.cancel(BY_USER);
        } catch (RefusedException e) {
          refusals.add(e);
        }
      }
      if (!refusals.isEmpty() && refusals.size() == singles.size()) {
        throw refusals.getFirst();
      }
    }

    /** Lets go of what was not run. */
    @Override
    public void close() {
      singles.forEach(Single::discard);
      claimed.forEach(this::release);
    }
  }

  private void awaitRehearsal() {
    try {
      var _ = rehearsed.await(10, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static Optional<JsonObject> progress(
      UpdateId id, String target, TimelineEvent event, long zero) {
    return switch (event) {
      case TimelineEvent.Entered e ->
          Optional.of(progress(id, target, e.at() - zero, e.state().toString(), "", ""));
      case TimelineEvent.Progressed p ->
          Optional.of(progress(id, target, p.at() - zero, "", p.participant(), p.what()));
      case TimelineEvent.Began _ -> Optional.empty();
      case TimelineEvent.Ended e ->
          e.failure()
              .map(
                  f ->
                      progress(
                          id,
                          target,
                          e.at() - zero,
                          "",
                          e.participant(),
                          e.action().words() + " failed: " + f));
      case TimelineEvent.Noted _ -> Optional.empty();
    };
  }

  private static JsonObject progress(
      UpdateId id, String target, long elapsed, String state, String participant, String message) {
    return JsonObject.of(
        "id",
        id.toString(),
        "target",
        target,
        "state",
        state,
        "participant",
        participant,
        "message",
        message,
        "elapsed",
        elapsed);
  }

  /**
   * Takes up what an earlier agent left that is not one VM's alone: updates of the kernel, and of
   * VMs that are gone.
   */
  void recover(List<String> story) {
    for (Path path : left()) {
      if (!ofOneThatIsThere(path)) {
        recoverOrHold(path, story);
      }
    }
  }

  /**
   * Finds out which journals an earlier agent left, before this one has any of its own. One that
   * was killed in its rehearsal left nothing to take up.
   *
   * @throws IOException if that can't be told: nothing may be done without them
   */
  void expect() throws IOException {
    Files.deleteIfExists(journal(REHEARSAL));
    try (DirectoryStream<Path> journals = Files.newDirectoryStream(places.updates(), "*.journal")) {
      journals.forEach(left::add);
    } catch (DirectoryIteratorException e) {
      throw e.getCause();
    }
  }

  /** Those of them that are still there. */
  private List<Path> left() {
    return left.stream().filter(path -> !Files.notExists(path)).toList();
  }

  private void recoverOrHold(Path path, List<String> story) {
    try {
      recover(path, story);
    } catch (Throwable e) {
      // Errors too, such as one for want of a thread: it is tried again.
      story.add(
          "update journal " + path.getFileName() + " could not be taken up: " + e.getMessage());
      LOG.get().log(System.Logger.Level.ERROR, "update journal " + path, e);
      hold(path, e);
    }
  }

  /** Whether a journal is that of a VM's own update, with which the VM is taken back. */
  private boolean ofOneThatIsThere(Path journal) {
    Set<String> there = new HashSet<>(vms.unknown());
    there.addAll(vms.recovering());
    vms.all().forEach(vm -> there.add(vm.spec().name()));
    try {
      return began(journal)
          .filter(update -> update.carrier() == CarrierKind.EXEC)
          .filter(update -> there.contains(update.participants().getFirst()))
          .isPresent();
    } catch (IOException | RuntimeException e) {
      return there.stream().anyMatch(name -> named(journal, name));
    }
  }

  /** The VM of an update that can't be taken up may be paused by it: nobody else may have it. */
  private void hold(Path path, Throwable why) {
    UpdateId id = id(path);
    boolean any = named(path, KERNEL);
    List<String> names =
        vms.all().stream()
            .map(vm -> vm.spec().name())
            .filter(name -> any || named(path, name))
            .toList();
    String reason = "its journal " + path + " can't be taken up: " + why.getMessage();
    names.forEach(name -> vms.stuck(name, id, reason));
    retries.add(
        "update " + id,
        () -> {
          if (Files.notExists(path)) {
            names.forEach(vms::unstuck);
            return true;
          }
          boolean done = false;
          try {
            if (any) {
              // Readable, so it names those that it has.
              Optional<JournalRecord.Began> _ = began(path);
              names.forEach(vms::unstuck);
            }
            List<String> story = new ArrayList<>();
            recover(path, story);
            story.forEach(line -> LOG.get().log(System.Logger.Level.INFO, line));
            done = true;
          } finally {
            if (any && !done) {
              names.forEach(name -> vms.stuck(name, id, reason));
            }
          }
          return true;
        });
  }

  private static UpdateId id(Path journal) {
    String file = journal.getFileName().toString();
    return new UpdateId(file.substring(0, file.length() - ".journal".length()));
  }

  /** Whether a journal is called as one of an update of this VM is. */
  private static boolean named(Path journal, String vm) {
    return id(journal).toString().matches("\\d{8}-\\d{6}-" + Pattern.quote(name(vm)) + "-\\d+");
  }

  /**
   * Takes up what an earlier agent left of updates of one VM that was taken back just now.
   *
   * @return whether no update of the kernel has it
   */
  boolean recover(String name, List<String> story) {
    boolean free = true;
    kernels.cameBack(name);
    for (Path path : left()) {
      List<String> participants;
      try {
        participants = of(path);
      } catch (IOException | RuntimeException e) {
        // One of the kernel may have had it.
        free &= !named(path, KERNEL);
        participants = named(path, name) ? List.of(name) : List.of();
      }
      if (participants.equals(List.of(name))) {
        recoverOrHold(path, story);
      } else {
        free &= !participants.contains(name);
      }
    }
    return free;
  }

  /**
   * Whether an update of this VM that an earlier agent left is committed, and may have fenced this
   * process by SIGSTOP: not if that is its successor.
   */
  boolean fenced(VmId vm, ProcessIdentity process) {
    try (DirectoryStream<Path> journals = Files.newDirectoryStream(places.updates(), "*.journal")) {
      for (Path path : journals) {
        if (fences(path, process)
            && began(path).filter(update -> update.of(vm.name(), vm.instance())).isPresent()) {
          return true;
        }
      }
    } catch (IOException | RuntimeException e) {
      LOG.get().log(System.Logger.Level.WARNING, "the journals can't be listed", e);
    }
    return false;
  }

  private static boolean fences(Path journal, ProcessIdentity process) {
    Optional<UpdateHistory> history;
    try {
      history = history(journal);
    } catch (IOException | RuntimeException e) {
      // Its recovery says so. Until then its VM is unknown if its QEMU is stopped.
      return false;
    }
    String its = process.toString();
    return history.isPresent()
        && history.get().entered(UpdateState.COMMITTED)
        && history.get().facts().values().stream()
            .noneMatch(facts -> its.equals(facts.get(VmUpdate.SUCCESSOR)));
  }

  private static Optional<UpdateHistory> history(Path journal) throws IOException {
    return UpdateHistory.of(JournalText.decode(Files.readAllBytes(journal)).records());
  }

  private static Optional<JournalRecord.Began> began(Path journal) throws IOException {
    return history(journal).map(UpdateHistory::began);
  }

  /** Whose update a journal is: the VM's, or the participants of one of the kernel. */
  private static List<String> of(Path journal) throws IOException {
    return began(journal).map(JournalRecord.Began::participants).orElse(List.of());
  }

  /**
   * Removes what is left of updates of a VM that was stopped: a later one of its name has no part
   * in them.
   */
  void stopped(String name) {
    try (DirectoryStream<Path> journals = Files.newDirectoryStream(places.updates(), "*.journal")) {
      for (Path path : journals) {
        stopped(path, name);
      }
    } catch (IOException | RuntimeException e) {
      LOG.get().log(System.Logger.Level.ERROR, "a journal of VM " + name + " is left over", e);
    }
  }

  private void stopped(Path path, String name) throws IOException {
    List<String> participants;
    try {
      participants = of(path);
    } catch (IOException | RuntimeException e) {
      boolean its = named(path, name) && !named(path, KERNEL);
      participants = its ? List.of(name) : List.of();
    }
    UpdateId id = id(path);
    if (participants.equals(List.of(name))) {
      Files.deleteIfExists(path);
    } else if (participants.contains(name) && kernels.undoing(id)) {
      try (JournalFile journal = JournalFile.open(linux, path)) {
        journal.append(new JournalRecord.Fact(id, name, Orchestrator.UNDONE, "stopped"));
      }
    }
  }

  private void recover(Path path, List<String> story) throws IOException {
    JournalFile journal = JournalFile.open(linux, path);
    boolean ended = false;
    try {
      ended = ended(journal, story);
    } finally {
      if (ended) {
        journal.remove();
      } else {
        journal.close();
      }
    }
  }

  /** Takes an update up; whether it has ended, so that its journal is needed no more. */
  private boolean ended(JournalFile journal, List<String> story) throws IOException {
    Optional<UpdateHistory> told = UpdateHistory.of(journal.read());
    if (told.isEmpty()) {
      return true;
    }
    UpdateHistory history = told.get();
    JournalRecord.Began began = history.began();
    UpdateId id = began.update();
    if (began.carrier() == CarrierKind.KEXEC) {
      KernelUpdates.Recovered recovered = kernels.recover(history, journal);
      recovered.report().ifPresent(report -> reportStore.keep(id, report));
      story.addAll(recovered.story());
      if (kernels.undoing(id)) {
        undo(id);
      }
      return recovered.ended();
    }
    String name = began.participants().getFirst();
    if (vms.find(name).isEmpty() && !vms.unknown().contains(name)) {
      story.add("update " + id + ": its VM " + name + " is gone");
      return true;
    }
    if (vms.find(name).filter(vm -> !began.of(name, vm.id().instance())).isPresent()) {
      story.add("update " + id + ": its VM " + name + " is gone; another one has its name");
      return true;
    }
    Vm vm = vms.claimStuck(name, id).orElseGet(() -> vms.claimRecovered(name, "update " + id));
    try {
      String target =
          history.fact(name, VmUpdate.TARGET).orElseGet(() -> vm.process().binary().path());
      // Whether the clock is to be corrected is in the journal.
      VmUpdate participant =
          new VmUpdate(
              linux, vm, vms.probe(vm), target, false, deviceStates, GuestClock.Choice.CORRECT);
      Optional<Orchestrator> recovery =
          recovery(told, participant, journal, Limits.vmm(vm, List.of()), _ -> {});
      if (recovery.isPresent()) {
        Outcome outcome = recovery.get().run();
        boolean lost = lost(vm, participant, outcome);
        JsonObject report = Reports.of(id, name, outcome, Optional.empty(), lost);
        reportStore.keep(id, report);
        story.add("update " + id + ": " + report.string("message"));
        if (outcome instanceof Outcome.Stuck stuck && !lost) {
          tryAgain(id, participant, stuck, stuck);
          return false;
        }
      }
      vms.unstuck(name);
      return true;
    } finally {
      vms.release(name);
    }
  }

  /** Asks a running update, or a batch of them, to cancel. */
  void cancel(String id) {
    Running update = running.get(id);
    Orchestrator orchestrator = update == null ? null : update.orchestrator();
    Batch batch = batches.get(id);
    try {
      if (orchestrator != null && orchestrator.state() == UpdateState.SHUTTING_DOWN) {
        // The command that waits for it is being stopped like everything else, and would cancel it.
        throw new VarlinkError(
            "io.holdfast.Update.NotPossible",
            JsonObject.of(
                "message",
                "update "
                    + id
                    + " is not cancelled: the rest of the host is being stopped for it"));
      }
      if (orchestrator != null) {
        orchestrator.cancel(BY_USER);
      } else if (batch != null) {
        batch.cancel();
      } else {
        throw noSuchUpdate(id, "no update " + id + " is under way");
      }
    } catch (RefusedException e) {
      throw new VarlinkError(
          "io.holdfast.Update.NotPossible",
          JsonObject.of("message", String.valueOf(e.getMessage())));
    }
  }

  /** Returns the reports of a VM's last updates that completed; none if they can't be read. */
  private List<JsonObject> completed(String vm) {
    try {
      return reportStore.completed(vm, name(vm), MEASURED);
    } catch (IOException | RuntimeException e) {
      LOG.get().log(System.Logger.Level.WARNING, "the reports of VM " + vm + " are not read", e);
      return List.of();
    }
  }

  /** A report on each update that is under way, the oldest first. */
  List<JsonObject> underWay() {
    return running.values().stream()
        .sorted(Comparator.comparing(each -> each.id().toString()))
        .map(
            each ->
                Reports.underWay(
                    each.id(),
                    each.subject(),
                    each.orchestrator().state(),
                    each.orchestrator().timeline()))
        .toList();
  }

  /** The id of the update of the kernel that is under way, if one is. */
  Optional<String> kernelUnderWay() {
    return running.values().stream()
        .filter(each -> each.subject() instanceof Reports.Subject.Host)
        .map(each -> each.id().toString())
        .findFirst();
  }

  /** All reports, the oldest first. */
  List<JsonObject> list() {
    try {
      return reportStore.all();
    } catch (IOException e) {
      throw Vms.notPossible("reading the reports in " + places.updates() + ": " + e.getMessage());
    }
  }

  /** One report. */
  JsonObject show(String id) {
    return list().stream()
        .filter(report -> report.string("id").equals(id))
        .findFirst()
        .orElseThrow(
            () ->
                noSuchUpdate(
                    id,
                    "there is no update " + id + "; `holdfast update list` shows those there are"));
  }

  private static VarlinkError noSuchUpdate(String id, String message) {
    return new VarlinkError(
        "io.holdfast.Update.NoSuchUpdate", JsonObject.of("id", id, "message", message));
  }

  static JsonObject obstacle(String participant, Obstacle obstacle) {
    // The orchestrator puts the participant before what it names; here it has a field of its own.
    String prefix = participant + ": ";
    String what = obstacle.what();
    return JsonObject.of(
        "participant",
        participant,
        "what",
        what.startsWith(prefix) ? what.substring(prefix.length()) : what,
        "why",
        obstacle.why(),
        "advice",
        obstacle.advice());
  }
}
