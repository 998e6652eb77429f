package io.holdfast.core.state;

/**
 * Where an update stands. Which state follows which, and what each permits, is in {@link
 * UpdateMachine}'s two tables.
 */
public enum UpdateState {
  /** No update: the workload runs, everything is permitted. */
  NORMAL(Phase.NONE),
  /** Participants do the expensive part while the workload runs. */
  PREPARING(Phase.BROWNOUT),
  /** Everything is ready; nothing has stopped yet. */
  PREPARED(Phase.BROWNOUT),
  /** Only on kexec: the rest of the host stops and file systems are synced; guests still run. */
  SHUTTING_DOWN(Phase.BROWNOUT),
  /** Workloads are being stopped, and the last generation of their state is written. */
  FREEZING(Phase.BLACKOUT),
  /** Everything stands still and is immutable. */
  FROZEN(Phase.BLACKOUT),
  /** The state is on its way, or has gone, to the other side. */
  HANDED_OVER(Phase.BLACKOUT),
  /** The other side rebuilds from what it was given. */
  RESTORING(Phase.BLACKOUT),
  /** The other side could run the workload, and may not yet. */
  RESTORED(Phase.BLACKOUT),
  /** From here on the successor, and only the successor, may ever run the workload. */
  COMMITTED(Phase.BLACKOUT),
  /** The successor is let run; what only the update needed is dropped. */
  RESUMED(Phase.BROWNOUT),
  /** Everything is being undone; the workload goes on, or will, on the predecessor. */
  CANCELLING(Phase.BROWNOUT);

  private final Phase phase;

  UpdateState(Phase phase) {
    this.phase = phase;
  }

  /** What the state costs the workload. */
  public Phase phase() {
    return phase;
  }
}
