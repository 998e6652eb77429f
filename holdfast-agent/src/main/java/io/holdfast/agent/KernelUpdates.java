package io.holdfast.agent;

import io.holdfast.core.box.CrossingBox;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.participant.Undoable;
import io.holdfast.core.run.KexecArrival;
import io.holdfast.core.run.KexecDeparture;
import io.holdfast.core.run.KexecUndo;
import io.holdfast.core.run.Orchestrator;
import io.holdfast.core.run.Outcome;
import io.holdfast.core.run.Timeline;
import io.holdfast.core.run.Workers;
import io.holdfast.core.state.Action;
import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.kexec.depart.Departure;
import io.holdfast.kexec.depart.HostShutdown;
import io.holdfast.kexec.depart.KernelFiles;
import io.holdfast.kexec.depart.NextKernel;
import io.holdfast.kexec.depart.ProcessShutdown;
import io.holdfast.kexec.session.SessionHolder;
import io.holdfast.kexec.session.StoredSessions;
import io.holdfast.kexec.systemd.Systemctl;
import io.holdfast.kexec.systemd.SystemdShutdown;
import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.store.BoxId;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.ServiceBox;
import io.holdfast.store.VmId;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Memory;
import io.holdfast.vm.Vm;
import io.holdfast.vm.update.GuestClock;
import io.holdfast.vm.update.VmDeparture;
import io.holdfast.vm.update.VmUpdate;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import java.util.stream.Stream;

/** Updates of the host's kernel: up to the reboot call, and on the other side from there on. */
final class KernelUpdates {
  private static final LateLogger LOG = new LateLogger(KernelUpdates.class);

  private final Linux linux;
  private final Vms vms;
  private final Boxes boxes;
  private final DescriptorStore store;
  private final VmUpdate.DeviceState deviceStates;
  private final Workers workers;
  private final Optional<Arrival> arrival;
  private final AgentPaths places;
  private final KernelChecks checks;

  /** Updates that wait for a VM to come back. */
  private final Set<String> held = ConcurrentHashMap.newKeySet();

  /** Updates of which something could not be undone yet. */
  private final Map<UpdateId, Undoing> undoing = new ConcurrentHashMap<>();

  /**
   * An update of which something could not be undone yet.
   *
   * @param names of all participants
   * @param participants by name, but for those that have nothing to undo; what could be undone is
   *     not undone again
   * @param first how it ended at first
   * @param open the names of those that could not be undone yet
   */
  private record Undoing(
      List<String> names,
      Map<String, Undoable> participants,
      Outcome.Stuck first,
      Set<String> open) {}

  private volatile boolean leaving;

  /** How the host stops, from when an update asked for that. */
  private volatile Optional<SystemdShutdown> stopping = Optional.empty();

  KernelUpdates(
      Linux linux,
      Vms vms,
      Boxes boxes,
      DescriptorStore store,
      VmUpdate.DeviceState deviceStates,
      Workers workers,
      Optional<Arrival> arrival,
      AgentPaths places) {
    this.linux = linux;
    this.vms = vms;
    this.boxes = boxes;
    this.store = store;
    this.deviceStates = deviceStates;
    this.workers = workers;
    this.arrival = arrival;
    this.places = places;
    this.checks = new KernelChecks(linux, store, places, () -> new HashSet<>(qemus()));
  }

  /**
   * What is wanted.
   *
   * @param clock what becomes of the guests' wall clocks
   * @param dryRun only the plan
   */
  record Wanted(NextKernel next, GuestClock.Choice clock, boolean dryRun) {}

  /** Whether everything is handed over, and somebody else makes the reboot call. */
  boolean leaving() {
    return leaving;
  }

  /** Whether something of this update could not be undone yet. */
  boolean undoing(UpdateId id) {
    return undoing.containsKey(id);
  }

  /** Whether this update waits for a VM to come back. */
  boolean holds(String id) {
    return held.contains(id);
  }

  /** One update, from when all VMs are taken to when they are let go. */
  private final class Leaving implements AutoCloseable {
    final List<String> claimed = new ArrayList<>();
    final Map<ServiceBox, Map<String, Fd>> plain;
    final List<Source> participants = new ArrayList<>();
    final KernelFiles files;
    final Departure departure;
    final HostShutdown shutdown;

