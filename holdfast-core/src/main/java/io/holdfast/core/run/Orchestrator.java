package io.holdfast.core.run;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.participant.Participant;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Target;
import io.holdfast.core.participant.Undoable;
import io.holdfast.core.run.Members.Member;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.Phase;
import io.holdfast.core.state.RefusedException;
import io.holdfast.core.state.UpdateState;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Runs one update, or goes on with one that an earlier agent or an earlier attempt began.
 *
 * <ul>
 *   <li>{@link ExecUpdate} replaces processes; {@link ExecRecovery} goes on with that.
 *   <li>{@link KexecDeparture} replaces the kernel, up to the reboot call; {@link KexecUndo} undoes
 *       one that never made that call; {@link KexecArrival} goes on in the new kernel.
 * </ul>
 *
 * <p>Every transition is journalled before it takes effect. Until the commit, a failure, a missed
 * deadline or {@link #cancel} undoes everything; from the commit on there is only forward. In the
 * blackout it creates no thread, and its only input or output is the journal's append; a single
 * participant is called on the thread that called {@link #run}.
 */
public abstract sealed class Orchestrator
    permits ExecUpdate, ExecRecovery, KexecDeparture, KexecUndo, KexecArrival {
  /** The journal's key for a participant whose part of a cancelled update is undone. */
  public static final String UNDONE = "undone";

  final Course course;
  private final Calls<?> calls;

  Orchestrator(Course course, Calls<?> calls) {
    this.course = course;
    this.calls = calls;
  }

  /** Returns the update's name. */
  public final UpdateId id() {
    return course.id();
  }

  /** Returns the state at this moment. */
  public final UpdateState state() {
    return course.state();
  }

  /** Returns what has happened so far. */
  public final Timeline.Snapshot timeline() {
    return course.timeline().snapshot();
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
    /** Returns all losses, each with its participant's name. */
    public List<String> losses() {
      List<String> all = new ArrayList<>();
      plans.forEach((name, plan) -> plan.losses().forEach(loss -> all.add(name + ": " + loss)));
      return List.copyOf(all);
    }

    /** Returns all risks, each with its participant's name. */
    public List<String> risks() {
      List<String> all = new ArrayList<>();
      plans.forEach((name, plan) -> plan.risks().forEach(risk -> all.add(name + ": " + risk)));
      return List.copyOf(all);
    }
  }

  /**
   * Runs the update to its end, on this thread and as many others as there are participants besides
   * one.
   *
   * @throws IllegalStateException the second time
   */
  public final Outcome run() {
    calls.start();
    try (Workers.Alarm watchdog = course.workers().alarm(calls::ring)) {
      calls.watch(watchdog);
      return runNow();
    } finally {
      awake();
      calls.end();
      course.timeline().tell();
    }
  }

  abstract Outcome runNow();

  /** Told, perhaps more than once, that the workload runs again or never will. */
  void awake() {}

  /**
   * Asks a running update to stop and undo everything; {@link #run} returns once that is done. May
   * be called on any thread, and again.
   *
   * @param why for the outcome
   * @throws RefusedException if the update is past its point of no return, has ended, or is a
   *     recovery
   */
  public final void cancel(String why) {
    calls.cancel(why);
  }

  /** Asks every participant for its plan. */
  final <P extends Source> Planned ask(Calls<P> calls) {
    Members<P> members = calls.members();
    if (!members.tangles().isEmpty()) {
      return new Planned(List.of(), Map.of(), members.tangles());
    }
    course.workers().ready(members.ordered().size());
    Map<String, Plan> given = new ConcurrentHashMap<>();
    Map<String, Failure> failures = new HashMap<>();
    for (Failure failure :
        calls.sweep(Action.PLAN, (each, _) -> given.put(each.name(), each.plan()))) {
      failures.put(failure.participant().orElse(""), failure);
    }
    Map<String, Plan> plans = new LinkedHashMap<>();
    List<Obstacle> obstacles = new ArrayList<>();
    for (String name : members.names()) {
      Failure failure = failures.get(name);
      Plan plan = given.get(name);
      if (failure != null || plan == null) {
        String why = failure == null ? "it gave none" : failure.message();
        obstacles.add(
            new Obstacle(
                name + ": its plan", why, "repair that and try again; nothing was changed"));
        continue;
      }
      plans.put(name, plan);
      for (Obstacle each : plan.obstacles()) {
        obstacles.add(new Obstacle(name + ": " + each.what(), each.why(), each.advice()));
      }
    }
    return new Planned(members.names(), Collections.unmodifiableMap(plans), List.copyOf(obstacles));
  }

  /** Asks on behalf of somebody who wants to know, and not to run the update. */
  final <P extends Source> Planned askOnly(Calls<P> calls) {
    try (Workers.Alarm watchdog = course.workers().alarm(calls::ring)) {
      calls.watch(watchdog);
      return ask(calls);
    }
  }

  /** How an update that was planned goes on. */
  sealed interface Opening {
    /** It is in PREPARING. */
    record Begun(List<String> losses) implements Opening {}

    /** It has ended, and nothing was changed. */
    record Ended(Outcome outcome) implements Opening {}
  }

  /** Plans a new update, and enters PREPARING if nothing forbids that. */
  final <P extends Source> Opening open(Calls<P> calls) {
    course.timeline().begins(course.workers().now());
    Optional<Failure> before = calls.stopped();
    if (before.isPresent()) {
      return new Opening.Ended(
          new Outcome.Cancelled(before.get(), List.of(), course.timeline().snapshot()));
    }
    Planned planned = ask(calls);
    List<Obstacle> obstacles = new ArrayList<>(planned.obstacles());
    if (calls.stopped().isEmpty() && obstacles.isEmpty()) {
      course.prepare(calls.members()).ifPresent(obstacles::add);
    }
    Optional<Failure> early = calls.stopped();
    if (early.isPresent() && course.state() == UpdateState.NORMAL) {
      return new Opening.Ended(
          new Outcome.Cancelled(early.get(), List.of(), course.timeline().snapshot()));
    }
    return obstacles.isEmpty()
        ? new Opening.Begun(planned.losses())
        : new Opening.Ended(new Outcome.Refused(obstacles, course.timeline().snapshot()));
  }

  /** Makes a transition on the way to the commit. Returns false if the update is to stop. */
  final boolean go(UpdateState to) {
    if (calls.stopped().isPresent()) {
      return false;
    }
    Optional<Failure> failure = course.enter(to);
    failure.ifPresent(calls::stop);
    return failure.isEmpty();
  }

  /** Goes from COMMITTED or RESUMED to the end. */
  final <P extends Target> Outcome forward(Calls<P> calls, List<String> losses) {
    List<Failure> failures = new ArrayList<>(calls.sweep(Action.FENCE, Target::fence));
    if (failures.isEmpty() && course.state() == UpdateState.COMMITTED) {
      course.enter(UpdateState.RESUMED).ifPresent(failures::add);
    }
    if (failures.isEmpty()) {
      failures.addAll(calls.sweep(Action.RESUME, Target::resume));
    }
    awake();
    if (failures.isEmpty()) {
      failures.addAll(calls.sweep(Action.FINISH, Target::finish));
    }
    // Not before: whoever is told takes a processor that the guest wants for its first steps.
    course.timeline().tell();
    return completed(failures, losses);
  }

  /** Ends an update whose calls after the commit were made. */
  final Outcome completed(List<Failure> failures, List<String> losses) {
    if (failures.isEmpty()) {
      course.complete().ifPresent(failures::add);
    }
    return failures.isEmpty()
        ? new Outcome.Completed(losses, course.timeline().snapshot())
        : new Outcome.Stuck(failures, course.timeline().snapshot());
  }

  /**
   * Goes from anywhere before the commit back to NORMAL, for the reason for which the update stops;
   * stays in CANCELLING if that does not succeed.
   *
   * @param uncertain whether the commit may be in the journal although it failed
   */
  final <P extends Undoable> Outcome back(Calls<P> calls, boolean uncertain) {
    Failure cause = calls.stopped().orElseThrow();
    List<Failure> failures = new ArrayList<>();
    if (course.state() != UpdateState.CANCELLING) {
      Optional<Failure> unwritten = course.enter(UpdateState.CANCELLING);
      if (unwritten.isPresent()) {
        if (uncertain) {
          // Recovery might find COMMITTED and resume the successor: then the predecessor must not.
          return new Outcome.Stuck(List.of(cause, unwritten.get()), course.timeline().snapshot());
        }
        // Recovery would find a state before COMMITTED and cancel too, so undoing without the
        // record is safe.
        failures.add(unwritten.get());
        course.enterUnrecorded(UpdateState.CANCELLING);
      }
    }
    List<Failure> left = calls.sweep(Action.CANCEL, Undoable::cancel);
    awake();
    if (!left.isEmpty()) {
      markUndone(calls.members(), left);
      List<Failure> causes = new ArrayList<>(List.of(cause));
      causes.addAll(left);
      causes.addAll(failures);
      return new Outcome.Stuck(causes, course.timeline().snapshot());
    }
    Optional<Failure> unwritten = course.enter(UpdateState.NORMAL);
    if (unwritten.isPresent()) {
      failures.add(unwritten.get());
      course.enterUnrecorded(UpdateState.NORMAL);
    }
    return new Outcome.Cancelled(cause, failures, course.timeline().snapshot());
  }

  /**
   * Records whose part is undone, so that another attempt leaves them alone: their users may have
   * paused them or changed them since.
   */
  private void markUndone(Members<?> members, List<Failure> left) {
    for (Member<?> member : members.ordered()) {
      boolean failed =
          left.stream().anyMatch(each -> each.participant().equals(Optional.of(member.name)));
      if (member.begun && !failed && !member.facts.containsKey(UNDONE)) {
        try {
          course.journal().append(new JournalRecord.Fact(course.id(), member.name, UNDONE, "yes"));
          member.facts.put(UNDONE, "yes");
        } catch (RuntimeException e) {
          // Then its part is undone once more, which participants must bear.
          course
              .timeline()
              .add(
                  new TimelineEvent.Noted(
                      course.workers().nanoTime(),
                      member.name,
                      Action.CANCEL,
                      "journal",
                      Course.text(e)));
        }
      }
    }
  }

  /**
   * Makes the calls of a recovery.
   *
   * @param gone the names of participants that need no call any more
   * @param apart whether those that fail are left out while the others go on
   * @throws IllegalArgumentException if the update has ended, or if {@code participants} and {@code
   *     gone} are not those that the journal names
   */
  static <P extends Participant> Calls<P> recover(
      Course course,
      UpdateHistory history,
      Collection<? extends P> participants,
      Set<String> gone,
      Deadlines deadlines,
      boolean apart) {
    if (history.ended()) {
      throw new IllegalArgumentException(
          "update " + course.id() + " has ended; there is nothing to recover");
    }
    Members<P> members = new Members<>(participants, gone);
    Set<String> given = new HashSet<>(members.names());
    given.addAll(gone);
    if (!given.equals(Set.copyOf(history.began().participants()))) {
      throw new IllegalArgumentException(
          "update "
              + course.id()
              + " can't be recovered: its journal names participants "
              + history.began().participants()
              + ", and what was given is "
              + given
              + " "
              + members.tangles());
    }
    for (Member<P> member : members.ordered()) {
      member.facts.putAll(history.facts(member.name));
    }
    return new Calls<>(course, members, deadlines, apart);
  }

  /** Takes the participants' boxes into a recovery. */
  final void rejoin(Calls<?> calls) {
    course.workers().ready(calls.members().ordered().size());
    for (Member<?> member : calls.members().ordered()) {
      if (!member.facts.containsKey(UNDONE)) {
        member.participant.boxes().forEach(box -> box.rejoin(course.machine()));
      }
      member.begun = true;
    }
    if (course.state().phase() == Phase.BLACKOUT) {
      course.timeline().hush();
    }
  }

  /** Undoes an update that an earlier agent or attempt left before its commit. */
  final <P extends Undoable> Outcome undo(Calls<P> calls) {
    calls.stop(
        course.failure(
            Failure.Reason.FAILED,
            course.state() == UpdateState.CANCELLING
                ? "an attempt to undo it did not end"
                : "the agent died before the update was committed",
            Optional.empty()));
    return back(calls, false);
  }
}
