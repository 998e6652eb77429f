package io.holdfast.core.run;

import io.holdfast.core.box.Names;
import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.Actor;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.Operation;
import io.holdfast.core.state.Phase;
import io.holdfast.core.state.RefusedException;
import io.holdfast.core.state.UpdateMachine;
import io.holdfast.core.state.UpdateState;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/**
 * Runs one update, or recovers one whose agent died. With the kexec carrier it runs the half before
 * the reboot call; the half after it is a recovery in the next kernel.
 *
 * <p>Every transition is journalled before it takes effect. Until COMMITTED, a failure, a missed
 * deadline or {@link #cancel} undoes everything; from COMMITTED on there is only forward. In the
 * blackout it creates no thread, and its only input or output is the journal's append; a single
 * participant is called on the thread that called {@link #run}.
 */
public final class Orchestrator {
  /** The journal's key for a participant whose part of a cancelled update is undone. */
  public static final String UNDONE = "undone";

  /** How long an update that is prepared waits for its turn to stand still. */
  private static final Duration TURN = Duration.ofMinutes(2);

  private final UpdateId id;
  private final Journal journal;
  private final Workers workers;
  private final Deadlines deadlines;
  private final Turns turns;
  private final Timeline timeline;
  private final UpdateMachine machine;
  private final boolean recovering;

  /** None on exec. */
  private final Optional<Crossing> crossing;

  /** Those that others depend on first; empty if {@link #tangles} is not. */
  private final List<Member> members;

  private final List<Obstacle> tangles;

  /** Guards what follows, and every member's running call. Never held while waiting. */
  private final Object lock = new Object();

  private @Nullable Failure stop;
  private boolean committing;
  private boolean started;
  private boolean ended;
  private Workers.@Nullable Alarm alarm;

  /** Waits for the update's turn. */
  private @Nullable Thread waiting;

  /** Only the thread of {@link #run} uses it: the update has its turn, and has not ended it. */
  private boolean hasTurn;

  /**
   * Only the thread of {@link #run} uses it: COMMITTED was tried, and may be in the journal
   * although the journal says it isn't.
   */
  private boolean commitUncertain;

  /**
   * A new update, which {@link #run} runs, and which may stand still at any time.
   *
   * @param participants in any order
   * @param listener hears what happens, outside the blackout
   * @throws IllegalArgumentException if a participant's name breaks {@link Names#RULE}
   */
  public Orchestrator(
      UpdateId id,
      Collection<? extends Participant> participants,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Timeline.Listener listener) {
    this(id, participants, journal, workers, deadlines, Turns.FREE, listener);
  }

  /**
   * The same for one of several updates.
   *
   * @param turns says when it may stand still; it is in its brownout until then
   */
  public Orchestrator(
      UpdateId id,
      Collection<? extends Participant> participants,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Turns turns,
      Timeline.Listener listener) {
    this(
        id,
        participants,
        journal,
        workers,
        deadlines,
        turns,
        new Timeline(id, CarrierKind.EXEC, workers.now(), listener),
        new UpdateMachine(CarrierKind.EXEC),
        Optional.empty(),
        false);
  }

  /**
   * A new update of the kernel, which {@link #run} runs up to the reboot call.
   *
   * @param crossing makes that call
   */
  public static Orchestrator departing(
      UpdateId id,
      Collection<? extends Participant> participants,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Crossing crossing,
      Timeline.Listener listener) {
    return new Orchestrator(
        id,
        participants,
        journal,
        workers,
        deadlines,
        Turns.FREE,
        new Timeline(id, CarrierKind.KEXEC, workers.now(), listener),
        new UpdateMachine(CarrierKind.KEXEC),
        Optional.of(crossing),
        false);
  }

  private Orchestrator(
      UpdateId id,
      Collection<? extends Participant> participants,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Turns turns,
      Timeline timeline,
      UpdateMachine machine,
      Optional<Crossing> crossing,
      boolean recovering) {
    this.id = id;
    this.journal = journal;
    this.workers = workers;
    this.deadlines = deadlines;
    this.turns = turns;
    this.timeline = timeline;
    this.machine = machine;
    this.crossing = crossing;
    this.recovering = recovering;
    this.tangles = new ArrayList<>();
    this.members = order(participants, tangles);
  }

