package io.holdfast.core.state;

/** On whose behalf an operation is tried. */
public enum Actor {
  /** Anyone but a participant of the update: a client, an owner, a command. */
  ANYONE,
  /** A participant of the update, from within one of its calls. */
  PARTICIPANT
}
