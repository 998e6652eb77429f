package io.holdfast.core.participant;

import io.holdfast.core.box.Box;
import io.holdfast.core.box.Names;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * What takes part in an update: a VM, a driver, a service, the host, the agent itself. What it does
 * is said by its roles, {@link Source} and {@link Target}; an update of a process has both in one
 * agent, an update of the kernel has one on each kernel.
 *
 * <p>Rules for every call of a role:
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
  /** Returns its name, unique in the update; keeps to {@link Names#RULE}. */
  String name();

  /**
   * Returns which one of its name it is, if a later participant may have the same name: letters and
   * digits, at most 63.
   */
  default Optional<String> instance() {
    return Optional.empty();
  }

  /**
   * Returns the names of the participants that it depends on. They are prepared, restored and
   * resumed before it, and frozen, handed over, fenced and cancelled after it.
   */
  default Set<String> after() {
    return Set.of();
  }

  /** Returns the boxes that belong to it; the state of the update governs access to them. */
  default List<Box> boxes() {
    return List.of();
  }
}
