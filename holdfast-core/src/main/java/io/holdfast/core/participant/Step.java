package io.holdfast.core.participant;

import io.holdfast.core.box.Names;
import io.holdfast.core.journal.JournalException;
import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.Operation;
import io.holdfast.core.state.RefusedException;
import java.time.Duration;
import java.util.Optional;

/** One call of a participant, as the participant sees it. Valid until the call returns. */
public interface Step {
  /** The update that the call belongs to. */
  UpdateId update();

  /** Which call it is. */
  Action action();

  /**
   * The time left until the deadline; zero once it has passed. The thread is interrupted then, so
   * waiting needs no clock of its own as long as it can be interrupted.
   */
  Duration remaining();

  /**
   * Returns whether an earlier agent, or an earlier attempt of this one, began this update: what
   * the call is about may have happened already.
   */
  boolean recovering();

  /**
   * Says, for people watching, what is being done. Never blocks; shown after the blackout if said
   * in it.
   */
  void progress(String what);

  /**
   * Writes a fact into the timeline: {@code note("device-state.bytes", "301245")}. Never blocks.
   */
  void note(String key, String value);

  /**
   * Journals a small fact that recovery will need, before this returns. A later value replaces an
   * earlier one.
   *
   * @param key keeps to {@link Names#RULE}
   * @param value at most {@link JournalRecord.Fact#LONGEST} characters
   * @throws JournalException if it could not be journalled
   */
  void record(String key, String value);

  /**
   * What {@link #record} last journalled in this update for this participant, by this agent or one
   * that died.
   */
  Optional<String> recorded(String key);

  /**
   * Checks that the state of the update permits this participant an operation.
   *
   * @throws RefusedException if not
   */
  void check(Operation operation);
}
