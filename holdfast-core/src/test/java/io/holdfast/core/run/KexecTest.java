package io.holdfast.core.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.MemoryJournal;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.Operation;
import io.holdfast.core.state.UpdateState;
import io.holdfast.promise.Promise;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The two halves of an update of the kernel, in virtual time. */
@Promise("kernel-undone")
final class KexecTest {
  private static final UpdateId ID = new UpdateId("u1");

  private final VirtualWorkers time = new VirtualWorkers();
  private MemoryJournal journal = new MemoryJournal();
  private final List<String> calls = new ArrayList<>();

  /** {@code "vm1 RESTORE"}: fails as long as it is in here. */
  private final Set<String> failing = new HashSet<>();

  /** Guests that run. */
  private final Set<String> running = new HashSet<>(Set.of("vm1", "vm2"));

  /** A guest, or the host, which depends on all guests. */
  private final class One implements Source, Target {
    private final String name;

    One(String name) {
      this.name = name;
    }

    @Override
    public String name() {
      return name;
    }

    @Override
    public Set<String> after() {
      return name.equals("host") ? Set.of("vm1", "vm2") : Set.of();
    }

    private void called(Step step) throws InterruptedException {
      String call = name + " " + step.action();
      calls.add(call);
      time.sleep(Duration.ofMillis(10));
      if (failing.contains(call)) {
        throw new IllegalStateException("injected into " + call);
      }
    }

    @Override
    public Plan plan() {
      return Plan.of(name);
    }

    @Override
    public void prepare(Step step) throws InterruptedException {
      called(step);
      step.record("prepared", name);
    }

    @Override
    public void shutDown(Step step) throws InterruptedException {
      called(step);
      assertThat(running).contains("vm1", "vm2");
    }

    @Override
    public void freeze(Step step) throws InterruptedException {
      called(step);
      step.check(Operation.PRESERVE_DEVICE_STATE);
      running.remove(name);
    }

    @Override
    public void handOver(Step step) throws InterruptedException {
      called(step);
    }

    @Override
    public void restore(Step step) throws InterruptedException {
      called(step);
      assertThat(step.recorded("prepared")).contains(name);
    }

    @Override
    public void fence(Step step) throws InterruptedException {
      called(step);
    }

    @Override
    public void resume(Step step) throws InterruptedException {
      called(step);
      step.check(Operation.RUN_GUEST);
      if (!name.equals("host")) {
        running.add(name);
      }
    }

    @Override
    public void finish(Step step) throws InterruptedException {
      called(step);
    }

    @Override
    public void cancel(Step step) throws InterruptedException {
      called(step);
      if (!name.equals("host")) {
        running.add(name);
      }
    }
  }

  private List<One> participants() {
    return List.of(new One("vm1"), new One("vm2"), new One("host"));
  }

  private Outcome depart(Crossing crossing) {
    Orchestrator update =
        new KexecDeparture(ID, participants(), journal, time, Deadlines.kexec(), crossing, _ -> {});
    return time.simulate(update::run);
  }

  /** What the journal is in the next kernel, whose clock started anew. */
  private void arrive() {
    List<JournalRecord> before = journal.read();
    journal = new MemoryJournal();
    before.forEach(each -> journal.append(each.shifted(-5_000)));
    journal.append(new JournalRecord.Entered(ID, UpdateState.HANDED_OVER, time.nanoTime()));
    calls.clear();
  }

  private Optional<Outcome> recover() {
    return UpdateHistory.of(journal.read())
        .filter(history -> !history.ended())
        .map(this::recovery)
        .map(recovery -> time.simulate(recovery::run));
  }

  private Orchestrator recovery(UpdateHistory history) {
    return history.committed()
        ? new KexecArrival(
            history, participants(), Set.of(), journal, time, Deadlines.kexec(), _ -> {})
        : new KexecUndo(
            history, participants(), Set.of(), journal, time, Deadlines.kexec(), _ -> {});
  }

  private List<UpdateState> states() {
    return journal.read().stream()
        .flatMap(
            each ->
                each instanceof JournalRecord.Entered entered
                    ? java.util.stream.Stream.of(entered.state())
                    : java.util.stream.Stream.empty())
        .toList();
  }

