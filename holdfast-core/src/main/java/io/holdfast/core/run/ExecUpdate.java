package io.holdfast.core.run;

import io.holdfast.core.box.Names;
import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Target;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * An update that replaces processes: source and target of each participant are in this agent.
 *
 * @param <P> participants in both roles
 */
public final class ExecUpdate<P extends Source & Target> extends Orchestrator {
  /** How long an update that is prepared waits for its turn to stand still. */
  private static final Duration TURN = Duration.ofMinutes(2);

  private final Calls<P> calls;
  private final Turns turns;

  /** Only the thread of {@link #run} uses it: the update has its turn, and has not ended it. */
  private boolean hasTurn;

  /**
   * Makes a new update that may enter its blackout at any time.
   *
   * @param participants in any order
   * @param listener hears what happens, outside the blackout
   * @throws IllegalArgumentException if a participant's name breaks {@link Names#RULE}
   */
  public ExecUpdate(
      UpdateId id,
      Collection<? extends P> participants,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Timeline.Listener listener) {
    this(id, participants, journal, workers, deadlines, Turns.FREE, listener);
  }

  /**
   * Makes one of several new updates.
   *
   * @param turns says when it may enter its blackout; it is in its brownout until then
   */
  public ExecUpdate(
      UpdateId id,
      Collection<? extends P> participants,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Turns turns,
      Timeline.Listener listener) {
    Course course = Course.begin(id, CarrierKind.EXEC, journal, workers, listener);
    this(
        course,
        new Calls<P>(course, new Members<>(participants, Set.of()), deadlines, false),
        turns);
  }

  private ExecUpdate(Course course, Calls<P> calls, Turns turns) {
    super(course, calls);
    this.calls = calls;
    this.turns = turns;
  }

  /** Asks every participant for its plan, and changes nothing. */
  public Planned plan() {
    return askOnly(calls);
  }

  @Override
  Outcome runNow() {
    return switch (open(calls)) {
      case Opening.Ended(Outcome outcome) -> outcome;
      case Opening.Begun(List<String> losses) -> go(losses);
    };
  }

  private Outcome go(List<String> losses) {
    boolean ready =
        calls.all(Action.PREPARE, Source::prepare)
            && go(UpdateState.PREPARED)
            && awaitTurn()
            && go(UpdateState.FREEZING)
            && calls.all(Action.FREEZE, Source::freeze)
            && go(UpdateState.FROZEN)
            && calls.all(Action.HAND_OVER, Source::handOver)
            && go(UpdateState.HANDED_OVER)
            && go(UpdateState.RESTORING)
            && calls.all(Action.RESTORE, Target::restore)
            && go(UpdateState.RESTORED)
            && calls.commit();
    if (!ready) {
      return back(calls, false);
    }
    // From the moment that the record may be in the journal, nobody can cancel.
    Optional<Failure> unwritten = course.enter(UpdateState.COMMITTED);
    if (unwritten.isPresent()) {
      calls.commitFailed(unwritten.get());
      return back(calls, true);
    }
    return forward(calls, losses);
  }

  private boolean awaitTurn() {
    hasTurn = calls.await(turns, TURN);
    return calls.stopped().isEmpty();
  }

  @Override
  void awake() {
    if (hasTurn) {
      hasTurn = false;
      turns.end();
    }
  }
}