  /**
   * The recovery of an update whose agent died, which {@link #run} runs: it cancels an update that
   * was not committed, and takes one that was committed forward. On kexec that is one that has
   * left: its journal, as it arrived in the next kernel, ends with HANDED_OVER.
   *
   * @param records what the journal holds
   * @param participants those of the update, made anew; what they recorded they find through {@link
   *     Step#recorded}
   * @param journal where the recovery goes on writing
   * @return nothing if the journal's last update ended, or never changed anything
   * @throws IllegalArgumentException if {@code participants} are not those that the journal names
   */
  public static Optional<Orchestrator> recovery(
      List<JournalRecord> records,
      Collection<? extends Participant> participants,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Timeline.Listener listener) {
    Optional<UpdateHistory> history = UpdateHistory.of(records);
    if (history.isEmpty() || history.get().state() == UpdateState.NORMAL) {
      return Optional.empty();
    }
    JournalRecord.Began began = history.get().began();
    List<TimelineEvent> past = new ArrayList<>();
    for (JournalRecord.Entered each : history.get().states()) {
      past.add(new TimelineEvent.Entered(each.nanoTime(), each.state()));
    }
    for (JournalRecord.Called each : history.get().calls()) {
      past.add(new TimelineEvent.Began(each.began(), each.participant(), each.action()));
      past.add(
          new TimelineEvent.Ended(
              each.ended(), each.participant(), each.action(), Optional.empty()));
    }
    Timeline timeline = new Timeline(began.update(), began.carrier(), began.at(), listener);
    past.sort((a, b) -> Long.compare(a.at(), b.at()));
    past.forEach(timeline::addPast);
    Orchestrator recovery =
        new Orchestrator(
            began.update(),
            participants,
            journal,
            workers,
            deadlines,
            Turns.FREE,
            timeline,
            new UpdateMachine(began.carrier(), history.get().state()),
            Optional.empty(),
            true);
    Set<String> given = new HashSet<>();
    recovery.members.forEach(each -> given.add(each.name));
    if (!given.equals(Set.copyOf(began.participants()))) {
      throw new IllegalArgumentException(
          "update "
              + began.update()
              + " can't be recovered: its journal names participants "
              + began.participants()
              + ", and what was given is "
              + given
              + " "
              + recovery.tangles);
    }
    for (Member member : recovery.members) {
      member.facts.putAll(history.get().facts(member.name));
    }
    return Optional.of(recovery);
  }

  /** The update's name. */
  public UpdateId id() {
    return id;
  }

  /** The state at this moment. */
  public UpdateState state() {
    return machine.state();
  }

  /** What has happened so far. */
  public Timeline.Snapshot timeline() {
    return timeline.snapshot();
  }

  /**
   * What all participants plan.
   *
   * @param order the participants' names, those that others depend on first; empty if their
   *     dependencies are an obstacle
   * @param plans by name, in that order
   * @param obstacles all of them, each with its participant's name
   */
  public record Planned(List<String> order, Map<String, Plan> plans, List<Obstacle> obstacles) {
    /** All losses, each with its participant's name. */
    public List<String> losses() {
      List<String> all = new ArrayList<>();
      plans.forEach((name, plan) -> plan.losses().forEach(loss -> all.add(name + ": " + loss)));
      return List.copyOf(all);
    }

    /** All risks, each with its participant's name. */
    public List<String> risks() {
      List<String> all = new ArrayList<>();
      plans.forEach((name, plan) -> plan.risks().forEach(risk -> all.add(name + ": " + risk)));
      return List.copyOf(all);
    }
  }

  /** Asks every participant for its plan, and changes nothing. */
  public Planned plan() {
    try (Workers.Alarm watchdog = workers.alarm(this::ring)) {
      watch(watchdog);
      return planNow();
    }
  }