    Leaving(UpdateId id, JournalFile journal, Wanted wanted) {
      String why = "update " + id + " of the kernel";
      for (Map.Entry<UpdateId, Undoing> each : undoing.entrySet()) {
        throw Vms.notPossible(
            why
                + ": update "
                + each.getKey()
                + " could not be undone yet: "
                + each.getValue().first().causes().getLast()
                + "; see to what that names, it is tried again every few seconds");
      }
      // Before anything is this one's: if another is under way, that goes on.
      vms.close(why);
      boxes.close(why);
      plain = boxes.memfds();
      files = new KernelFiles(linux, wanted.next());
      boolean done = false;
      try {
        for (Vm vm : vms.all()) {
          Vm _ = vms.claim(vm.spec().name(), "update " + id);
          claimed.add(vm.spec().name());
        }
        long bytes =
            plain.values().stream().flatMap(b -> b.values().stream()).mapToLong(linux::size).sum();
        for (String name : claimed) {
          bytes += vms.get(name).spec().memory();
        }
        long all = bytes;
        shutdown = shutdown();
        departure =
            new Departure(
                linux,
                id,
                wanted.next(),
                files,
                journal,
                new HashSet<>(claimed),
                vms.bridges(),
                plain,
                shutdown,
                holder(),
                () -> checks.obstacles(wanted.next(), files, all, unallocated()));
        for (String name : claimed) {
          participants.add(
              new VmDeparture(
                  linux, vms.get(name), departure.box(vms.get(name).id()), wanted.clock()));
        }
        participants.add(departure);
        done = true;
      } finally {
        if (!done) {
          close();
        }
      }
    }

    /** What of all that is to be preserved has no pages yet, in bytes. */
    private long unallocated() {
      return Stream.concat(
              claimed.stream().map(name -> vms.get(name).ram()),
              plain.values().stream().flatMap(box -> box.values().stream()))
          .mapToLong(memfd -> Memory.unallocated(linux, memfd))
          .sum();
    }

    KexecDeparture orchestrator(UpdateId id, JournalFile journal, Timeline.Listener listener) {
      return new KexecDeparture(
          id,
          participants,
          journal,
          workers,
          Limits.kernel().with(Action.SHUT_DOWN, shutdown.limit()),
          departure,
          listener);
    }

    List<String> names() {
      return participants.stream().map(Source::name).toList();
    }

    @Override
    public void close() {
      claimed.forEach(vms::release);
      files.close();
      plain.values().forEach(box -> box.values().forEach(Fd::close));
      boxes.open();
      vms.open();
    }
  }

  private List<Integer> qemus() {
    return vms.all().stream().map(vm -> vm.process().identity().pid()).toList();
  }

  private HostShutdown shutdown() {
    if (Systemctl.booted()) {
      return new SystemdShutdown(Systemctl.system(), places.run(), Path.of("/proc/1/comm"));
    }
    return new ProcessShutdown(
        linux,
        () -> {
          Set<Integer> spared = new HashSet<>(qemus());
          store.process().ifPresent(spared::add);
          return spared;
        });
  }

  private SessionHolder holder() {
    try {
      return Systemctl.booted()
          ? new StoredSessions(store, StoredSessions.boot())
          : SessionHolder.NOBODY;
    } catch (IOException e) {
      throw Vms.notPossible("the id of this boot can't be read: " + e.getMessage());
    }
  }

  /**
   * The host has stopped, but for VMs: guests freeze, and everything is handed over.
   *
   * @return empty if the reboot call may be made; else why it may not
   */
  Optional<String> hostStopped() {
    Optional<SystemdShutdown> waiting = stopping;
    if (waiting.isEmpty()) {
      return Optional.of("no update of the kernel is under way");
    }
    try {
      return waiting.get().hostStopped();
    } catch (IOException e) {
      return Optional.of(String.valueOf(e.getMessage()));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return Optional.of("the agent is being stopped");
    }
  }

