package io.holdfast.core.run;

import io.holdfast.core.state.Action;
import io.holdfast.core.state.UpdateState;
import java.util.Optional;

/**
 * Why an update did not go on.
 *
 * @param reason the sort of failure
 * @param state the state of the update at that moment
 * @param action the call that failed, or that was under way; none if a transition failed
 * @param participant whose call it was; none if it was no participant's
 * @param message what happened, for people
 * @param cause the exception, if there was one
 */
public record Failure(
    Reason reason,
    UpdateState state,
    Optional<Action> action,
    Optional<String> participant,
    String message,
    Optional<Throwable> cause) {
  /** Sorts of failure. */
  public enum Reason {
    /** A call threw, or the journal could not be written. */
    FAILED,
    /** A call was not done at its deadline. */
    TIMED_OUT,
    /** Someone asked for it: {@link Orchestrator#cancel}. */
    CANCELLED
  }

  @Override
  public String toString() {
    return participant.map(each -> each + ": ").orElse("")
        + action.map(each -> each.words() + " in ").orElse("")
        + state
        + ": "
        + message;
  }
}