  /**
   * Runs the update to its end, on this thread and as many others as there are participants besides
   * one.
   *
   * @throws IllegalStateException the second time
   */
  public Outcome run() {
    synchronized (lock) {
      if (started) {
        throw new IllegalStateException("update " + id + " was run already");
      }
      started = true;
    }
    try (Workers.Alarm watchdog = workers.alarm(this::ring)) {
      watch(watchdog);
      return recovering ? recoverNow() : runNow();
    } finally {
      endTurn();
      synchronized (lock) {
        ended = true;
      }
      timeline.tell();
    }
  }

  /**
   * Asks a running update to stop and undo everything; {@link #run} returns once that is done. May
   * be called on any thread, and again.
   *
   * @param why for the outcome
   * @throws RefusedException if the update is past its point of no return, has ended, or is a
   *     recovery
   */
  public void cancel(String why) {
    synchronized (lock) {
      UpdateState state = machine.state();
      if (state == UpdateState.CANCELLING && !ended) {
        return;
      }
      if (recovering) {
        throw new RefusedException(
            "cancelling update " + id, state.toString(), "it is being recovered; let that end");
      }
      if (ended) {
        throw new RefusedException(
            "cancelling update " + id,
            state.toString(),
            "it has ended; there is nothing to cancel");
      }
      if (committing) {
        throw new RefusedException(
            "cancelling update " + id,
            state.toString(),
            "it is past its point of no return and can only go forward; update back to the old"
                + " version once it is done");
      }
      stop(
          new Failure(
              Failure.Reason.CANCELLED,
              state,
              Optional.empty(),
              Optional.empty(),
              why,
              Optional.empty()));
    }
  }

  private void watch(Workers.Alarm watchdog) {
    synchronized (lock) {
      alarm = watchdog;
    }
  }

  private Outcome runNow() {
    timeline.begins(workers.now());
    Failure before = stopped();
    if (before != null) {
      return new Outcome.Cancelled(before, List.of(), timeline.snapshot());
    }
    Planned planned = planNow();
    List<Obstacle> obstacles = new ArrayList<>(planned.obstacles());
    if (stopped() == null && obstacles.isEmpty()) {
      begin().ifPresent(obstacles::add);
    }
    Failure early = stopped();
    if (early != null && machine.state() == UpdateState.NORMAL) {
      return new Outcome.Cancelled(early, List.of(), timeline.snapshot());
    }
    if (!obstacles.isEmpty()) {
      return new Outcome.Refused(obstacles, timeline.snapshot());
    }
    boolean kexec = machine.carrier() == CarrierKind.KEXEC;
    boolean frozen =
        all(Action.PREPARE)
            && go(UpdateState.PREPARED)
            && awaitTurn()
            && (!kexec || (go(UpdateState.SHUTTING_DOWN) && all(Action.SHUT_DOWN)))
            && go(UpdateState.FREEZING)
            && all(Action.FREEZE)
            && go(UpdateState.FROZEN)
            && all(Action.HAND_OVER);
    if (kexec) {
      return frozen && cross() ? new Outcome.HandedOver(timeline.snapshot()) : back();
    }
    boolean ready =
        frozen
            && go(UpdateState.HANDED_OVER)
            && go(UpdateState.RESTORING)
            && all(Action.RESTORE)
            && go(UpdateState.RESTORED)
            && commit();
    return ready ? forward(planned.losses()) : back();
  }

  private Planned planNow() {
    if (!tangles.isEmpty()) {
      return new Planned(List.of(), Map.of(), List.copyOf(tangles));
    }
    workers.ready(members.size());
    Map<String, Failure> failures = new HashMap<>();
    for (Failure failure : sweep(Action.PLAN)) {
      failures.put(failure.participant().orElse(""), failure);
    }
    Map<String, Plan> plans = new LinkedHashMap<>();
    List<Obstacle> obstacles = new ArrayList<>();
    for (Member member : members) {
      Failure failure = failures.get(member.name);
      Plan plan = member.plan;
      if (failure != null || plan == null) {
        String why = failure == null ? "it gave none" : failure.message();
        obstacles.add(
            new Obstacle(
                member.name + ": its plan", why, "repair that and try again; nothing was changed"));
        continue;
      }
      plans.put(member.name, plan);
      for (Obstacle each : plan.obstacles()) {
        obstacles.add(new Obstacle(member.name + ": " + each.what(), each.why(), each.advice()));
      }
    }
    return new Planned(names(), Collections.unmodifiableMap(plans), List.copyOf(obstacles));
  }

