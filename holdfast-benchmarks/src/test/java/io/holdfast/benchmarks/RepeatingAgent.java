package io.holdfast.benchmarks;

import io.holdfast.benchmarks.RefusingKernel.When;
import io.holdfast.core.box.Box;
import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.MemoryJournal;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.run.Deadlines;
import io.holdfast.core.run.ExecRecovery;
import io.holdfast.core.run.ExecUpdate;
import io.holdfast.core.run.KexecDeparture;
import io.holdfast.core.run.Outcome;
import io.holdfast.core.run.PlatformWorkers;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.Operation;
import io.holdfast.kexec.depart.Departure;
import io.holdfast.kexec.depart.HostShutdown;
import io.holdfast.kexec.depart.KernelFiles;
import io.holdfast.kexec.depart.NextKernel;
import io.holdfast.kexec.session.SessionHolder;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.store.ProcessStore;
import io.holdfast.store.ServiceBox;
import io.holdfast.store.StoreKey;
import io.holdfast.store.VmId;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Vm;
import io.holdfast.vm.device.BackendContext;
import io.holdfast.vm.probe.QemuProbe;
import io.holdfast.vm.qemu.RunState;
import io.holdfast.vm.update.GuestClock;
import io.holdfast.vm.update.VmDeparture;
import io.holdfast.vm.update.VmUpdate;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/**
 * The agent of one VM, which makes each call of its updates again: {@code RepeatingAgent RUN VM
 * CONSOLE EXTENT}. After a call that succeeded, the same call comes twice more; after one that was
 * made to fail, twice. Each update then has to complete, or to be undone, and to leave nothing.
 *
 * <p>It takes the place of an agent that was killed, and leaves the VM to another.
 */
final class RepeatingAgent implements AutoCloseable {
  /** How much is tried. */
  enum Extent {
    /** The calls of an update fail at all places one after the other; PREPARE at a few. */
    FEW,

    /** As FEW, without PREPARE and an update of the kernel. */
    FEWER,

    /** An update for each place. */
    EACH
  }

  private static final int TIMES = 2;

  /** In a console's log that can't be written what the guest says is dropped, and that is said. */
  private static final String TO_LOG = "SPLICE in Log.";

  /** Each of these places of PREPARE in the short form. */
  private static final int STRIDE = 17;

  private static final List<Action> UNDONE_AFTER =
      List.of(Action.PREPARE, Action.FREEZE, Action.HAND_OVER, Action.RESTORE);

  private final RefusingKernel kernel;
  private final FakeLiveUpdate liveUpdate = new FakeLiveUpdate();
  private final Linux linux;
  private final Path run;
  private final Path console;
  private final ProcessStore store;
  private final PlatformWorkers workers = new PlatformWorkers();
  private final QemuProbe probe;
  private final Vm vm;
  private final Witness witness = new Witness();
  private Optional<State> whole = Optional.empty();
  private int updates;
  private int failures;
  private int undone;

  /** What this process and the run directory have between updates. */
  private record State(Map<String, Long> descriptors, Set<String> kept, Set<String> files) {}

  private RepeatingAgent(Path run, String name, Path console) throws IOException {
    this.kernel = new RefusingKernel(liveUpdate);
    this.linux = new Linux(kernel);
    this.run = run;
    this.console = console;
    this.store = ProcessStore.open(linux, run.resolve("keeper"));
    this.probe = new QemuProbe(linux, run);
    Path directory = run.resolve("vms").resolve(name);
    JsonObject record = Vm.readRecord(directory).orElseThrow();
    VmId id = Vm.id(record);
    Box box = new Box(name, name);
    store
        .all(key -> key instanceof StoreKey.Inherited each && each.vm().equals(id))
        .forEach((key, fd) -> box.put(key.label(), fd, "memfd"));
    this.vm = Vm.attach(new BackendContext(linux, store, id, directory), record, box);
  }

