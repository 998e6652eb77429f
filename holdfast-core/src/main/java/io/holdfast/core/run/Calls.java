package io.holdfast.core.run;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Participant;
import io.holdfast.core.participant.Step;
import io.holdfast.core.run.Members.Member;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.Actor;
import io.holdfast.core.state.Operation;
import io.holdfast.core.state.RefusedException;
import io.holdfast.core.state.UpdateState;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Calls the participants of one update: in the order of their dependencies, with a deadline, on as
 * many threads as there are participants besides one. What fails before the commit stops the
 * update: calls that run are interrupted, and no other begins.
 *
 * @param <P> the role in which the participants are called
 */
final class Calls<P extends Participant> {
  private final Course course;
  private final Members<P> members;
  private final Deadlines deadlines;

  /** Whether those that fail are left out while the others go on. */
  private final boolean apart;

  /** Guards what follows, and every member's running call. Never held while waiting. */
  private final Object lock = new Object();

  private @Nullable Failure stop;
  private boolean committing;
  private boolean started;
  private boolean ended;
  private Workers.@Nullable Alarm alarm;

  /** Waits for the update's turn. */
  private @Nullable Thread waiting;

  /** A call in a participant's role. */
  @FunctionalInterface
  interface Call<P> {
    void make(P participant, Step step) throws Exception;
  }

  Calls(Course course, Members<P> members, Deadlines deadlines, boolean apart) {
    this.course = course;
    this.members = members;
    this.deadlines = deadlines;
    this.apart = apart;
  }

  Members<P> members() {
    return members;
  }

  /** Sets the watchdog that rings at deadlines. */
  void watch(Workers.Alarm watchdog) {
    synchronized (lock) {
      alarm = watchdog;
    }
  }

  /**
   * Begins the update.
   *
   * @throws IllegalStateException the second time
   */
  void start() {
    synchronized (lock) {
      if (started) {
        throw new IllegalStateException("update " + course.id() + " was run already");
      }
      started = true;
    }
  }

  /** Ends the update: nothing can be cancelled any more. */
  void end() {
    synchronized (lock) {
      ended = true;
    }
  }

  /** See {@link Orchestrator#cancel}. */
  void cancel(String why) {
    synchronized (lock) {
      UpdateState state = course.state();
      if (state == UpdateState.CANCELLING && !ended) {
        return;
      }
      if (course.recovering()) {
        throw new RefusedException(
            "cancelling update " + course.id(),
            state.toString(),
            "it is being recovered; let that end");
      }
      if (ended) {
        throw new RefusedException(
            "cancelling update " + course.id(),
            state.toString(),
            "it has ended; there is nothing to cancel");
      }
      if (committing) {
        throw new RefusedException(
            "cancelling update " + course.id(),
            state.toString(),
            "it is past its point of no return and can only go forward; update back to the old"
                + " version once it is done");
      }
      stop(course.failure(Failure.Reason.CANCELLED, why, Optional.empty()));
    }
  }

  /** Returns why the update is to stop, if it is. */
  Optional<Failure> stopped() {
    synchronized (lock) {
      return Optional.ofNullable(stop);
    }
  }

  /** Remembers the first reason to stop, and interrupts whatever runs. */
  void stop(Failure why) {
    synchronized (lock) {
      if (stop == null) {
        stop = why;
      }
      if (waiting != null) {
        course.workers().interrupt(waiting);
      }
      for (Member<P> member : members.ordered()) {
        if (member.thread != null) {
          course.workers().interrupt(member.thread);
        }
      }
    }
  }

  /**
   * Passes the point of no return: from now on nothing stops the update. Returns false if it is to
   * stop.
   */
  boolean commit() {
    synchronized (lock) {
      committing = stop == null;
      return committing;
    }
  }

  /** Takes {@link #commit} back, as it certainly had no effect, and stops. */
  void uncommit(Failure why) {
    synchronized (lock) {
      committing = false;
      stop(why);
    }
  }

  /** Stops although {@link #commit} may have had an effect. */
  void commitFailed(Failure why) {
    synchronized (lock) {
      stop = why;
    }
  }

  /**
   * Waits for a turn, unless the update is to stop. Returns whether it came; if not, the update is
   * to stop.
   */
  boolean await(Turns turns, Duration limit) {
    synchronized (lock) {
      if (stop != null) {
        return false;
      }
      waiting = Thread.currentThread();
    }
    boolean come = false;
    boolean interrupted = false;
    try {
      come = turns.await(limit);
    } catch (InterruptedException e) {
      interrupted = true;
    }
    synchronized (lock) {
      waiting = null;
    }
    // An interrupt meant for the wait must not hit what follows it.
    course.workers().clearInterrupt();
    if (!come) {
      // Does nothing if it was interrupted because it is to stop.
      stop(
          course.failure(
              interrupted ? Failure.Reason.FAILED : Failure.Reason.TIMED_OUT,
              interrupted
                  ? "interrupted while it waited for its turn to stand still"
                  : "its turn to stand still did not come within "
                      + limit.toSeconds()
                      + " s: other updates take long; try again when they have ended",
              Optional.empty()));
    }
    return come;
  }

  /**
   * Rings for the watchdog: interrupts each call whose deadline has passed, once, and sets the
   * alarm for the next.
   */
  void ring() {
    synchronized (lock) {
      long now = course.workers().nanoTime();
      for (Member<P> member : members.ordered()) {
        if (member.thread != null && !member.late && member.deadline - now <= 0) {
          member.late = true;
          course.workers().interrupt(member.thread);
        }
      }
      setAlarm();
    }
  }

