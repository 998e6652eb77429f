package io.holdfast.core.journal;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class UpdateHistoryTest {
  private static final UpdateId FIRST = new UpdateId("first");
  private static final UpdateId SECOND = new UpdateId("second");

  private static JournalRecord began(UpdateId update) {
    return new JournalRecord.Began(
        update, CarrierKind.EXEC, Instant.EPOCH, List.of("vm"), Map.of());
  }

  private static JournalRecord entered(UpdateId update, UpdateState state) {
    return new JournalRecord.Entered(update, state, 1);
  }

  private static JournalRecord fact(UpdateId update, String participant, String value) {
    return new JournalRecord.Fact(update, participant, "key", value);
  }

  @Test
  void aJournalWithoutABeginningTellsNothing() {
    assertThat(UpdateHistory.of(List.of())).isEmpty();
    assertThat(UpdateHistory.of(List.of(entered(FIRST, UpdateState.FROZEN)))).isEmpty();
  }

  @Test
  void theLastFactOfAKeyHolds() {
    UpdateHistory history =
        UpdateHistory.of(
                List.of(
                    began(FIRST),
                    fact(FIRST, "vm", "early"),
                    fact(FIRST, "other", "its own"),
                    fact(FIRST, "vm", "late")))
            .orElseThrow();
    assertThat(history.fact("vm", "key")).contains("late");
    assertThat(history.fact("other", "key")).contains("its own");
    assertThat(history.fact("vm", "none")).isEmpty();
    assertThat(history.facts("nobody")).isEmpty();
    assertThat(history.state()).as("it has entered none").isEqualTo(UpdateState.NORMAL);
  }

  @Test
  void whatWasBeforeTheLastUpdateIsNoPartOfIt() {
    JournalRecord.Called call = new JournalRecord.Called(SECOND, "vm", Action.PREPARE, 1, 2);
    UpdateHistory history =
        UpdateHistory.of(
                List.of(
                    began(FIRST),
                    entered(FIRST, UpdateState.COMMITTED),
                    fact(FIRST, "vm", "of the first"),
                    new JournalRecord.Called(FIRST, "vm", Action.FREEZE, 1, 2),
                    began(SECOND),
                    entered(SECOND, UpdateState.PREPARING),
                    call,
                    entered(SECOND, UpdateState.PREPARED)))
            .orElseThrow();
    assertThat(history.began().update()).isEqualTo(SECOND);
    assertThat(history.state()).isEqualTo(UpdateState.PREPARED);
    assertThat(history.entered(UpdateState.PREPARING)).isTrue();
    assertThat(history.entered(UpdateState.COMMITTED)).isFalse();
    assertThat(history.calls()).containsExactly(call);
    assertThat(history.fact("vm", "key")).isEmpty();
  }
}
