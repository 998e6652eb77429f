package io.holdfast.core.state;

/** What an update costs the workload at the moment. */
public enum Phase {
  /** No update is going on. */
  NONE,
  /** Preparation or clearing up while the workload runs, perhaps slower. */
  BROWNOUT,
  /** The workload stands still. */
  BLACKOUT
}
