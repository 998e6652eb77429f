package io.holdfast.agent;

import io.holdfast.core.box.CrossingBox;
import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.run.Orchestrator;
import io.holdfast.core.run.Outcome;
import io.holdfast.core.run.Participant;
import io.holdfast.core.run.Plan;
import io.holdfast.core.run.Step;
import io.holdfast.core.run.Timeline;
import io.holdfast.core.run.Workers;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.UpdateMachine;
import io.holdfast.core.state.UpdateState;
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
import io.holdfast.store.Keeper;
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
  private final Keeper keeper;
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
   * @param participants all of them; what could be undone is not undone again
   * @param first how it ended at first
   * @param open the names of those that could not be undone yet
   */
  private record Undoing(List<Participant> participants, Outcome.Stuck first, Set<String> open) {}

  private volatile boolean leaving;

  /** How the host stops, from when an update asked for that. */
  private volatile Optional<SystemdShutdown> stopping = Optional.empty();

  KernelUpdates(
      Linux linux,
      Vms vms,
      Boxes boxes,
      Keeper keeper,
      VmUpdate.DeviceState deviceStates,
      Workers workers,
      Optional<Arrival> arrival,
      AgentPaths places) {
    this.linux = linux;
    this.vms = vms;
    this.boxes = boxes;
    this.keeper = keeper;
    this.deviceStates = deviceStates;
    this.workers = workers;
    this.arrival = arrival;
    this.places = places;
    this.checks = new KernelChecks(linux, keeper, places, () -> new HashSet<>(qemus()));
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
    final Map<String, Map<String, Fd>> plain;
    final List<Participant> participants = new ArrayList<>();
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
          Vm _ = vms.claim(vm.promise().name(), "update " + id);
          claimed.add(vm.promise().name());
        }
        long bytes =
            plain.values().stream().flatMap(b -> b.values().stream()).mapToLong(linux::size).sum();
        for (String name : claimed) {
          bytes += vms.get(name).promise().memory();
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
                  linux,
                  vms.get(name),
                  DeviceStates.LABEL,
                  departure.box(vms.get(name).id().keys()),
                  wanted.clock()));
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

    Orchestrator orchestrator(UpdateId id, JournalFile journal, Timeline.Listener listener) {
      return Orchestrator.departing(
          id,
          participants,
          journal,
          workers,
          Limits.kernel().with(Action.SHUT_DOWN, shutdown.limit()),
          departure,
          listener);
    }

    List<String> names() {
      return participants.stream().map(Participant::name).toList();
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
          keeper.process().ifPresent(spared::add);
          return spared;
        });
  }

  private SessionHolder holder() {
    try {
      return Systemctl.booted()
          ? new StoredSessions(keeper, StoredSessions.boot())
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
      Orchestrator orchestrator = update.orchestrator(id, journal, _ -> {});
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
        keepUndoing(id, update.participants, update.claimed, stuck);
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
      UpdateId id, List<Participant> participants, List<String> claimed, Outcome.Stuck stuck) {
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
    undoing.put(id, new Undoing(List.copyOf(participants), first, Set.copyOf(failed.keySet())));
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
    return new VmDeparture(linux, vm, DeviceStates.LABEL, NOTHING_PUT, GuestClock.Choice.CORRECT);
  }

  /**
   * Tries once more to undo what could not be undone.
   *
   * @return its report, if that was the last of it
   */
  Optional<JsonObject> undo(UpdateId id, JournalFile journal) {
    Undoing open = open(id);
    List<String> claimed = new ArrayList<>();
    List<Participant> participants = new ArrayList<>();
    List<String> names = open.participants().stream().map(Participant::name).toList();
    try {
      for (Participant each : open.participants()) {
        String name = each.name();
        Optional<Vm> vm = vms.claimStuck(name, id);
        vm.ifPresent(_ -> claimed.add(name));
        if (name.equals(Departure.NAME)) {
          participants.add(each);
        } else if (vm.isPresent()) {
          participants.add(each instanceof Absent ? undone(vm.get()) : each);
        } else {
          // Undone already, or stopped since; or not taken back yet.
          participants.add(
              new Absent(
                  name,
                  vms.unknown().contains(name) ? Optional.of(missed(name)) : Optional.empty()));
        }
      }
      Optional<Orchestrator> recovery =
          Orchestrator.recovery(
              journal.read(), participants, journal, workers, Limits.kernel(), _ -> {});
      Outcome outcome = recovery.isPresent() ? recovery.get().run() : open.first();
      if (recovery.isPresent() && outcome instanceof Outcome.Stuck stuck) {
        keepUndoing(id, open.participants(), claimed, stuck);
        return Optional.empty();
      }
      claimed.forEach(vms::unstuck);
      Undoing _ = undoing.remove(id);
      return Optional.of(
          Reports.of(
              id, new Reports.Subject.Host(names), outcome, Optional.of(open.first()), false));
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
  Recovered recover(UpdateHistory history, List<JournalRecord> records, JournalFile journal)
      throws IOException {
    JournalRecord.Began began = history.began();
    UpdateId id = began.update();
    List<String> story = new ArrayList<>();
    if (arrival.isPresent() && holds(id.toString())) {
      // At the agent's start this was tried just before.
      for (String box : arrival.get().retry()) {
        if (vms.takeBack(box, story, (_, _) -> false)) {
          vms.recovered(box);
        }
      }
    }
    boolean left = left(history);
    if (!left) {
      shutdown().goesOn("the agent died");
    }
    Map<String, Participant> participants = new LinkedHashMap<>();
    List<String> claimed = new ArrayList<>();
    try {
      for (String name : began.participants()) {
        if (!name.equals(Departure.NAME)) {
          participants.put(name, vm(name, history, left, claimed));
        }
      }
      participants.put(
          Departure.NAME,
          Arrival.host(linux, keeper, arrival, new HashSet<>(participants.keySet())));
      Optional<Orchestrator> recovery =
          Orchestrator.recovery(
              records, participants.values(), journal, workers, Limits.kernel(), _ -> {});
      if (recovery.isEmpty()) {
        return new Recovered(true, Optional.empty(), List.of());
      }
      Outcome outcome = recovery.get().run();
      JsonObject report =
          Reports.of(
              id, new Reports.Subject.Host(began.participants()), outcome, Optional.empty(), false);
      boolean stuck = outcome instanceof Outcome.Stuck;
      if (outcome instanceof Outcome.Stuck how && !left) {
        keepUndoing(id, List.copyOf(participants.values()), claimed, how);
      } else if (outcome instanceof Outcome.Stuck how) {
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
      story.add("update " + id + ": " + report.string("message"));
      return new Recovered(!stuck, Optional.of(report), story);
    } finally {
      for (Participant each : participants.values()) {
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

  /** Whether the reboot call was made: what is here is the other side. */
  private static boolean left(UpdateHistory history) {
    UpdateState last = history.state();
    return last != UpdateState.CANCELLING
        && last != UpdateState.NORMAL
        && !UpdateMachine.cancellable(last, history.began().carrier());
  }

  private Participant vm(String name, UpdateHistory history, boolean left, List<String> claimed) {
    JournalRecord.Began began = history.began();
    UpdateId id = began.update();
    Optional<Vm> here = vms.find(name);
    if (here.isPresent() && !began.of(name, here.get().id().instance())) {
      return new Absent(name, Optional.empty()); // Another one of this name.
    }
    if (!left && history.fact(name, Orchestrator.UNDONE).isPresent()) {
      // It has been anybody's since, or is another one of this name.
      return new Absent(name, Optional.empty());
    }
    if (here.isEmpty()) {
      boolean stopped = !Files.exists(places.vm(name));
      return new Absent(name, stopped ? Optional.empty() : Optional.of(missed(name)));
    }
    Vm vm = vms.claimRecovered(name, "update " + id);
    claimed.add(name);
    if (!left) {
      return undone(vm);
    }
    String runs = vm.process().identity().toString();
    if (!vm.arriving() && !history.fact(name, VmUpdate.SUCCESSOR).equals(Optional.of(runs))) {
      // It came back, or was given up, while another one is waited for, and has had an update of
      // its own or was run anew since.
      return new Absent(name, Optional.empty());
    }
    String target = history.fact(name, VmUpdate.TARGET).orElse(vm.process().binary().path());
    return new VmUpdate(
        linux, vm, vms.probe(vm), target, false, deviceStates, GuestClock.Choice.CORRECT);
  }

  private String missed(String name) {
    return "VM "
        + name
        + " could not be taken back: "
        + vms.whyUnknown(name).orElse("the agent said why at its start");
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

  /**
   * A VM that is not there as it was: stopped since it came, and perhaps run anew, or one that
   * could not be taken back.
   *
   * @param missed why it is not there, if somebody misses it
   */
  private record Absent(String name, Optional<String> missed) implements Participant {
    private void check() throws IOException {
      if (missed.isPresent()) {
        throw new IOException(missed.get());
      }
    }

    @Override
    public Plan plan() {
      return Plan.of();
    }

    @Override
    public void restore(Step step) throws IOException {
      check();
    }

    @Override
    public void cancel(Step step) throws IOException {
      check();
    }

    @Override
    public void prepare(Step step) {}

    @Override
    public void freeze(Step step) {}

    @Override
    public void handOver(Step step) {}

    @Override
    public void fence(Step step) {}

    @Override
    public void resume(Step step) {}

    @Override
    public void finish(Step step) {}
  }
}
