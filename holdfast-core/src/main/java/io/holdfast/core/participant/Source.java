package io.holdfast.core.participant;

/**
 * A participant's role where the workload runs before the update: on the predecessor, or on the old
 * kernel. The calls are listed in their order.
 */
public interface Source extends Undoable {
  /** Returns what an update would preserve, lose and cost, and what forbids it. Changes nothing. */
  Plan plan() throws Exception;

  /**
   * Does the expensive part in the brownout, while the workload runs: starts the successor,
   * preserves memory.
   */
  void prepare(Step step) throws Exception;

  /**
   * Stops in the brownout, on kexec only, what does not cross, while workloads still run. Does
   * nothing by default: workloads cross.
   */
  default void shutDown(Step step) throws Exception {}

  /**
   * Pauses the workload on the predecessor, which begins its blackout. On kexec it also saves the
   * device state and preserves it, since afterwards nothing may be preserved any more. Does nothing
   * by default, for a participant without a workload.
   */
  default void freeze(Step step) throws Exception {}

  /**
   * Sends the device state to the successor, in the blackout. Does nothing by default, for a
   * participant that has preserved everything in {@link #freeze}.
   */
  default void handOver(Step step) throws Exception {}
}