  /** The plan of an update. */
  JsonObject planned(UpdateId id, JournalFile journal, Wanted wanted) {
    try (Leaving update = new Leaving(id, journal, wanted)) {
      KexecDeparture orchestrator = update.orchestrator(id, journal, _ -> {});
      Orchestrator.Planned plan = orchestrator.plan();
      return Reports.planned(
          id, new Reports.Subject.Host(update.names()), plan, orchestrator.timeline());
    }
  }

  /**
   * Runs an update up to the reboot call.
   *
   * @param running is given what runs it, for who wants to cancel
   * @return its report, if this kernel goes on
   */
  JsonObject run(
      UpdateId id,
      JournalFile journal,
      Wanted wanted,
      Consumer<Orchestrator> running,
      Timeline.Listener listener) {
    try (Leaving update = new Leaving(id, journal, wanted)) {
      Orchestrator orchestrator = update.orchestrator(id, journal, listener);
      running.accept(orchestrator);
      stopping =
          update.shutdown instanceof SystemdShutdown systemd
              ? Optional.of(systemd)
              : Optional.empty();
      Outcome outcome = orchestrator.run();
      leaving = outcome instanceof Outcome.HandedOver;
      if (outcome instanceof Outcome.Stuck stuck) {
        Map<String, Undoable> participants = new LinkedHashMap<>();
        update.participants.forEach(each -> participants.put(each.name(), each));
        keepUndoing(id, update.names(), participants, update.claimed, stuck);
      }
      JsonObject report =
          Reports.of(
              id, new Reports.Subject.Host(update.names()), outcome, Optional.empty(), false);
      if (!leaving) {
        update.shutdown.goesOn(report.string("message"));
      }
      return report;
    }
  }

  /**
   * Frees the VMs that are undone. The others are stuck until another attempt undoes them.
   *
   * @param claimed the VMs that the last attempt had
   * @param stuck how that ended
   */
  private void keepUndoing(
      UpdateId id,
      List<String> names,
      Map<String, Undoable> participants,
      List<String> claimed,
      Outcome.Stuck stuck) {
    Map<String, String> failed = new HashMap<>();
    stuck.causes().stream()
        .filter(cause -> cause.action().equals(Optional.of(Action.CANCEL)))
        .forEach(cause -> cause.participant().ifPresent(p -> failed.put(p, cause.toString())));
    for (String name : claimed) {
      String why = failed.get(name);
      if (why != null) {
        vms.stuck(name, id, why);
      } else {
        vms.unstuck(name);
        vms.find(name).ifPresent(undone -> undone.box().leave());
      }
    }
    Outcome.Stuck first = undoing.containsKey(id) ? open(id).first() : stuck;
    undoing.put(
        id,
        new Undoing(
            List.copyOf(names), Map.copyOf(participants), first, Set.copyOf(failed.keySet())));
  }

  private Undoing open(UpdateId id) {
    return Objects.requireNonNull(undoing.get(id));
  }

  /** A VM was taken back only now: an update that is being undone may have left it paused. */
  void cameBack(String name) {
    undoing.forEach(
        (id, open) -> {
          if (open.open().contains(name)) {
            vms.stuck(name, id, "its part has yet to be undone");
          }
        });
  }

  private VmDeparture undone(Vm vm) {
    return new VmDeparture(linux, vm, NOTHING_PUT, GuestClock.Choice.CORRECT);
  }