  /**
   * Enters PREPARING. What keeps it from that keeps it from changing anything, and so is an
   * obstacle.
   */
  private Optional<Obstacle> begin() {
    try {
      for (Member member : members) {
        member.participant.boxes().forEach(box -> box.join(machine));
      }
      journal.append(
          new JournalRecord.Began(id, machine.carrier(), timeline.began(), names(), instances()));
      enter(UpdateState.PREPARING);
      return Optional.empty();
    } catch (RefusedException e) {
      return Optional.of(new Obstacle(e.tried(), "refused in state " + e.state(), e.remedy()));
    } catch (RuntimeException e) {
      return Optional.of(
          new Obstacle(
              "the journal of update " + id,
              text(e),
              "repair that and try again; nothing was changed"));
    }
  }

  private Map<String, String> instances() {
    Map<String, String> instances = new HashMap<>();
    members.forEach(
        each -> each.participant.instance().ifPresent(one -> instances.put(each.name, one)));
    return instances;
  }

  private List<String> names() {
    return members.stream().map(each -> each.name).toList();
  }

  private Outcome recoverNow() {
    workers.ready(members.size());
    UpdateState found = machine.state();
    for (Member member : members) {
      if (!member.facts.containsKey(UNDONE)) {
        member.participant.boxes().forEach(box -> box.rejoin(machine));
      }
      member.begun = true;
    }
    if (found.phase() == Phase.BLACKOUT) {
      timeline.hush();
    }
    if (found == UpdateState.CANCELLING || UpdateMachine.cancellable(found, machine.carrier())) {
      synchronized (lock) {
        stop =
            new Failure(
                Failure.Reason.FAILED,
                found,
                Optional.empty(),
                Optional.empty(),
                found == UpdateState.CANCELLING
                    ? "an attempt to undo it did not end"
                    : "the agent died before the update was committed",
                Optional.empty());
      }
      return back();
    }
    synchronized (lock) {
      committing = true;
    }
    if (machine.carrier() == CarrierKind.KEXEC) {
      return arrive();
    }
    if (found != UpdateState.RESUMED) {
      List<Failure> failures = found == UpdateState.COMMITTED ? sweep(Action.FENCE) : List.of();
      if (failures.isEmpty() && found == UpdateState.HANDED_OVER) {
        failures = step(UpdateState.RESTORING);
      }
      // RESUMED was not journalled, so nothing was let run yet, and restoring does not take a
      // running guest back in time.
      if (failures.isEmpty()) {
        failures = sweep(Action.RESTORE);
      }
      if (failures.isEmpty() && machine.state() == UpdateState.RESTORING) {
        failures = step(UpdateState.RESTORED);
      }
      if (failures.isEmpty() && machine.state() == UpdateState.RESTORED) {
        failures = step(UpdateState.COMMITTED);
      }
      if (!failures.isEmpty()) {
        return new Outcome.Stuck(failures, timeline.snapshot());
      }
    }
    return forward(List.of());
  }

  /**
   * The other side of a kexec, from wherever it stands. A participant that fails is set aside, with
   * those that depend on it: the others run, what it was given is held for it, and another recovery
   * tries it again. So restoring is tried in later states, too.
   */
  private Outcome arrive() {
    List<Failure> failures = new ArrayList<>();
    if (machine.state() == UpdateState.HANDED_OVER) {
      failures.addAll(step(UpdateState.RESTORING));
    }
    if (failures.isEmpty()) {
      failures.addAll(sweep(Action.RESTORE));
      boolean somebody = members.stream().anyMatch(each -> !each.aside);
      for (UpdateState next :
          List.of(UpdateState.RESTORED, UpdateState.COMMITTED, UpdateState.RESUMED)) {
        if (somebody && machine.state().compareTo(next) < 0) {
          if (next == UpdateState.RESUMED) {
            failures.addAll(sweep(Action.FENCE));
          }
          List<Failure> unwritten = step(next);
          failures.addAll(unwritten);
          somebody = unwritten.isEmpty();
        }
      }
      if (somebody) {
        failures.addAll(sweep(Action.RESUME));
        failures.addAll(sweep(Action.FINISH));
      }
    }
    timeline.tell();
    if (failures.isEmpty()) {
      machine.finished();
      failures.addAll(step(UpdateState.NORMAL));
    }
    return failures.isEmpty()
        ? new Outcome.Completed(List.of(), timeline.snapshot())
        : new Outcome.Stuck(failures, timeline.snapshot());
  }

