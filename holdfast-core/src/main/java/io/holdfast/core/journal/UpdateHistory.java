package io.holdfast.core.journal;

import io.holdfast.core.state.UpdateMachine;
import io.holdfast.core.state.UpdateState;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The last update of a journal; earlier ones in it have ended and are no part of it.
 *
 * @param began how it began
 * @param states that it entered, in this order
 * @param calls that have returned, in the order of the journal
 * @param facts by participant and key; of several of one key the last one holds
 */
public record UpdateHistory(
    JournalRecord.Began began,
    List<JournalRecord.Entered> states,
    List<JournalRecord.Called> calls,
    Map<String, Map<String, String>> facts) {
  /** Copies the lists. */
  public UpdateHistory {
    states = List.copyOf(states);
    calls = List.copyOf(calls);
  }

  /**
   * Folds the records of a journal.
   *
   * @return empty if no update has begun in it
   */
  // No switch over types: the first run of one makes a class, and guests may be waiting.
  @SuppressWarnings("IfChainToSwitch")
  public static Optional<UpdateHistory> of(Collection<JournalRecord> records) {
    JournalRecord.@Nullable Began began = null;
    List<JournalRecord.Entered> states = new ArrayList<>();
    List<JournalRecord.Called> calls = new ArrayList<>();
    Map<String, Map<String, String>> facts = new HashMap<>();
    for (JournalRecord record : records) {
      if (record instanceof JournalRecord.Began each) {
        began = each;
        states.clear();
        calls.clear();
        facts.clear();
      } else if (record instanceof JournalRecord.Entered each) {
        states.add(each);
      } else if (record instanceof JournalRecord.Called each) {
        calls.add(each);
      } else if (record instanceof JournalRecord.Fact each) {
        Map<String, String> its = facts.get(each.participant());
        if (its == null) {
          its = new HashMap<>();
          facts.put(each.participant(), its);
        }
        its.put(each.key(), each.value());
      }
    }
    return began == null
        ? Optional.empty()
        : Optional.of(new UpdateHistory(began, states, calls, facts));
  }

  /** Returns the state that it is in; NORMAL if it has ended, or has entered none. */
  public UpdateState state() {
    return states.isEmpty() ? UpdateState.NORMAL : states.getLast().state();
  }

  /** Returns whether there is nothing left to do: it is in NORMAL. */
  public boolean ended() {
    return state() == UpdateState.NORMAL;
  }

  /**
   * Returns whether it can only go forward: it was committed or, on kexec, the reboot call was made
   * on the old kernel.
   */
  public boolean committed() {
    UpdateState last = state();
    return last != UpdateState.NORMAL
        && last != UpdateState.CANCELLING
        && !UpdateMachine.cancellable(last, began.carrier());
  }

  /** Returns whether it was ever in this state. */
  public boolean entered(UpdateState state) {
    for (JournalRecord.Entered each : states) {
      if (each.state() == state) {
        return true;
      }
    }
    return false;
  }

  /** Returns a participant's facts by key; empty if it has none. */
  public Map<String, String> facts(String participant) {
    return facts.getOrDefault(participant, Map.of());
  }

  /** Returns a participant's fact. */
  public Optional<String> fact(String participant, String key) {
    return Optional.ofNullable(facts(participant).get(key));
  }
}
