package io.holdfast.core.state;

import java.util.Locale;

/**
 * The calls that a {@link io.holdfast.core.run.Participant} gets, in the order of an update; {@link
 * #CANCEL} may come before COMMITTED instead.
 */
public enum Action {
  /** See {@link io.holdfast.core.run.Participant#plan}. */
  PLAN,
  /** See {@link io.holdfast.core.run.Participant#prepare}. */
  PREPARE,
  /** See {@link io.holdfast.core.run.Participant#shutDown}. */
  SHUT_DOWN,
  /** See {@link io.holdfast.core.run.Participant#freeze}. */
  FREEZE,
  /** See {@link io.holdfast.core.run.Participant#handOver}. */
  HAND_OVER,
  /** See {@link io.holdfast.core.run.Participant#restore}. */
  RESTORE,
  /** See {@link io.holdfast.core.run.Participant#fence}. */
  FENCE,
  /** See {@link io.holdfast.core.run.Participant#resume}. */
  RESUME,
  /** See {@link io.holdfast.core.run.Participant#finish}. */
  FINISH,
  /** See {@link io.holdfast.core.run.Participant#cancel}. */
  CANCEL;

  /** The name in prose: {@code hand over}. */
  public String words() {
    return name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