  /** Runs it. */
  public static void main(String[] args) throws Exception {
    try (RepeatingAgent agent = new RepeatingAgent(Path.of(args[0]), args[1], Path.of(args[2]))) {
      agent.run(Extent.valueOf(args[3]));
      System.out.printf(
          "%d updates, %d calls failed, %d updates undone for that%n",
          agent.updates, agent.failures, agent.undone);
    }
  }

  private void run(Extent extent) throws IOException {
    Set<String> places = new TreeSet<>();
    Round first = new Round(Optional.empty(), Optional.empty(), When.BEFORE, true);
    first.strikes = action -> action == Action.PREPARE;
    first.chosen =
        place -> {
          places.add(place);
          return false;
        };
    update(first);
    whole = Optional.of(state());
    if (extent == Extent.EACH) {
      each();
    } else {
      few(extent == Extent.FEW ? List.copyOf(places) : List.of());
    }
    paused();
    if (extent != Extent.FEWER) {
      departures(extent);
    }
  }

  private void few(List<String> places) throws IOException {
    for (When when : When.values()) {
      Round all = new Round(Optional.empty(), Optional.empty(), when, true);
      all.strikes = action -> action != Action.PREPARE;
      update(all);
    }
    for (Action last : UNDONE_AFTER) {
      update(new Round(Optional.of(Action.CANCEL), Optional.of(last), When.BEFORE, true));
    }
    update(new Round(Optional.of(Action.CANCEL), Optional.of(Action.RESTORE), When.AFTER, true));
    for (int i = 0; i < places.size(); i += STRIDE) {
      String place = places.get(i);
      Round one = new Round(Optional.of(Action.PREPARE), Optional.empty(), When.BEFORE, false);
      one.chosen = place::equals;
      update(one);
    }
  }

  private void each() throws IOException {
    for (When when : When.values()) {
      for (Action action : Action.values()) {
        if (action == Action.CANCEL) {
          for (Action last : UNDONE_AFTER) {
            each(action, Optional.of(last), when, false);
            each(action, Optional.of(last), when, true);
          }
        } else if (action != Action.PLAN && action != Action.SHUT_DOWN) {
          each(action, Optional.empty(), when, false);
          if (action.compareTo(Action.FENCE) >= 0) {
            // The orchestrator tries it again itself, from what the journal says.
            each(action, Optional.empty(), when, true);
          }
        }
      }
    }
  }

  private void each(Action action, Optional<Action> last, When when, boolean given)
      throws IOException {
    Set<String> done = new HashSet<>();
    Round round;
    do {
      round = new Round(Optional.of(action), last, when, false);
      round.given = given;
      round.chosen = place -> !done.contains(place);
      update(round);
      done.addAll(round.struck);
    } while (!round.struck.isEmpty());
  }

  private void paused() throws IOException {
    vm.pause();
    for (When when : When.values()) {
      Round all = new Round(Optional.empty(), Optional.empty(), when, true);
      all.strikes = action -> action != Action.PREPARE;
      update(all);
    }
    vm.resume();
    checkWhole();
  }

  // ---- one update ----

  /** Which calls of an update fail. */
  private static final class Round {
    final Optional<Action> last;
    final When when;

    /** Whether a call fails at one place after the other, in place of one only. */
    final boolean all;

    final Set<String> struck = new HashSet<>();
    final List<String> unhealed = new ArrayList<>();
    Predicate<Action> strikes;
    Predicate<String> chosen = _ -> true;

    /** Whether the orchestrator is told of the failure. */
    boolean given;

    /**
     * @param action of the calls that fail; all if empty
     * @param last the call after which the update is cancelled, if it is
     */
    Round(Optional<Action> action, Optional<Action> last, When when, boolean all) {
      this.strikes = each -> action.isEmpty() || action.get() == each;
      this.last = last;
      this.when = when;
      this.all = all;
    }

    @Override
    public String toString() {
      return when + (last.isPresent() ? ", cancelled after " + last.get() : "") + ": " + struck;
    }
  }

