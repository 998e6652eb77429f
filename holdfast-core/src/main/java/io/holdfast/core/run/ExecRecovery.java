package io.holdfast.core.run;

import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import java.util.Collection;
import java.util.List;
import java.util.Set;

/**
 * The recovery of an update of processes, from what its journal says: it cancels one that was not
 * committed, and takes one that was committed forward.
 *
 * @param <P> participants in both roles
 */
public final class ExecRecovery<P extends Source & Target> extends Orchestrator {
  private final Calls<P> calls;
  private final boolean committed;

  /**
   * Makes the recovery of an update that has not ended.
   *
   * @param participants those of the update; new ones find through {@link Step#recorded} what
   *     earlier ones recorded
   * @param journal where the recovery goes on writing
   * @throws IllegalArgumentException if the update has ended, is one of the kernel, or has other
   *     participants
   */
  public ExecRecovery(
      UpdateHistory history,
      Collection<? extends P> participants,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Timeline.Listener listener) {
    if (history.began().carrier() != CarrierKind.EXEC) {
      throw new IllegalArgumentException(
          "update " + history.began().update() + " is one of the kernel");
    }
    Course course = Course.recover(history, journal, workers, listener);
    Calls<P> calls = recover(course, history, participants, Set.of(), deadlines, false);
    super(course, calls);
    this.calls = calls;
    this.committed = history.committed();
  }

  @Override
  Outcome runNow() {
    rejoin(calls);
    if (!committed) {
      return undo(calls);
    }
    boolean _ = calls.commit();
    if (course.state() == UpdateState.COMMITTED) {
      // RESUMED was not journalled, so nothing was resumed yet, and restoring does not take a
      // running guest back in time.
      List<Failure> failures = calls.sweep(Action.FENCE, Target::fence);
      if (failures.isEmpty()) {
        failures = calls.sweep(Action.RESTORE, Target::restore);
      }
      if (!failures.isEmpty()) {
        return new Outcome.Stuck(failures, course.timeline().snapshot());
      }
    }
    return forward(calls, List.of());
  }
}