  /**
   * Tries once more to undo what could not be undone.
   *
   * @return its report, if that was the last of it
   */
  Optional<JsonObject> undo(UpdateId id, JournalFile journal) {
    Undoing open = open(id);
    List<String> claimed = new ArrayList<>();
    List<Undoable> participants = new ArrayList<>();
    Set<String> gone = new HashSet<>();
    try {
      for (String name : open.names()) {
        Optional<Undoable> known = Optional.ofNullable(open.participants().get(name));
        Optional<Vm> vm = vms.claimStuck(name, id);
        vm.ifPresent(_ -> claimed.add(name));
        if (name.equals(Departure.NAME)) {
          known.ifPresent(participants::add);
        } else if (vm.isPresent()) {
          participants.add(
              known.filter(each -> !(each instanceof Missing)).orElseGet(() -> undone(vm.get())));
        } else if (isMissing(name, vms.find(name))) {
          participants.add(missing(name));
        } else {
          // Undone already, or stopped since.
          boolean _ = gone.add(name);
        }
      }
      Optional<KexecUndo> recovery =
          UpdateHistory.of(journal.read())
              .filter(history -> !history.ended())
              .map(
                  history ->
                      new KexecUndo(
                          history, participants, gone, journal, workers, Limits.kernel(), _ -> {}));
      Outcome outcome = recovery.isPresent() ? recovery.get().run() : open.first();
      if (recovery.isPresent() && outcome instanceof Outcome.Stuck stuck) {
        keepUndoing(id, open.names(), open.participants(), claimed, stuck);
        return Optional.empty();
      }
      claimed.forEach(vms::unstuck);
      Undoing _ = undoing.remove(id);
      return Optional.of(
          Reports.of(
              id,
              new Reports.Subject.Host(open.names()),
              outcome,
              Optional.of(open.first()),
              false));
    } finally {
      claimed.forEach(vms::release);
    }
  }

  /**
   * What became of an update that an earlier agent, or an earlier kernel's, began.
   *
   * @param ended whether its journal is needed no more
   */
  record Recovered(boolean ended, Optional<JsonObject> report, List<String> story) {}

  /** Undoes an update that has not left, or brings back what it brought here. */
  Recovered recover(UpdateHistory history, JournalFile journal) throws IOException {
    return history.committed() ? arrive(history, journal) : undoLeft(history, journal);
  }

  /** Undoes an update that an agent began which died before the reboot call. */
  private Recovered undoLeft(UpdateHistory history, JournalFile journal) throws IOException {
    UpdateId id = history.began().update();
    shutdown().goesOn("the agent died");
    if (history.ended()) {
      return new Recovered(true, Optional.empty(), List.of());
    }
    Map<String, Undoable> participants = new LinkedHashMap<>();
    Set<String> gone = new HashSet<>();
    List<String> claimed = new ArrayList<>();
    try {
      for (String name : vmsOf(history)) {
        // One that is undone has been anybody's since.
        boolean undone = history.fact(name, Orchestrator.UNDONE).isPresent();
        Optional<Vm> here = vms.find(name);
        if (!undone && isMissing(name, here)) {
          participants.put(name, missing(name));
        } else if (!undone && here.isPresent() && isOf(history, here.get())) {
          participants.put(name, undone(claim(name, history, claimed)));
        } else {
          boolean _ = gone.add(name);
        }
      }
      participants.put(Departure.NAME, Departure.left(linux, participants.keySet()));
      Outcome outcome =
          new KexecUndo(
                  history, participants.values(), gone, journal, workers, Limits.kernel(), _ -> {})
              .run();
      if (outcome instanceof Outcome.Stuck stuck) {
        keepUndoing(id, history.began().participants(), participants, claimed, stuck);
      }
      return recovered(history, outcome, new ArrayList<>());
    } finally {
      claimed.forEach(vms::release);
    }
  }

  /** Brings back what an update brought to this kernel. */
  private Recovered arrive(UpdateHistory history, JournalFile journal) throws IOException {
    UpdateId id = history.began().update();
    List<String> story = new ArrayList<>();
    if (arrival.isPresent() && holds(id.toString())) {
      // At the agent's start this was tried just before.
      for (BoxId box : arrival.get().retry()) {
        if (box instanceof VmId && vms.takeBack(box.name(), story, (_, _) -> false)) {
          vms.recovered(box.name());
        }
      }
    }
    Map<String, Target> participants = new LinkedHashMap<>();
    Set<String> gone = new HashSet<>();
    List<String> claimed = new ArrayList<>();
    try {
      for (String name : vmsOf(history)) {
        Optional<Vm> here = vms.find(name);
        if (isMissing(name, here)) {
          participants.put(name, missing(name));
          continue;
        }
        if (here.isPresent() && isOf(history, here.get())) {
          Vm vm = claim(name, history, claimed);
          if (mayArrive(vm, history)) {
            participants.put(name, arriving(vm, history));
            continue;
          }
        }
        boolean _ = gone.add(name);
      }
      participants.put(Departure.NAME, Arrival.host(linux, store, arrival, participants.keySet()));
      Outcome outcome =
          new KexecArrival(
                  history, participants.values(), gone, journal, workers, Limits.kernel(), _ -> {})
              .run();
      if (outcome instanceof Outcome.Stuck how) {
        boolean _ = held.add(id.toString());
        how.causes()
            .forEach(
                cause ->
                    cause
                        .participant()
                        .flatMap(vms::find)
                        .ifPresent(vm -> vm.keptFromRunning(cause.message())));
        // Those that came back need not wait for the others.
        claimed.stream().map(vms::get).filter(vm -> !vm.arriving()).forEach(vm -> vm.box().leave());
      } else {
        boolean _ = held.remove(id.toString());
      }
      return recovered(history, outcome, story);
    } finally {
      for (Target each : participants.values()) {
        if (each instanceof VmUpdate update) {
          try {
            update.letGo();
          } catch (IOException e) {
            LOG.get().log(System.Logger.Level.WARNING, "letting go of what was tried", e);
          }
        }
      }
      claimed.forEach(vms::release);
    }
  }