  /** The reboot call; false if this kernel goes on. */
  private boolean cross() {
    synchronized (lock) {
      if (stop != null) {
        return false;
      }
      committing = true;
    }
    try {
      for (Timeline.Call call : timeline.calls()) {
        journal.append(
            new JournalRecord.Called(
                id, call.participant(), call.action(), call.began(), call.ended()));
      }
      crossing.orElseThrow().cross();
      return true;
    } catch (Throwable e) {
      synchronized (lock) {
        committing = false;
      }
      stop(
          new Failure(
              Failure.Reason.FAILED,
              machine.state(),
              Optional.empty(),
              Optional.empty(),
              "the next kernel could not be started: " + text(e),
              Optional.of(e)));
      return false;
    }
  }

  /** From COMMITTED or RESUMED to the end. */
  private Outcome forward(List<String> losses) {
    List<Failure> failures = sweep(Action.FENCE);
    if (failures.isEmpty() && machine.state() == UpdateState.COMMITTED) {
      failures = step(UpdateState.RESUMED);
    }
    if (failures.isEmpty()) {
      failures = sweep(Action.RESUME);
    }
    endTurn();
    if (failures.isEmpty()) {
      failures = sweep(Action.FINISH);
    }
    // Not before: whoever is told takes a processor that the guest wants for its first steps.
    timeline.tell();
    if (failures.isEmpty()) {
      machine.finished();
      failures = step(UpdateState.NORMAL);
    }
    return failures.isEmpty()
        ? new Outcome.Completed(losses, timeline.snapshot())
        : new Outcome.Stuck(failures, timeline.snapshot());
  }

  /**
   * From anywhere before COMMITTED back to NORMAL; stays in CANCELLING if that does not succeed.
   */
  private Outcome back() {
    Failure cause = Objects.requireNonNull(stopped());
    List<Failure> failures = new ArrayList<>();
    if (machine.state() != UpdateState.CANCELLING) {
      List<Failure> unwritten = step(UpdateState.CANCELLING);
      if (!unwritten.isEmpty()) {
        if (commitUncertain) {
          // Recovery might find COMMITTED and let the successor run: then the predecessor must not.
          return new Outcome.Stuck(List.of(cause, unwritten.getFirst()), timeline.snapshot());
        }
        // Recovery would find a state before COMMITTED and cancel too, so undoing without the
        // record is safe.
        failures.addAll(unwritten);
        note(UpdateState.CANCELLING);
      }
    }
    List<Failure> left = sweep(Action.CANCEL);
    endTurn();
    if (!left.isEmpty()) {
      markUndone(left);
      List<Failure> causes = new ArrayList<>(List.of(cause));
      causes.addAll(left);
      causes.addAll(failures);
      return new Outcome.Stuck(causes, timeline.snapshot());
    }
    List<Failure> unwritten = step(UpdateState.NORMAL);
    if (!unwritten.isEmpty()) {
      failures.addAll(unwritten);
      note(UpdateState.NORMAL);
    }
    return new Outcome.Cancelled(cause, failures, timeline.snapshot());
  }

  /**
   * Records whose part is undone, so that another attempt leaves them alone: their users may have
   * paused them or changed them since.
   */
  private void markUndone(List<Failure> left) {
    for (Member member : members) {
      boolean failed =
          left.stream().anyMatch(each -> each.participant().equals(Optional.of(member.name)));
      if (member.begun && !failed && !member.facts.containsKey(UNDONE)) {
        try {
          journal.append(new JournalRecord.Fact(id, member.name, UNDONE, "yes"));
          member.facts.put(UNDONE, "yes");
        } catch (RuntimeException e) {
          // Then its part is undone once more, which participants must bear.
          timeline.add(
              new TimelineEvent.Noted(
                  workers.nanoTime(), member.name, Action.CANCEL, "journal", text(e)));
        }
      }
    }
  }

