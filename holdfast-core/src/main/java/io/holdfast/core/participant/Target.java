package io.holdfast.core.participant;

/**
 * A participant's role where the workload runs after the update: on the successor, or on the new
 * kernel. The calls are listed in their order.
 */
public interface Target extends Participant {
  /**
   * Makes the successor ready to run in the blackout, without resuming the workload. Recovery calls
   * it again if the update was committed and {@link #resume} certainly never called, so that a
   * successor that died is started again from what it was given. On kexec it is called in each
   * attempt, also of a participant that has resumed, which must do nothing then.
   */
  void restore(Step step) throws Exception;

  /**
   * Ensures that the predecessor can never run again. Called after the commit is journalled and
   * before any {@link #resume}. Does nothing by default, for a participant without a workload.
   */
  default void fence(Step step) throws Exception {}

  /**
   * Resumes the workload on the successor. Does nothing by default, for a participant without a
   * workload.
   */
  default void resume(Step step) throws Exception {}

  /** Releases in the brownout what only the update needed, the fenced predecessor included. */
  void finish(Step step) throws Exception;
}
