package io.holdfast.core.run;

import io.holdfast.core.box.Box;
import io.holdfast.core.box.Names;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * What takes part in an update: a VM, a driver, a service, the host, the agent itself.
 *
 * <p>Rules for every call:
 *
 * <ul>
 *   <li>It may come again, after a success, a failure, or the death of the agent half way through:
 *       it is idempotent.
 *   <li>It may run at the same time as calls of participants that this one does not depend on;
 *       never at the same time as another call of this participant.
 *   <li>At its deadline, and when the update is being cancelled, its thread is interrupted. It must
 *       then return soon, by whatever exception: nobody undoes anything while a call still runs.
 *   <li>To fail, it throws.
 * </ul>
 */
public interface Participant {
  /** Its name, unique in the update; keeps to {@link Names#RULE}. */
  String name();

  /**
   * Which one of its name it is, if a later participant may have the same name: letters and digits,
   * at most 63.
   */
  default Optional<String> instance() {
    return Optional.empty();
  }

  /**
   * The names of the participants that it depends on. They are prepared, restored and resumed
   * before it, and frozen, handed over, fenced and cancelled after it.
   */
  default Set<String> after() {
    return Set.of();
  }

  /** The boxes that belong to it; the state of the update says what may be done with them. */
  default List<Box> boxes() {
    return List.of();
  }

  /** Says what an update would preserve, lose and cost, and what forbids it. Changes nothing. */
  Plan plan() throws Exception;

  /**
   * Brownout: does the expensive part while the workload runs: starts the successor, preserves
   * memory.
   */
  void prepare(Step step) throws Exception;

  /**
   * Brownout, on kexec only: stops what of the host's does not cross, while workloads still run.
   */
  default void shutDown(Step step) throws Exception {}

  /**
   * Blackout: stops the workload on the predecessor. On kexec it also saves the device state and
   * preserves it, since afterwards nothing may be preserved any more.
   */
  void freeze(Step step) throws Exception;

  /** Blackout: sends the device state on its way to the other side. */
  void handOver(Step step) throws Exception;

  /**
   * Blackout, other side: makes the successor ready to run, without letting it. Recovery calls it
   * again if the update was committed and {@link #resume} certainly never called, so that a
   * successor that died is started again from what it was given.
   */
  void restore(Step step) throws Exception;

  /**
   * Makes sure that the predecessor can never run again. Called after the commit is journalled and
   * before any {@link #resume}.
   */
  void fence(Step step) throws Exception;

  /** Lets the workload run on the successor. */
  void resume(Step step) throws Exception;

  /** Brownout: drops what only the update needed, the fenced predecessor included. */
  void finish(Step step) throws Exception;

  /**
   * Undoes {@link #prepare}, {@link #freeze}, {@link #handOver} and {@link #restore}, as far as
   * they came, and lets the workload run on the predecessor. Does no harm if none of them was
   * called.
   */
  void cancel(Step step) throws Exception;
}
