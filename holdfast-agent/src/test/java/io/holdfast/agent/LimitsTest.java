package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.run.Deadlines;
import io.holdfast.core.state.Action;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.JsonObject;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

@Promise("slow-is-not-dead")
class LimitsTest {
  private static JsonObject report(long restoreSeconds) {
    return JsonObject.of(
        "spans",
        List.of(
            JsonObject.of("step", Action.FREEZE.words(), "length", 1_000_000L),
            JsonObject.of("step", "of a later version", "length", 1L),
            JsonObject.of("notes", "neither step nor length"),
            JsonObject.of(
                "step",
                Action.RESTORE.words(),
                "length",
                Duration.ofSeconds(restoreSeconds).toNanos())));
  }

  @Test
  void extendsALimitThatCallsCameNearTo() {
    Deadlines usual = Deadlines.usual();
    Deadlines deadlines = Limits.extended(usual, List.of(report(3), report(4)));
    assertThat(deadlines.of(Action.RESTORE)).isEqualTo(Duration.ofSeconds(20));
    assertThat(deadlines.of(Action.FREEZE)).isEqualTo(usual.of(Action.FREEZE));
  }

  @Test
  void extendsNoLimitWithoutEnd() {
    Deadlines usual = Deadlines.usual();
    Deadlines deadlines = Limits.extended(usual, List.of(report(9_000_000_000L)));
    assertThat(deadlines.of(Action.RESTORE)).isEqualTo(usual.of(Action.RESTORE).multipliedBy(3));
  }

  @Test
  void multipliesEveryLimit() {
    Deadlines usual = Deadlines.kexec();
    Deadlines patient = usual.times(3);
    for (Action action : Action.values()) {
      assertThat(patient.of(action)).isEqualTo(usual.of(action).multipliedBy(3));
    }
  }
}