  /**
   * The point of no return: from the moment that the record may be in the journal, nobody can
   * cancel.
   */
  private boolean commit() {
    synchronized (lock) {
      if (stop != null) {
        return false;
      }
      committing = true;
    }
    List<Failure> failures = step(UpdateState.COMMITTED);
    if (!failures.isEmpty()) {
      commitUncertain = true;
      synchronized (lock) {
        stop = failures.getFirst();
      }
    }
    return failures.isEmpty();
  }

  /** Waits until the update may stand still; false if it is to stop. */
  private boolean awaitTurn() {
    synchronized (lock) {
      if (stop != null) {
        return false;
      }
      waiting = Thread.currentThread();
    }
    boolean interrupted = false;
    try {
      hasTurn = turns.await(TURN);
    } catch (InterruptedException e) {
      interrupted = true;
    }
    synchronized (lock) {
      waiting = null;
    }
    // An interrupt meant for the wait must not hit what follows it.
    workers.clearInterrupt();
    if (!hasTurn) {
      // Does nothing if it was interrupted because it is to stop.
      stop(
          new Failure(
              interrupted ? Failure.Reason.FAILED : Failure.Reason.TIMED_OUT,
              machine.state(),
              Optional.empty(),
              Optional.empty(),
              interrupted
                  ? "interrupted while it waited for its turn to stand still"
                  : "its turn to stand still did not come within "
                      + TURN.toSeconds()
                      + " s: other updates take long; try again when they have ended",
              Optional.empty()));
    }
    return stopped() == null;
  }

  private void endTurn() {
    if (hasTurn) {
      hasTurn = false;
      turns.end();
    }
  }

  /** A transition on the way to the commit; false if the update is to stop. */
  private boolean go(UpdateState to) {
    if (stopped() != null) {
      return false;
    }
    List<Failure> failures = step(to);
    failures.forEach(this::stop);
    return failures.isEmpty();
  }

  /** Calls on the way to the commit; false if the update is to stop. */
  private boolean all(Action action) {
    List<Failure> _ = sweep(action);
    return stopped() == null;
  }

  private List<Failure> step(UpdateState to) {
    UpdateState from = machine.state();
    try {
      enter(to);
      return List.of();
    } catch (RuntimeException e) {
      return List.of(
          new Failure(
              Failure.Reason.FAILED,
              from,
              Optional.empty(),
              Optional.empty(),
              "going to " + to + " failed: " + text(e),
              Optional.of(e)));
    }
  }

  private void enter(UpdateState to) {
    machine.checkEnter(to);
    journal.append(new JournalRecord.Entered(id, to, workers.nanoTime()));
    note(to);
  }

  private void note(UpdateState to) {
    machine.enter(to);
    if (to.phase() == Phase.BLACKOUT) {
      timeline.hush();
    }
    timeline.add(new TimelineEvent.Entered(workers.nanoTime(), to));
  }

  private @Nullable Failure stopped() {
    synchronized (lock) {
      return stop;
    }
  }

  /** Remembers the first reason to stop, and interrupts whatever runs. */
  private void stop(Failure why) {
    synchronized (lock) {
      if (stop == null) {
        stop = why;
      }
      if (waiting != null) {
        workers.interrupt(waiting);
      }
      for (Member member : members) {
        if (member.thread != null) {
          workers.interrupt(member.thread);
        }
      }
    }
  }

  /**
   * The watchdog's: interrupts each call whose deadline has passed, once, and sets the alarm for
   * the next.
   */
  private void ring() {
    synchronized (lock) {
      long now = workers.nanoTime();
      for (Member member : members) {
        if (member.thread != null && !member.late && member.deadline - now <= 0) {
          member.late = true;
          workers.interrupt(member.thread);
        }
      }
      setAlarm();
    }
  }

