package io.holdfast.core.run;

import io.holdfast.core.box.Names;
import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Source;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import java.util.Collection;
import java.util.Optional;
import java.util.Set;

/**
 * An update of the kernel up to the reboot call. A {@link KexecArrival} in the new kernel goes on.
 */
public final class KexecDeparture extends Orchestrator {
  private final Calls<Source> calls;
  private final Crossing crossing;

  /**
   * Makes a new update of the kernel.
   *
   * @param participants in any order
   * @param crossing makes the reboot call
   * @param listener hears what happens, outside the blackout
   * @throws IllegalArgumentException if a participant's name breaks {@link Names#RULE}
   */
  public KexecDeparture(
      UpdateId id,
      Collection<? extends Source> participants,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Crossing crossing,
      Timeline.Listener listener) {
    Course course = Course.begin(id, CarrierKind.KEXEC, journal, workers, listener);
    Calls<Source> calls =
        new Calls<>(course, new Members<>(participants, Set.of()), deadlines, false);
    super(course, calls);
    this.calls = calls;
    this.crossing = crossing;
  }

  /** Asks every participant for its plan, and changes nothing. */
  public Planned plan() {
    return askOnly(calls);
  }

  @Override
  Outcome runNow() {
    return switch (open(calls)) {
      case Opening.Ended(Outcome outcome) -> outcome;
      case Opening.Begun _ -> go();
    };
  }

  private Outcome go() {
    boolean left =
        calls.all(Action.PREPARE, Source::prepare)
            && go(UpdateState.PREPARED)
            && go(UpdateState.SHUTTING_DOWN)
            && calls.all(Action.SHUT_DOWN, Source::shutDown)
            && go(UpdateState.FREEZING)
            && calls.all(Action.FREEZE, Source::freeze)
            && go(UpdateState.FROZEN)
            && calls.all(Action.HAND_OVER, Source::handOver)
            && cross();
    return left ? new Outcome.HandedOver(course.timeline().snapshot()) : back(calls, false);
  }

  /** Makes the reboot call. Returns false if this kernel goes on. */
  private boolean cross() {
    if (!calls.commit()) {
      return false;
    }
    try {
      for (Timeline.Call call : course.timeline().calls()) {
        course
            .journal()
            .append(
                new JournalRecord.Called(
                    course.id(), call.participant(), call.action(), call.began(), call.ended()));
      }
      crossing.cross();
      return true;
    } catch (Throwable e) {
      calls.uncommit(
          course.failure(
              Failure.Reason.FAILED,
              "the next kernel could not be started: " + Course.text(e),
              Optional.of(e)));
      return false;
    }
  }
}
