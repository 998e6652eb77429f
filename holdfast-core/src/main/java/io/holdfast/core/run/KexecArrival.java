package io.holdfast.core.run;

import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.run.Members.Member;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;

/**
 * An update of the kernel from its arrival in the new kernel on, from whatever state an earlier
 * attempt left it in. A participant that fails is set aside, with those that depend on it: the
 * others run, what it was given is preserved for it, and another arrival tries it again. So
 * restoring is tried in later states, too.
 */
public final class KexecArrival extends Orchestrator {
  private final Calls<Target> calls;

  /**
   * Makes the second half of an update of the kernel.
   *
   * @param history its journal as it arrived, which ends with HANDED_OVER, or as an earlier attempt
   *     left it
   * @param participants those of the update; they find through {@link Step#recorded} what was
   *     recorded on the old kernel
   * @param gone the names of participants that are not restored any more
   * @param journal where it goes on writing
   * @throws IllegalArgumentException if the update has ended, has not left, or has other
   *     participants
   */
  public KexecArrival(
      UpdateHistory history,
      Collection<? extends Target> participants,
      Set<String> gone,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Timeline.Listener listener) {
    if (history.began().carrier() != CarrierKind.KEXEC || !history.committed()) {
      throw new IllegalArgumentException(
          "update " + history.began().update() + " has not left the old kernel");
    }
    Course course = Course.recover(history, journal, workers, listener);
    Calls<Target> calls = recover(course, history, participants, gone, deadlines, true);
    super(course, calls);
    this.calls = calls;
  }

  @Override
  Outcome runNow() {
    rejoin(calls);
    boolean _ = calls.commit();
    List<Failure> failures = new ArrayList<>();
    if (course.state() == UpdateState.HANDED_OVER) {
      course.enter(UpdateState.RESTORING).ifPresent(failures::add);
    }
    if (failures.isEmpty()) {
      failures.addAll(calls.sweep(Action.RESTORE, Target::restore));
      if (advance(failures)) {
        failures.addAll(calls.sweep(Action.RESUME, Target::resume));
        failures.addAll(calls.sweep(Action.FINISH, Target::finish));
      }
    }
    course.timeline().tell();
    return completed(failures, List.of());
  }

  /** Enters the states up to RESUMED. Returns false if nobody may be resumed. */
  private boolean advance(List<Failure> failures) {
    boolean somebody = false;
    for (Member<Target> each : calls.members().ordered()) {
      somebody |= !each.aside;
    }
    for (UpdateState next :
        List.of(UpdateState.RESTORED, UpdateState.COMMITTED, UpdateState.RESUMED)) {
      if (somebody && course.state().compareTo(next) < 0) {
        if (next == UpdateState.RESUMED) {
          failures.addAll(calls.sweep(Action.FENCE, Target::fence));
        }
        var unwritten = course.enter(next);
        unwritten.ifPresent(failures::add);
        somebody = unwritten.isEmpty();
      }
    }
    return somebody;
  }
}
