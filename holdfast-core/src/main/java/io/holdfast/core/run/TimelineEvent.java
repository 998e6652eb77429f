package io.holdfast.core.run;

import io.holdfast.core.state.Action;
import io.holdfast.core.state.UpdateState;
import java.util.Optional;

/** One thing that happened in an update, at a moment of {@link Workers#nanoTime}. */
public sealed interface TimelineEvent {
  /** When, in nanoseconds. */
  long at();

  /** The update entered a state. */
  record Entered(long at, UpdateState state) implements TimelineEvent {}

  /** A call began. */
  record Began(long at, String participant, Action action) implements TimelineEvent {}

  /** A call ended; with what went wrong, if anything did. */
  record Ended(long at, String participant, Action action, Optional<String> failure)
      implements TimelineEvent {}

  /** A participant noted a fact. */
  record Noted(long at, String participant, Action action, String key, String value)
      implements TimelineEvent {}

  /** A participant says what it is doing. */
  record Progressed(long at, String participant, Action action, String what)
      implements TimelineEvent {}
}