  private static Recovered recovered(UpdateHistory history, Outcome outcome, List<String> story) {
    UpdateId id = history.began().update();
    Reports.Subject host = new Reports.Subject.Host(history.began().participants());
    JsonObject report = Reports.of(id, host, outcome, Optional.empty(), false);
    story.add("update " + id + ": " + report.string("message"));
    return new Recovered(!(outcome instanceof Outcome.Stuck), Optional.of(report), story);
  }

  private static List<String> vmsOf(UpdateHistory history) {
    List<String> names = new ArrayList<>(history.began().participants());
    boolean _ = names.remove(Departure.NAME);
    return names;
  }

  /** Returns whether a VM is the one that was in an update, and not another one of its name. */
  private static boolean isOf(UpdateHistory history, Vm vm) {
    return history.began().of(vm.id().name(), vm.id().instance());
  }

  /** Takes a VM of an update for its recovery. */
  private Vm claim(String name, UpdateHistory history, List<String> claimed) {
    Vm vm = vms.claimRecovered(name, "update " + history.began().update());
    claimed.add(name);
    return vm;
  }

  /**
   * Returns whether there is something left to do for a VM. One that came back, or was given up,
   * while another one is waited for may have had an update of its own or have been run anew since.
   */
  private static boolean mayArrive(Vm vm, UpdateHistory history) {
    String runs = vm.process().identity().toString();
    return vm.arriving()
        || history.fact(vm.spec().name(), VmUpdate.SUCCESSOR).equals(Optional.of(runs));
  }

  private VmUpdate arriving(Vm vm, UpdateHistory history) {
    String target =
        history.fact(vm.spec().name(), VmUpdate.TARGET).orElse(vm.process().binary().path());
    return new VmUpdate(
        linux, vm, vms.probe(vm), target, false, deviceStates, GuestClock.Choice.CORRECT);
  }

  /**
   * Returns whether a VM is not there although it was not stopped.
   *
   * @param here what was found of it: it may be taken back at any moment, so one look decides
   */
  private boolean isMissing(String name, Optional<Vm> here) {
    return here.isEmpty() && Files.exists(places.vm(name));
  }

  private Missing missing(String name) {
    return new Missing(
        name,
        "VM "
            + name
            + " could not be taken back: "
            + vms.whyUnknown(name).orElse("the agent said why at its start"));
  }

  /** The sessions of an agent that died before the reboot call died with it. */
  private static final CrossingBox NOTHING_PUT =
      new CrossingBox() {
        @Override
        public void put(String label, Fd fd) {
          throw new IllegalStateException("an update that is undone preserves nothing");
        }

        @Override
        public void undo() {
          // There is nothing.
        }
      };

  /** A VM that could not be taken back: its part is done once it is. */
  private record Missing(String name, String why) implements Undoable, Target {
    @Override
    public void cancel(Step step) throws IOException {
      throw new IOException(why);
    }

    @Override
    public void restore(Step step) throws IOException {
      throw new IOException(why);
    }

    @Override
    public void finish(Step step) throws IOException {
      throw new IOException(why);
    }
  }
}
