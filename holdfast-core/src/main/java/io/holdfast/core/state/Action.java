package io.holdfast.core.state;

import java.util.Locale;

/**
 * The calls that a {@link io.holdfast.core.participant.Participant} gets, in the order of an
 * update; {@link #CANCEL} may come before COMMITTED instead.
 */
public enum Action {
  /** See {@link io.holdfast.core.participant.Source#plan}. */
  PLAN,
  /** See {@link io.holdfast.core.participant.Source#prepare}. */
  PREPARE,
  /** See {@link io.holdfast.core.participant.Source#shutDown}. */
  SHUT_DOWN,
  /** See {@link io.holdfast.core.participant.Source#freeze}. */
  FREEZE,
  /** See {@link io.holdfast.core.participant.Source#handOver}. */
  HAND_OVER,
  /** See {@link io.holdfast.core.participant.Target#restore}. */
  RESTORE,
  /** See {@link io.holdfast.core.participant.Target#fence}. */
  FENCE,
  /** See {@link io.holdfast.core.participant.Target#resume}. */
  RESUME,
  /** See {@link io.holdfast.core.participant.Target#finish}. */
  FINISH,
  /** See {@link io.holdfast.core.participant.Undoable#cancel}. */
  CANCEL;

  /** The name in prose: {@code hand over}. */
  public String words() {
    return name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