  private interface Call {
    void make(Step step) throws Exception;
  }

  /** The update is cancelled here. */
  private static final class Ended extends Exception {
    private static final long serialVersionUID = 1L;
  }

  /** A participant each of whose calls comes again. */
  private class Repeated implements Source {
    private final Source participant;
    private final Round round;

    Repeated(Source participant, Round round) {
      this.participant = participant;
      this.round = round;
    }

    final void call(Step step, Call call) throws Exception {
      int times = TIMES + 1;
      if (round.strikes.test(step.action())) {
        times = TIMES;
        Optional<String> struck;
        do {
          struck = failing(step, call);
        } while (round.all && struck.isPresent());
      }
      for (int i = 0; i < times; i++) {
        try {
          call.make(step);
        } catch (Exception e) {
          round.unhealed.add(name() + ", " + step.action() + ": " + e + " after " + round);
          throw e;
        }
      }
      if (round.last.equals(Optional.of(step.action()))) {
        throw new Ended();
      }
    }

    /** Makes a call that fails at the next place, if there is one; returns the place. */
    private Optional<String> failing(Step step, Call call) throws Exception {
      String prefix = name() + " " + step.action() + " ";
      kernel.arm(
          round.when,
          place ->
              !place.startsWith(TO_LOG)
                  && !round.struck.contains(prefix + place)
                  && round.chosen.test(prefix + place));
      Optional<String> struck = Optional.empty();
      try {
        call.make(new Uncertain(step));
      } catch (Exception e) {
        struck = kernel.disarm();
        if (struck.isEmpty()) {
          round.unhealed.add(name() + ", " + step.action() + ": " + e + " after " + round);
          throw e;
        }
        if (round.given) {
          throw e;
        }
      } finally {
        struck = struck.or(kernel::disarm);
        struck.ifPresent(place -> round.struck.add(prefix + place));
      }
      return struck;
    }

    @Override
    public String name() {
      return participant.name();
    }

    @Override
    public Optional<String> instance() {
      return participant.instance();
    }

    @Override
    public Set<String> after() {
      return participant.after();
    }

    @Override
    public List<Box> boxes() {
      return participant.boxes();
    }

    @Override
    public Plan plan() throws Exception {
      // It changes nothing, and takes long.
      return whole.isEmpty() ? participant.plan() : Plan.of();
    }

    @Override
    public void prepare(Step step) throws Exception {
      call(step, participant::prepare);
    }

    @Override
    public void shutDown(Step step) throws Exception {
      call(step, participant::shutDown);
    }

    @Override
    public void freeze(Step step) throws Exception {
      call(step, participant::freeze);
    }

    @Override
    public void handOver(Step step) throws Exception {
      call(step, participant::handOver);
    }

    @Override
    public void cancel(Step step) throws Exception {
      call(step, participant::cancel);
    }
  }

  /** The same for one that is also the target. */
  private final class RepeatedUpdate extends Repeated implements Target {
    private final VmUpdate participant;

    RepeatedUpdate(VmUpdate participant, Round round) {
      super(participant, round);
      this.participant = participant;
    }

    @Override
    public void restore(Step step) throws Exception {
      call(step, participant::restore);
    }

    @Override
    public void fence(Step step) throws Exception {
      call(step, participant::fence);
    }

    @Override
    public void resume(Step step) throws Exception {
      call(step, participant::resume);
    }

    @Override
    public void finish(Step step) throws Exception {
      call(step, participant::finish);
    }
  }

  /** A step whose facts may be refused. */
  private final class Uncertain implements Step {
    private final Step step;

    Uncertain(Step step) {
      this.step = step;
    }

    @Override
    public UpdateId update() {
      return step.update();
    }

    @Override
    public Action action() {
      return step.action();
    }

    @Override
    public Duration remaining() {
      return step.remaining();
    }

    @Override
    public boolean recovering() {
      return step.recovering();
    }

