package io.holdfast.core.run;

import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.Phase;
import io.holdfast.core.state.RefusedException;
import io.holdfast.core.state.UpdateMachine;
import io.holdfast.core.state.UpdateState;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * The state of one update, with its journal and its timeline. A transition is journalled before it
 * takes effect.
 *
 * @param recovering whether an earlier agent, or an earlier attempt of this one, began the update
 */
record Course(
    UpdateId id,
    Journal journal,
    Workers workers,
    Timeline timeline,
    UpdateMachine machine,
    boolean recovering) {
  /** Makes the course of a new update. */
  static Course begin(
      UpdateId id,
      CarrierKind carrier,
      Journal journal,
      Workers workers,
      Timeline.Listener listener) {
    return new Course(
        id,
        journal,
        workers,
        new Timeline(id, carrier, workers.now(), listener),
        new UpdateMachine(carrier),
        false);
  }

  /** Makes the course of an update that goes on from where its journal ends. */
  static Course recover(
      UpdateHistory history, Journal journal, Workers workers, Timeline.Listener listener) {
    JournalRecord.Began began = history.began();
    List<TimelineEvent> past = new ArrayList<>();
    for (JournalRecord.Entered each : history.states()) {
      past.add(new TimelineEvent.Entered(each.nanoTime(), each.state()));
    }
    for (JournalRecord.Called each : history.calls()) {
      past.add(new TimelineEvent.Began(each.began(), each.participant(), each.action()));
      past.add(
          new TimelineEvent.Ended(
              each.ended(), each.participant(), each.action(), Optional.empty()));
    }
    past.sort((a, b) -> Long.compare(a.at(), b.at()));
    Timeline timeline = new Timeline(began.update(), began.carrier(), began.at(), listener);
    past.forEach(timeline::addPast);
    UpdateMachine machine = new UpdateMachine(began.carrier(), history.state());
    return new Course(began.update(), journal, workers, timeline, machine, true);
  }

  UpdateState state() {
    return machine.state();
  }

  /**
   * Enters PREPARING, with the participants' boxes. What keeps the update from that keeps it from
   * changing anything, and so is an obstacle.
   */
  Optional<Obstacle> prepare(Members<?> members) {
    try {
      for (Members.Member<?> member : members.ordered()) {
        member.participant.boxes().forEach(box -> box.join(machine));
      }
      journal.append(
          new JournalRecord.Began(
              id, machine.carrier(), timeline.began(), members.names(), members.instances()));
      append(UpdateState.PREPARING);
      return Optional.empty();
    } catch (RefusedException e) {
      return Optional.of(new Obstacle(e.tried(), "refused in state " + e.state(), e.remedy()));
    } catch (RuntimeException e) {
      return Optional.of(
          new Obstacle(
              "the journal of update " + id,
              text(e),
              "repair that and try again; nothing was changed"));
    }
  }

  /** Enters a state. Returns why it did not; empty if it did. */
  Optional<Failure> enter(UpdateState to) {
    UpdateState from = machine.state();
    try {
      append(to);
      return Optional.empty();
    } catch (RuntimeException e) {
      return Optional.of(
          new Failure(
              Failure.Reason.FAILED,
              from,
              Optional.empty(),
              Optional.empty(),
              "going to " + to + " failed: " + text(e),
              Optional.of(e)));
    }
  }

  private void append(UpdateState to) {
    machine.checkEnter(to);
    journal.append(new JournalRecord.Entered(id, to, workers.nanoTime()));
    enterUnrecorded(to);
  }

  /** Enters a state that the journal does not have. */
  void enterUnrecorded(UpdateState to) {
    machine.enter(to);
    if (to.phase() == Phase.BLACKOUT) {
      timeline.hush();
    }
    timeline.add(new TimelineEvent.Entered(workers.nanoTime(), to));
  }

  /** Ends the update after its last call. Returns why it could not; empty if it did. */
  Optional<Failure> complete() {
    machine.finished();
    return enter(UpdateState.NORMAL);
  }

  /** Makes a failure that is no participant's. */
  Failure failure(Failure.Reason reason, String message, Optional<Throwable> cause) {
    return new Failure(reason, machine.state(), Optional.empty(), Optional.empty(), message, cause);
  }

  /** Returns what a person is told of an exception. */
  static String text(Throwable thrown) {
    String message = thrown.getMessage();
    return message == null || thrown instanceof Error ? thrown.toString() : message;
  }
}
