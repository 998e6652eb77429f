package io.holdfast.core.run;

import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.participant.Undoable;
import java.util.Collection;
import java.util.Set;

/** Undoes an update of the kernel that never made the reboot call. */
public final class KexecUndo extends Orchestrator {
  private final Calls<Undoable> calls;

  /**
   * Makes the recovery of an update of the kernel that has neither ended nor left.
   *
   * @param participants those of the update
   * @param gone the names of participants that have nothing to undo any more
   * @param journal where the recovery goes on writing
   * @throws IllegalArgumentException if the update has ended or left, or has other participants
   */
  public KexecUndo(
      UpdateHistory history,
      Collection<? extends Undoable> participants,
      Set<String> gone,
      Journal journal,
      Workers workers,
      Deadlines deadlines,
      Timeline.Listener listener) {
    if (history.committed()) {
      throw new IllegalArgumentException(
          "update " + history.began().update() + " cannot be undone in state " + history.state());
    }
    Course course = Course.recover(history, journal, workers, listener);
    Calls<Undoable> calls = recover(course, history, participants, gone, deadlines, false);
    super(course, calls);
    this.calls = calls;
  }

  @Override
  Outcome runNow() {
    rejoin(calls);
    return undo(calls);
  }
}