    @Override
    public void progress(String what) {
      step.progress(what);
    }

    @Override
    public void note(String key, String value) {
      step.note(key, value);
    }

    @Override
    public void record(String key, String value) {
      kernel.append(key, () -> step.record(key, value));
    }

    @Override
    public Optional<String> recorded(String key) {
      return step.recorded(key);
    }

    @Override
    public void check(Operation operation) {
      step.check(operation);
    }
  }

  private UpdateId id() {
    updates++;
    return new UpdateId("again-" + updates);
  }

  private void update(Round round) throws IOException {
    UpdateId id = id();
    Journal journal = new MemoryJournal();
    int before = vm.generation();
    VmUpdate update =
        new VmUpdate(
            linux,
            vm,
            probe,
            vm.process().binary().path(),
            false,
            new Copies(),
            GuestClock.Choice.CORRECT);
    List<RepeatedUpdate> participants = List.of(new RepeatedUpdate(update, round));
    Outcome outcome =
        new ExecUpdate<>(id, participants, journal, workers, Deadlines.usual(), _ -> {}).run();
    // A recovery makes the same calls from other places, where each fails once, too.
    int struck = -1;
    while (outcome instanceof Outcome.Stuck && struck < round.struck.size()) {
      struck = round.struck.size();
      UpdateHistory history = UpdateHistory.of(journal.read()).orElseThrow();
      outcome =
          new ExecRecovery<>(history, participants, journal, workers, Deadlines.usual(), _ -> {})
              .run();
    }
    failures += round.struck.size();
    boolean completed = outcome instanceof Outcome.Completed;
    boolean cancelled = outcome instanceof Outcome.Cancelled;
    check(
        completed || (cancelled && (round.last.isPresent() || !round.unhealed.isEmpty())),
        round,
        "ended with",
        outcome,
        ";",
        round.unhealed);
    if (cancelled && round.last.isEmpty()) {
      undone++;
      System.out.println("undone: " + round.unhealed);
    } else {
      check(round.unhealed.isEmpty(), round.unhealed);
    }
    check(
        vm.generation() == (completed ? before + 1 : before),
        round,
        ": generation",
        vm.generation(),
        "after",
        before);
    whole(round.toString());
  }

  private void departures(Extent extent) throws IOException {
    for (When when : When.values()) {
      for (Action action :
          List.of(
              Action.PREPARE, Action.SHUT_DOWN, Action.FREEZE, Action.HAND_OVER, Action.CANCEL)) {
        if (extent == Extent.EACH) {
          Set<String> done = new HashSet<>();
          Round round;
          do {
            round = new Round(Optional.of(action), Optional.empty(), when, false);
            round.chosen = place -> !done.contains(place);
            departure(round);
            done.addAll(round.struck);
          } while (!round.struck.isEmpty());
        } else {
          departure(new Round(Optional.of(action), Optional.empty(), when, true));
        }
      }
    }
  }

  /** An update of the kernel up to a reboot call that fails. */
  private void departure(Round round) throws IOException {
    UpdateId id = id();
    Journal journal = new MemoryJournal();
    Path image = GuestImage.find().kernel();
    NextKernel next = new NextKernel(image, Optional.empty(), "", Optional.empty(), Set.of());
    try (KernelFiles files = new KernelFiles(linux, next);
        Fd memfd = linux.memfd("index", 4096)) {
      Departure departure =
          new Departure(
              linux,
              id,
              next,
              files,
              journal,
              Set.of(vm.spec().name()),
              Set.of(),
              Map.of(new ServiceBox("cache"), Map.of("index", memfd)),
              new Stays(),
              SessionHolder.NOBODY,
              List::of);
      VmDeparture leaving =
          new VmDeparture(linux, vm, departure.box(vm.id()), GuestClock.Choice.CORRECT);
      boolean[] crossed = {false};
      List<Repeated> participants =
          List.of(new Repeated(leaving, round), new Repeated(departure, round));
      Outcome outcome =
          new KexecDeparture(
                  id,
                  participants,
                  journal,
                  workers,
                  Deadlines.kexec(),
                  () -> {
                    crossed[0] = true;
                    departure.cross();
                  },
                  _ -> {})
              .run();
      failures += round.struck.size();
      check(outcome instanceof Outcome.Cancelled, round, "ended with", outcome);
      if (!crossed[0]) {
        undone++;
        System.out.println("undone: " + round.unhealed + " " + outcome);
        check(!round.unhealed.isEmpty(), round, "ended with", outcome);
      }
      check(!liveUpdate.loaded(), round, ": the next kernel is loaded");
      check(liveUpdate.sessions().isEmpty(), round, ": sessions", liveUpdate.sessions());
    }
    whole(round.toString());
  }