  private void setAlarm() {
    Member next = null;
    for (Member member : members) {
      if (member.thread != null
          && !member.late
          && (next == null || member.deadline - next.deadline < 0)) {
        next = member;
      }
    }
    if (next != null && alarm != null) {
      alarm.set(next.deadline);
    }
  }

  /**
   * Calls every participant that the action is for, each as soon as those that it waits for have
   * returned.
   */
  private List<Failure> sweep(Action action) {
    List<Failure> failures = Collections.synchronizedList(new ArrayList<>());
    if (members.size() == 1) {
      call(members.getFirst(), action, failures);
      return failures;
    }
    boolean backwards =
        switch (action) {
          case FREEZE, HAND_OVER, FENCE, CANCEL -> true;
          case PLAN, PREPARE, SHUT_DOWN, RESTORE, RESUME, FINISH -> false;
        };
    List<Workers.Gate> gates = new ArrayList<>(members.size());
    for (Member member : members) {
      member.failed = false;
      gates.add(workers.gate());
    }
    List<Runnable> tasks = new ArrayList<>(members.size());
    for (Member member : members) {
      List<Member> first =
          action == Action.PLAN ? List.of() : backwards ? member.dependents : member.dependencies;
      tasks.add(
          () -> {
            first.forEach(each -> gates.get(each.index).await());
            try {
              boolean needs = action == Action.RESTORE || action == Action.RESUME;
              if (needs && first.stream().anyMatch(each -> each.failed)) {
                member.failed = true;
                member.aside = arriving();
              } else if (!member.aside && first.stream().noneMatch(each -> each.aside)) {
                call(member, action, failures);
              }
            } finally {
              gates.get(member.index).open();
            }
          });
    }
    workers.together(tasks);
    return failures;
  }

  private void call(Member member, Action action, List<Failure> failures) {
    boolean abortable = !committed() && action != Action.PLAN && action != Action.CANCEL;
    if (action == Action.CANCEL && (!member.begun || member.facts.containsKey(UNDONE))) {
      return;
    }
    long begin = workers.nanoTime();
    StepOf step = new StepOf(member, action, begin + deadlines.of(action).toNanos());
    synchronized (lock) {
      if (abortable && stop != null) {
        return;
      }
      member.begun = member.begun || action == Action.PREPARE;
      member.thread = Thread.currentThread();
      member.deadline = step.deadline;
      member.late = false;
      setAlarm();
    }
    timeline.add(new TimelineEvent.Began(begin, member.name, action));
    Throwable thrown = null;
    try {
      member.call(action, step);
    } catch (Throwable e) {
      // Errors too: whatever broke in a participant, the guest must not be left standing still.
      thrown = e;
    }
    boolean late;
    synchronized (lock) {
      member.thread = null;
      late = member.late;
    }
    // An interrupt meant for the call must not hit what follows it.
    workers.clearInterrupt();
    Optional<String> problem = Optional.empty();
    if (thrown != null || (late && abortable)) {
      String message =
          late
              ? "not done at its deadline of "
                  + deadlines.of(action)
                  + (thrown == null ? "" : ": " + text(thrown))
              : text(Objects.requireNonNull(thrown));
      problem = Optional.of(message);
      member.failed = true;
      member.aside = arriving();
      Failure failure =
          new Failure(
              late ? Failure.Reason.TIMED_OUT : Failure.Reason.FAILED,
              machine.state(),
              Optional.of(action),
              Optional.of(member.name),
              message,
              Optional.ofNullable(thrown));
      failures.add(failure);
      if (abortable) {
        stop(failure);
      }
    }
    timeline.add(new TimelineEvent.Ended(workers.nanoTime(), member.name, action, problem));
  }

  /** Whether this is the other side of a kexec, where each goes on by itself. */
  private boolean arriving() {
    return recovering && machine.carrier() == CarrierKind.KEXEC && committed();
  }

  private boolean committed() {
    synchronized (lock) {
      return committing;
    }
  }

  private static String text(Throwable thrown) {
    String message = thrown.getMessage();
    return message == null || thrown instanceof Error ? thrown.toString() : message;
  }