  @Test
  void goesOver() {
    boolean[] crossed = {false};

    Outcome outcome =
        depart(
            () -> {
              crossed[0] = true;
              assertThat(running).isEmpty();
              assertThat(journal.read()).anyMatch(JournalRecord.Called.class::isInstance);
            });

    assertThat(outcome).isInstanceOf(Outcome.HandedOver.class);
    assertThat(crossed[0]).isTrue();
    assertThat(states())
        .containsExactly(
            UpdateState.PREPARING,
            UpdateState.PREPARED,
            UpdateState.SHUTTING_DOWN,
            UpdateState.FREEZING,
            UpdateState.FROZEN);
    assertThat(calls.indexOf("host PREPARE")).isGreaterThan(calls.indexOf("vm2 PREPARE"));

    arrive();
    Outcome arrived = recover().orElseThrow();

    assertThat(arrived).isInstanceOf(Outcome.Completed.class);
    assertThat(running).containsExactlyInAnyOrder("vm1", "vm2");
    assertThat(states().subList(5, states().size()))
        .containsExactly(
            UpdateState.HANDED_OVER,
            UpdateState.RESTORING,
            UpdateState.RESTORED,
            UpdateState.COMMITTED,
            UpdateState.RESUMED,
            UpdateState.NORMAL);
    assertThat(calls.getLast()).isEqualTo("host FINISH");
    assertThat(arrived.timeline().calls())
        .anyMatch(c -> c.participant().equals("vm1") && c.action() == Action.FREEZE);
    assertThat(arrived.timeline().blackouts()).containsKeys("vm1", "vm2");
    assertThat(arrived.timeline().blackout()).isPresent();
    assertThat(recover()).isEmpty();
  }

  @ParameterizedTest
  @CsvSource({
    "vm1 PREPARE",
    "vm2 FREEZE",
    "vm1 HAND_OVER",
    "host PREPARE",
    "host SHUT_DOWN",
    "host HAND_OVER"
  })
  void whatFailsBeforeTheRebootCallIsUndone(String call) {
    failing.add(call);

    Outcome outcome =
        depart(
            () -> {
              throw new AssertionError("crossed");
            });

    assertThat(outcome).isInstanceOf(Outcome.Cancelled.class);
    assertThat(((Outcome.Cancelled) outcome).cause().message()).contains(call);
    assertThat(running).containsExactlyInAnyOrder("vm1", "vm2");
    assertThat(states().getLast()).isEqualTo(UpdateState.NORMAL);
  }

  @Test
  void aRebootCallThatFailsIsUndone() {
    Outcome outcome =
        depart(
            () -> {
              throw new IllegalStateException("no kernel is loaded");
            });

    assertThat(outcome).isInstanceOf(Outcome.Cancelled.class);
    assertThat(((Outcome.Cancelled) outcome).cause().message()).contains("no kernel is loaded");
    assertThat(running).containsExactlyInAnyOrder("vm1", "vm2");
  }

  @ParameterizedTest
  @EnumSource(
      value = UpdateState.class,
      names = {"PREPARING", "PREPARED", "SHUTTING_DOWN", "FREEZING", "FROZEN"})
  void anAgentThatDiesBeforeTheRebootCallLeavesWhatTheNextOneUndoes(UpdateState at) {
    Outcome _ = depart(() -> {});
    List<JournalRecord> upTo = new ArrayList<>();
    for (JournalRecord each : journal.read()) {
      upTo.add(each);
      if (each instanceof JournalRecord.Entered entered && entered.state() == at) {
        break;
      }
    }
    journal = new MemoryJournal();
    upTo.forEach(journal::append);

    Outcome outcome = recover().orElseThrow();

    assertThat(outcome).isInstanceOf(Outcome.Cancelled.class);
    assertThat(running).containsExactlyInAnyOrder("vm1", "vm2");
  }

  @ParameterizedTest
  @ValueSource(strings = {"RESTORE", "FENCE", "RESUME"})
  void oneThatDoesNotComeBackIsTriedAgainAndTheOthersRun(String action) {
    Outcome _ = depart(() -> {});
    arrive();
    failing.add("vm1 " + action);

    Outcome first = recover().orElseThrow();

    assertThat(first).isInstanceOf(Outcome.Stuck.class);
    assertThat(((Outcome.Stuck) first).causes()).hasSize(1);
    assertThat(running).containsExactly("vm2");
    assertThat(calls).contains("vm2 FINISH").doesNotContain("vm1 FINISH", "host FINISH");
    assertThat(states().getLast()).isEqualTo(UpdateState.RESUMED);

    failing.clear();
    Outcome second = recover().orElseThrow();

    assertThat(second).isInstanceOf(Outcome.Completed.class);
    assertThat(running).containsExactlyInAnyOrder("vm1", "vm2");
    assertThat(calls).contains("vm1 FINISH", "host FINISH");
  }

