package io.holdfast.testkit;

import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Step;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.Operation;
import java.time.Duration;
import java.util.Optional;

/** A step of an update without a journal, for a participant that is called alone. */
public record NoStep(Action action, boolean recovering) implements Step {
  @Override
  public UpdateId update() {
    return new UpdateId("kernel-1");
  }

  @Override
  public Duration remaining() {
    return Duration.ofMinutes(1);
  }

  @Override
  public void progress(String what) {}

  @Override
  public void note(String key, String value) {}

  @Override
  public void record(String key, String value) {}

  @Override
  public Optional<String> recorded(String key) {
    return Optional.empty();
  }

  @Override
  public void check(Operation operation) {}
}