  /**
   * Sorts participants so that each comes after those that it depends on; says in {@code tangles}
   * why that can't be done.
   */
  private static List<Member> order(
      Collection<? extends Participant> participants, List<Obstacle> tangles) {
    Map<String, Member> byName = new LinkedHashMap<>();
    for (Participant participant : participants) {
      Member member = new Member(participant);
      if (byName.putIfAbsent(member.name, member) != null) {
        tangles.add(
            new Obstacle(member.name, "two participants have this name", "rename one of them"));
      }
    }
    if (byName.isEmpty()) {
      tangles.add(
          new Obstacle("the update", "it has no participant", "name what is to be updated"));
    }
    for (Member member : byName.values()) {
      for (String name : member.participant.after()) {
        Member dependency = byName.get(name);
        if (dependency == null) {
          tangles.add(
              new Obstacle(
                  member.name,
                  "it depends on " + name + ", which is not in the update",
                  "update " + name + " too"));
        } else {
          member.dependencies.add(dependency);
          dependency.dependents.add(member);
        }
      }
    }
    List<Member> ordered = new ArrayList<>();
    List<Member> left = new ArrayList<>(byName.values());
    while (tangles.isEmpty() && !left.isEmpty()) {
      List<Member> free =
          left.stream().filter(each -> ordered.containsAll(each.dependencies)).toList();
      if (free.isEmpty()) {
        tangles.add(
            new Obstacle(
                String.join(", ", left.stream().map(each -> each.name).toList()),
                "they depend on one another in a circle, or on such a circle",
                "break the circle"));
      }
      for (Member member : free) {
        member.index = ordered.size();
        ordered.add(member);
      }
      left.removeAll(free);
    }
    return tangles.isEmpty() ? List.copyOf(ordered) : List.of();
  }

  /** A participant in this update. */
  private static final class Member {
    final Participant participant;
    final String name;
    final List<Member> dependencies = new ArrayList<>();
    final List<Member> dependents = new ArrayList<>();
    final Map<String, String> facts = new ConcurrentHashMap<>();
    int index;
    volatile boolean failed;

    /** It failed on the other side of a kexec, or one that it depends on did. */
    volatile boolean aside;

    @Nullable Plan plan;

    // Guarded by the orchestrator's lock.
    boolean begun;
    @Nullable Thread thread;
    long deadline;
    boolean late;

    Member(Participant participant) {
      this.participant = participant;
      this.name = Names.check("participant name", participant.name());
    }

    void call(Action action, Step step) throws Exception {
      switch (action) {
        case PLAN -> plan = participant.plan();
        case PREPARE -> participant.prepare(step);
        case SHUT_DOWN -> participant.shutDown(step);
        case FREEZE -> participant.freeze(step);
        case HAND_OVER -> participant.handOver(step);
        case RESTORE -> participant.restore(step);
        case FENCE -> participant.fence(step);
        case RESUME -> participant.resume(step);
        case FINISH -> participant.finish(step);
        case CANCEL -> participant.cancel(step);
      }
    }
  }

  private final class StepOf implements Step {
    private final Member member;
    private final Action action;
    private final long deadline;

    StepOf(Member member, Action action, long deadline) {
      this.member = member;
      this.action = action;
      this.deadline = deadline;
    }

    @Override
    public UpdateId update() {
      return id;
    }

    @Override
    public Action action() {
      return action;
    }

    @Override
    public Duration remaining() {
      return Duration.ofNanos(Math.max(0, deadline - workers.nanoTime()));
    }

    @Override
    public boolean recovering() {
      return recovering;
    }

    @Override
    public void progress(String what) {
      timeline.add(new TimelineEvent.Progressed(workers.nanoTime(), member.name, action, what));
    }

    @Override
    public void note(String key, String value) {
      timeline.add(new TimelineEvent.Noted(workers.nanoTime(), member.name, action, key, value));
    }

    @Override
    public void record(String key, String value) {
      journal.append(new JournalRecord.Fact(id, member.name, key, value));
      member.facts.put(key, value);
    }

    @Override
    public Optional<String> recorded(String key) {
      return Optional.ofNullable(member.facts.get(key));
    }

    @Override
    public void check(Operation operation) {
      machine.check(operation, Actor.PARTICIPANT, member.name);
    }
  }
}