  /** A host that does not leave. */
  private static final class Stays implements HostShutdown {
    @Override
    public String describe() {
      return "nothing is stopped";
    }

    @Override
    public Duration limit() {
      return Duration.ofMinutes(1);
    }

    @Override
    public void stopTheRest(Step step) {}

    @Override
    public void leave(Linux linux) {
      throw new IllegalStateException("the test does not leave");
    }

    @Override
    public void goesOn(String why) {}
  }

  /** The copies of device states, as the agent has them. */
  private final class Copies implements VmUpdate.DeviceState {
    @Override
    public Fd create(VmId id) {
      Fd state = linux.memfd("device state of " + id.name(), 0);
      try {
        store.put(new StoreKey.DeviceState(id), state);
        return state;
      } catch (RuntimeException e) {
        state.close();
        throw e;
      }
    }

    @Override
    public Optional<Fd> find(VmId id) {
      return store.find(new StoreKey.DeviceState(id));
    }

    @Override
    public void drop(VmId id) {
      store.drop(Set.of(new StoreKey.DeviceState(id)));
    }
  }

  // ---- what is left ----

  private static void check(boolean holds, Object... otherwise) {
    if (!holds) {
      throw new AssertionError(
          Arrays.stream(otherwise).map(String::valueOf).collect(Collectors.joining(" ")));
    }
  }

  private State state() throws IOException {
    Set<String> kept = new TreeSet<>();
    try (ProcessStore next = ProcessStore.open(Linux.system(), run.resolve("keeper"))) {
      // What another agent would find.
      next.keys().forEach(key -> kept.add(key.text().replaceAll("@\\d+", "@N")));
    }
    return new State(Host.descriptors(ProcessHandle.current().pid()), kept, Host.files(run));
  }

  /** Waits until there is what there was before, and checks that the guest goes on. */
  private void whole(String after) throws IOException {
    if (whole.isPresent()) {
      State before = whole.get();
      State[] now = {state()};
      try {
        // What only a thread has to close that was woken may take a moment.
        Host.await(
            "what there was",
            () -> {
              now[0] = stateNow();
              return now[0].equals(before);
            });
      } catch (AssertionError e) {
        throw new AssertionError(
            "after %s there is %s, and was %s".formatted(after, now[0], before), e);
      }
    }
    check(
        Host.qemus(run).equals(List.of((long) vm.process().identity().pid())),
        "after",
        after,
        ": QEMUs",
        Host.qemus(run),
        ", the VM's is",
        vm.process().identity());
    if (vm.runState() != RunState.PAUSED) {
      checkWhole();
    }
  }

  private State stateNow() {
    try {
      return state();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void checkWhole() throws IOException {
    check(vm.runState() == RunState.RUNNING, "the guest is", vm.runState());
    witness.follow(console);
    long from = witness.last();
    Host.await(
        "the guest goes on from " + from,
        () -> {
          witness.follow(console);
          return witness.last() > from + 2;
        });
    check(
        witness.consoleCheck() instanceof ChainCheck.Unbroken, "console:", witness.consoleCheck());
  }

  @Override
  public void close() {
    vm.close();
    store.close();
    workers.close();
  }
}
