package io.holdfast.core.participant;

/** A participant of an update that is not committed, as whoever cancels the update needs it. */
public interface Undoable extends Participant {
  /**
   * Undoes what the calls of {@link Source} and {@link Target#restore} did, as far as they came,
   * and resumes the workload on the predecessor. Does no harm if none of them was called.
   */
  void cancel(Step step) throws Exception;
}