  private void setAlarm() {
    Member<P> next = null;
    for (Member<P> member : members.ordered()) {
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

  /** Makes a call of all on the way to the commit. Returns false if the update is to stop. */
  boolean all(Action action, Call<? super P> call) {
    List<Failure> _ = sweep(action, call);
    return stopped().isEmpty();
  }

  /**
   * Makes a call of every participant that it is for, each as soon as those that it waits for have
   * returned.
   *
   * @return the calls that failed
   */
  List<Failure> sweep(Action action, Call<? super P> call) {
    List<Failure> failures = Collections.synchronizedList(new ArrayList<>());
    List<Member<P>> ordered = members.ordered();
    if (ordered.isEmpty()) {
      return failures;
    }
    if (ordered.size() == 1) {
      call(ordered.getFirst(), action, call, failures);
      return failures;
    }
    boolean backwards =
        switch (action) {
          case FREEZE, HAND_OVER, FENCE, CANCEL -> true;
          case PLAN, PREPARE, SHUT_DOWN, RESTORE, RESUME, FINISH -> false;
        };
    List<Workers.Gate> gates = new ArrayList<>(ordered.size());
    for (Member<P> member : ordered) {
      member.failed = false;
      gates.add(course.workers().gate());
    }
    List<Runnable> tasks = new ArrayList<>(ordered.size());
    for (Member<P> member : ordered) {
      List<Member<P>> first =
          action == Action.PLAN ? List.of() : backwards ? member.dependents : member.dependencies;
      tasks.add(
          () -> {
            first.forEach(each -> gates.get(each.index).await());
            try {
              boolean needs = action == Action.RESTORE || action == Action.RESUME;
              if (needs && first.stream().anyMatch(each -> each.failed)) {
                failed(member);
              } else if (!member.aside && first.stream().noneMatch(each -> each.aside)) {
                call(member, action, call, failures);
              }
            } finally {
              gates.get(member.index).open();
            }
          });
    }
    course.workers().together(tasks);
    return failures;
  }

  private void failed(Member<P> member) {
    member.failed = true;
    member.aside = apart;
  }

  private void call(Member<P> member, Action action, Call<? super P> call, List<Failure> failures) {
    boolean abortable = !committed() && action != Action.PLAN && action != Action.CANCEL;
    boolean undone = !member.begun || member.facts.containsKey(Orchestrator.UNDONE);
    if (action == Action.CANCEL && undone) {
      return;
    }
    long begin = course.workers().nanoTime();
    StepOf step = new StepOf(course, member, action, begin + deadlines.of(action).toNanos());
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
    course.timeline().add(new TimelineEvent.Began(begin, member.name, action));
    Throwable thrown = null;
    try {
      call.make(member.participant, step);
    } catch (Throwable e) {
      // Errors too: whatever broke in a participant, the guest must not stay paused.
      thrown = e;
    }
    boolean late;
    synchronized (lock) {
      member.thread = null;
      late = member.late;
    }
    // An interrupt meant for the call must not hit what follows it.
    course.workers().clearInterrupt();
    Optional<String> problem = Optional.empty();
    if (thrown != null || (late && abortable)) {
      String message =
          late
              ? "not done at its deadline of "
                  + deadlines.of(action)
                  + (thrown == null ? "" : ": " + Course.text(thrown))
              : Course.text(Objects.requireNonNull(thrown));
      problem = Optional.of(message);
      failed(member);
      Failure failure =
          new Failure(
              late ? Failure.Reason.TIMED_OUT : Failure.Reason.FAILED,
              course.state(),
              Optional.of(action),
              Optional.of(member.name),
              message,
              Optional.ofNullable(thrown));
      failures.add(failure);
      if (abortable) {
        stop(failure);
      }
    }
    course
        .timeline()
        .add(new TimelineEvent.Ended(course.workers().nanoTime(), member.name, action, problem));
  }

  private boolean committed() {
    synchronized (lock) {
      return committing;
    }
  }

  private static final class StepOf implements Step {
    private final Course course;
    private final Member<?> member;
    private final Action action;
    private final long deadline;

    StepOf(Course course, Member<?> member, Action action, long deadline) {
      this.course = course;
      this.member = member;
      this.action = action;
      this.deadline = deadline;
    }

    @Override
    public UpdateId update() {
      return course.id();
    }

    @Override
    public Action action() {
      return action;
    }

    @Override
    public Duration remaining() {
      return Duration.ofNanos(Math.max(0, deadline - course.workers().nanoTime()));
    }

    @Override
    public boolean recovering() {
      return course.recovering();
    }

    @Override
    public void progress(String what) {
      course
          .timeline()
          .add(
              new TimelineEvent.Progressed(course.workers().nanoTime(), member.name, action, what));
    }

    @Override
    public void note(String key, String value) {
      course
          .timeline()
          .add(
              new TimelineEvent.Noted(
                  course.workers().nanoTime(), member.name, action, key, value));
    }

    @Override
    public void record(String key, String value) {
      course.journal().append(new JournalRecord.Fact(course.id(), member.name, key, value));
      member.facts.put(key, value);
    }

    @Override
    public Optional<String> recorded(String key) {
      return Optional.ofNullable(member.facts.get(key));
    }

    @Override
    public void check(Operation operation) {
      course.machine().check(operation, Actor.PARTICIPANT, member.name);
    }
  }
}