  @Test
  void whenNobodyComesBackNothingIsSaidToRun() {
    Outcome _ = depart(() -> {});
    arrive();
    failing.addAll(Set.of("vm1 RESTORE", "vm2 RESTORE"));

    assertThat(recover().orElseThrow()).isInstanceOf(Outcome.Stuck.class);
    assertThat(states().getLast()).isEqualTo(UpdateState.RESTORING);

    failing.clear();
    assertThat(recover().orElseThrow()).isInstanceOf(Outcome.Completed.class);
    assertThat(running).containsExactlyInAnyOrder("vm1", "vm2");
  }

  /** VMs that were stopped since, or whose part was undone: nobody has to answer for them. */
  @Test
  @Promise("kernel-arrival")
  void goesOnWithoutThoseThatAreGone() {
    Outcome _ = depart(() -> {});
    arrive();
    UpdateHistory arrived = UpdateHistory.of(journal.read()).orElseThrow();
    List<One> left = List.of(new One("vm2"), new One("host"));

    Orchestrator arrival =
        new KexecArrival(arrived, left, Set.of("vm1"), journal, time, Deadlines.kexec(), _ -> {});

    assertThat(time.simulate(arrival::run)).isInstanceOf(Outcome.Completed.class);
    assertThat(running).containsExactly("vm2");
    assertThat(calls).contains("host FINISH").noneMatch(call -> call.startsWith("vm1"));
    assertThat(recover()).isEmpty();
  }

  @Test
  @Promise("kernel-arrival")
  void undoesWithoutThoseThatAreGone() {
    failing.addAll(Set.of("vm1 FREEZE", "vm2 CANCEL"));
    assertThat(depart(() -> {})).isInstanceOf(Outcome.Stuck.class);
    failing.clear();
    calls.clear();
    UpdateHistory history = UpdateHistory.of(journal.read()).orElseThrow();

    Orchestrator undo =
        new KexecUndo(
            history,
            List.of(new One("vm2"), new One("host")),
            Set.of("vm1"),
            journal,
            time,
            Deadlines.kexec(),
            _ -> {});

    assertThat(time.simulate(undo::run)).isInstanceOf(Outcome.Cancelled.class);
    assertThat(calls).containsExactly("vm2 CANCEL");
    assertThat(states().getLast()).isEqualTo(UpdateState.NORMAL);
  }

  /** Undoing an update that has left, or restoring from one that has not, would lose guests. */
  @Test
  @Promise("kernel-arrival")
  void refusesTheRecoveryOfTheOtherKernel() {
    Outcome _ = depart(() -> {});
    UpdateHistory frozen = UpdateHistory.of(journal.read()).orElseThrow();
    arrive();
    UpdateHistory arrived = UpdateHistory.of(journal.read()).orElseThrow();

    assertThatThrownBy(
            () ->
                new KexecArrival(
                    frozen, participants(), Set.of(), journal, time, Deadlines.kexec(), _ -> {}))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("has not left the old kernel");
    assertThatThrownBy(
            () ->
                new KexecUndo(
                    arrived, participants(), Set.of(), journal, time, Deadlines.kexec(), _ -> {}))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("cannot be undone in state HANDED_OVER");
    assertThatThrownBy(
            () ->
                new ExecRecovery<>(
                    arrived, participants(), journal, time, Deadlines.kexec(), _ -> {}))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("is one of the kernel");
    assertThatThrownBy(
            () ->
                new KexecArrival(
                    arrived,
                    List.of(new One("vm1")),
                    Set.of("vm2"),
                    journal,
                    time,
                    Deadlines.kexec(),
                    _ -> {}))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("its journal names participants [vm1, vm2, host]");
    Outcome _ = recover().orElseThrow();
    UpdateHistory ended = UpdateHistory.of(journal.read()).orElseThrow();
    assertThatThrownBy(() -> recovery(ended)).hasMessageContaining("has ended");
    assertThat(running).containsExactlyInAnyOrder("vm1", "vm2");
  }
}
