package io.holdfast.core.state;

import io.holdfast.core.run.Participant;
import java.util.Locale;

/**
 * The calls that a {@link Participant} gets, in the order of an update; {@link #CANCEL} may come
 * before COMMITTED instead.
 */
public enum Action {
  /** See {@link Participant#plan}. */
  PLAN,
  /** See {@link Participant#prepare}. */
  PREPARE,
  /** See {@link Participant#shutDown}. */
  SHUT_DOWN,
  /** See {@link Participant#freeze}. */
  FREEZE,
  /** See {@link Participant#handOver}. */
  HAND_OVER,
  /** See {@link Participant#restore}. */
  RESTORE,
  /** See {@link Participant#fence}. */
  FENCE,
  /** See {@link Participant#resume}. */
  RESUME,
  /** See {@link Participant#finish}. */
  FINISH,
  /** See {@link Participant#cancel}. */
  CANCEL;

  /** The name in prose: {@code hand over}. */
  public String words() {
    return name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }
}
