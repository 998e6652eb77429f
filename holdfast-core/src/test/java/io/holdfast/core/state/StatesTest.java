package io.holdfast.core.state;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.box.Box;
import io.holdfast.core.box.Entry;
import io.holdfast.linux.Fd;
import io.holdfast.promise.Promise;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Both machines against tables written out by hand from the design, and every operation in every
 * state.
 */
final class StatesTest {
  private static final Set<String> EXEC =
      Set.of(
          "NORMAL PREPARING",
          "PREPARING PREPARED",
          "PREPARING CANCELLING",
          "PREPARED FREEZING",
          "PREPARED CANCELLING",
          "FREEZING FROZEN",
          "FREEZING CANCELLING",
          "FROZEN HANDED_OVER",
          "FROZEN CANCELLING",
          "HANDED_OVER RESTORING",
          "HANDED_OVER CANCELLING",
          "RESTORING RESTORED",
          "RESTORING CANCELLING",
          "RESTORED COMMITTED",
          "RESTORED CANCELLING",
          "COMMITTED RESUMED",
          "RESUMED NORMAL",
          "CANCELLING NORMAL");

  private static final Set<String> KEXEC =
      Set.of(
          "NORMAL PREPARING",
          "PREPARING PREPARED",
          "PREPARING CANCELLING",
          "PREPARED SHUTTING_DOWN",
          "PREPARED CANCELLING",
          "SHUTTING_DOWN FREEZING",
          "SHUTTING_DOWN CANCELLING",
          "FREEZING FROZEN",
          "FREEZING CANCELLING",
          "FROZEN HANDED_OVER",
          "FROZEN CANCELLING",
          "HANDED_OVER RESTORING",
          "RESTORING RESTORED",
          "RESTORED COMMITTED",
          "COMMITTED RESUMED",
          "RESUMED NORMAL",
          "CANCELLING NORMAL");

  private static final List<String> CANNOT_CANCEL =
      List.of(
          "EXEC NORMAL",
          "EXEC COMMITTED",
          "EXEC RESUMED",
          "EXEC CANCELLING",
          "KEXEC NORMAL",
          "KEXEC HANDED_OVER",
          "KEXEC RESTORING",
          "KEXEC RESTORED",
          "KEXEC COMMITTED",
          "KEXEC RESUMED",
          "KEXEC CANCELLING");

  private static final Set<UpdateState> BOXES_CHANGE =
      EnumSet.of(UpdateState.NORMAL, UpdateState.RESUMED);

  /**
   * Per operation and actor, the states that permit it; DMA by carrier. Nothing else is permitted.
   */
  private static Set<UpdateState> permitted(Operation operation, Actor actor, CarrierKind carrier) {
    boolean participant = actor == Actor.PARTICIPANT;
    Set<UpdateState> states =
        switch (operation) {
          case PUT, REMOVE -> EnumSet.copyOf(BOXES_CHANGE);
          case TAKE ->
              participant
                  ? EnumSet.of(
                      UpdateState.NORMAL,
                      UpdateState.RESTORING,
                      UpdateState.RESTORED,
                      UpdateState.RESUMED)
                  : EnumSet.copyOf(BOXES_CHANGE);
          case MAP -> {
            Set<UpdateState> map =
                EnumSet.of(
                    UpdateState.NORMAL,
                    UpdateState.PREPARING,
                    UpdateState.PREPARED,
                    UpdateState.RESTORED,
                    UpdateState.COMMITTED,
                    UpdateState.RESUMED);
            if (participant) {
              map.add(UpdateState.RESTORING);
            }
            yield map;
          }
          case RESIZE ->
              EnumSet.of(
                  UpdateState.NORMAL,
                  UpdateState.RESTORED,
                  UpdateState.COMMITTED,
                  UpdateState.RESUMED);
          case RUN_GUEST -> {
            Set<UpdateState> run =
                EnumSet.of(
                    UpdateState.NORMAL,
                    UpdateState.PREPARING,
                    UpdateState.PREPARED,
                    UpdateState.SHUTTING_DOWN,
                    UpdateState.RESUMED);
            if (participant) {
              run.add(UpdateState.CANCELLING);
            }
            yield run;
          }
          case DMA ->
              carrier == CarrierKind.EXEC
                  ? EnumSet.complementOf(EnumSet.of(UpdateState.SHUTTING_DOWN))
                  : EnumSet.complementOf(
                      EnumSet.of(
                          UpdateState.FREEZING,
                          UpdateState.FROZEN,
                          UpdateState.HANDED_OVER,
                          UpdateState.RESTORING));
          case PRESERVE -> EnumSet.of(UpdateState.NORMAL, UpdateState.PREPARING);
          case UNPRESERVE ->
              participant
                  ? EnumSet.of(UpdateState.NORMAL, UpdateState.CANCELLING)
                  : EnumSet.of(UpdateState.NORMAL);
          case PRESERVE_DEVICE_STATE ->
              EnumSet.of(UpdateState.NORMAL, UpdateState.PREPARING, UpdateState.FREEZING);
        };
    return states;
  }

  @Test
  @Promise("states")
  void transitionsAreTheDesigns() {
    for (CarrierKind carrier : CarrierKind.values()) {
      Set<String> actual = new TreeSet<>();
      for (UpdateState from : UpdateState.values()) {
        for (UpdateState to : UpdateState.values()) {
          UpdateMachine machine = new UpdateMachine(carrier, from);
          try {
            machine.enter(to);
            actual.add(from + " " + to);
            assertThat(machine.state()).isEqualTo(to);
          } catch (RefusedException e) {
            assertThat(machine.state()).isEqualTo(from);
            assertThat(e.state()).startsWith(from.name());
            assertThat(e).hasMessageContaining("going to " + to).hasMessageContaining("carrier");
            assertThat(e.remedy()).isNotBlank();
          }
        }
      }
      assertThat(actual).isEqualTo(new TreeSet<>(carrier == CarrierKind.EXEC ? EXEC : KEXEC));
    }
  }

  @Test
  @Promise("states")
  void cancelIsPossibleUntilThePointOfNoReturn() {
    List<String> not = new ArrayList<>();
    for (CarrierKind carrier : CarrierKind.values()) {
      for (UpdateState state : UpdateState.values()) {
        boolean absent = carrier == CarrierKind.EXEC && state == UpdateState.SHUTTING_DOWN;
        if (!absent && !UpdateMachine.cancellable(state, carrier)) {
          not.add(carrier + " " + state);
        }
      }
    }
    assertThat(not).isEqualTo(CANNOT_CANCEL);
  }

  @ParameterizedTest
  @EnumSource(CarrierKind.class)
  @Promise("states")
  void everyOperationInEveryState(CarrierKind carrier) {
    for (UpdateState state : UpdateState.values()) {
      for (Operation operation : Operation.values()) {
        for (Actor actor : Actor.values()) {
          UpdateMachine machine = new UpdateMachine(carrier, state);
          if (permitted(operation, actor, carrier).contains(state)) {
            assertThatCode(() -> machine.check(operation, actor, "it"))
                .as("%s %s %s %s", carrier, state, operation, actor)
                .doesNotThrowAnyException();
          } else {
            assertThatThrownBy(() -> machine.check(operation, actor, "it"))
                .as("%s %s %s %s", carrier, state, operation, actor)
                .isInstanceOf(RefusedException.class)
                .hasMessageStartingWith(operation.words() + " on it is refused in state " + state)
                .satisfies(
                    e ->
                        assertThat(((RefusedException) e).remedy())
                            .containsAnyOf("allowed in", "wait"));
          }
        }
      }
    }
  }

  @Test
  void afterFinishThePreservedSetMayChange() {
    UpdateMachine machine = new UpdateMachine(CarrierKind.KEXEC, UpdateState.RESUMED);
    machine.finished();
    for (Operation operation :
        List.of(Operation.PRESERVE, Operation.UNPRESERVE, Operation.PRESERVE_DEVICE_STATE)) {
      assertThatCode(() -> machine.check(operation, Actor.ANYONE, "it")).doesNotThrowAnyException();
    }
  }

  @Test
  @Promise("boxes")
  void aRefusalSaysWhatWouldAllowIt() {
    assertThatThrownBy(
            () ->
                new UpdateMachine(CarrierKind.EXEC, UpdateState.FROZEN)
                    .check(Operation.PUT, Actor.ANYONE, "box vm1"))
        .hasMessage(
            "put on box vm1 is refused in state FROZEN (carrier exec): it is allowed in NORMAL, RESUMED; wait for the"
                + " update to end, or cancel it");
    assertThatThrownBy(
            () ->
                new UpdateMachine(CarrierKind.EXEC, UpdateState.COMMITTED)
                    .check(Operation.PUT, Actor.ANYONE, "box vm1"))
        .hasMessageEndingWith("it is allowed in NORMAL, RESUMED; wait for the update to end");
  }

  /** Through the box itself: what is refused changes nothing and closes nothing. */
  @ParameterizedTest
  @EnumSource(CarrierKind.class)
  @Promise("boxes")
  void boxesObeyEveryState(CarrierKind carrier) {
    for (UpdateState state : UpdateState.values()) {
      for (Operation operation : List.of(Operation.PUT, Operation.TAKE, Operation.REMOVE)) {
        for (Actor actor :
            operation == Operation.TAKE ? Actor.values() : new Actor[] {Actor.ANYONE}) {
          List<Long> closed = new ArrayList<>();
          Box box = new Box("vm1", "vm1");
          Fd held = Fd.own((call, a, b, c, d, e, f) -> closed(closed, a), 7, "ram");
          Fd offered = Fd.own((call, a, b, c, d, e, f) -> closed(closed, a), 8, "other");
          box.put("ram", held, "memfd");
          box.join(new UpdateMachine(carrier, state));
          Runnable attempt =
              switch (operation) {
                case PUT -> () -> box.put("other", offered, "memfd");
                case TAKE ->
                    () ->
                        assertThat(box.take("ram", actor))
                            .isEqualTo(new Entry.Descriptor(held, "memfd"));
                default -> () -> box.remove("ram");
              };
          if (permitted(operation, actor, carrier).contains(state)) {
            attempt.run();
            assertThat(box.entries().keySet())
                .containsExactlyElementsOf(
                    operation == Operation.PUT ? List.of("ram", "other") : List.of());
            assertThat(closed).isEqualTo(operation == Operation.REMOVE ? List.of(7L) : List.of());
          } else {
            assertThatThrownBy(attempt::run)
                .as("%s %s %s %s", carrier, state, operation, actor)
                .isInstanceOf(RefusedException.class)
                .hasMessageContaining("box vm1")
                .hasMessageContaining(state.name());
            assertThat(box.entries().keySet()).containsExactly("ram");
            assertThat(closed).isEmpty();
            assertThat(held.isOpen()).isTrue();
            assertThat(offered.isOpen()).isTrue();
            if (!BOXES_CHANGE.contains(state)) {
              assertThatThrownBy(box::close).isInstanceOf(RefusedException.class);
              assertThat(held.isOpen()).isTrue();
            }
          }
        }
      }
    }
  }

  private static long closed(List<Long> numbers, long number) {
    numbers.add(number);
    return 0;
  }

  @Test
  @Promise("states")
  void memoryTransitionsAreTheDesigns() {
    Map<MemoryState, Set<MemoryState>> expected =
        Map.of(
            MemoryState.INACTIVE, Set.of(MemoryState.ACTIVE),
            MemoryState.ACTIVE, Set.of(MemoryState.FINALIZED),
            MemoryState.FINALIZED, Set.of(MemoryState.ACTIVE, MemoryState.HANDED_OVER),
            MemoryState.HANDED_OVER, Set.of(),
            MemoryState.RECEIVED, Set.of(MemoryState.RESTORED),
            MemoryState.RESTORED, Set.of(MemoryState.RELEASED),
            MemoryState.RELEASED, Set.of());
    Map<MemoryOperation, Set<MemoryState>> permitting =
        Map.of(
            MemoryOperation.PRESERVE, Set.of(MemoryState.ACTIVE),
            MemoryOperation.UNPRESERVE, Set.of(MemoryState.ACTIVE),
            MemoryOperation.RETRIEVE, Set.of(MemoryState.RECEIVED, MemoryState.RESTORED),
            MemoryOperation.RESIZE,
                Set.of(MemoryState.INACTIVE, MemoryState.RESTORED, MemoryState.RELEASED),
            MemoryOperation.CALL_LUO,
                Set.of(
                    MemoryState.INACTIVE,
                    MemoryState.ACTIVE,
                    MemoryState.RECEIVED,
                    MemoryState.RESTORED,
                    MemoryState.RELEASED));
    List<List<MemoryState>> paths =
        List.of(
            List.of(
                MemoryState.INACTIVE,
                MemoryState.ACTIVE,
                MemoryState.FINALIZED,
                MemoryState.HANDED_OVER),
            List.of(MemoryState.RECEIVED, MemoryState.RESTORED, MemoryState.RELEASED));
    int seen = 0;
    for (List<MemoryState> path : paths) {
      for (int length = 1; length <= path.size(); length++) {
        MemoryState here = path.get(length - 1);
        for (MemoryState to : MemoryState.values()) {
          MemoryMachine machine = walk(path.subList(0, length));
          if (expected.getOrDefault(here, Set.of()).contains(to)) {
            machine.enter(to);
            assertThat(machine.state()).isEqualTo(to);
            seen++;
          } else {
            assertThatThrownBy(() -> machine.enter(to))
                .isInstanceOf(RefusedException.class)
                .hasMessageContaining("state " + here);
            assertThat(machine.state()).isEqualTo(here);
          }
        }
        for (MemoryOperation operation : MemoryOperation.values()) {
          MemoryMachine machine = walk(path.subList(0, length));
          if (permitting.getOrDefault(operation, Set.of()).contains(here)) {
            machine.check(operation, "ram");
          } else {
            assertThatThrownBy(() -> machine.check(operation, "ram"))
                .isInstanceOf(RefusedException.class)
                .hasMessageContaining("state " + here)
                .hasMessageContaining("allowed in");
          }
        }
      }
    }
    assertThat(seen).isEqualTo(6);
  }

  private static MemoryMachine walk(List<MemoryState> path) {
    MemoryMachine machine =
        path.getFirst() == MemoryState.INACTIVE
            ? MemoryMachine.outgoing()
            : MemoryMachine.incoming();
    path.subList(1, path.size()).forEach(machine::enter);
    return machine;
  }

  @Test
  @Promise("states")
  void tablesArePrintedFromTheTables() {
    String text = StateTables.print();
    assertThat(text)
        .containsPattern("(?m)^  RESTORED +blackout +COMMITTED, CANCELLING$")
        .containsPattern("(?m)^  FROZEN +blackout +HANDED_OVER, CANCELLING$")
        .containsPattern("(?m)^  FINALIZED +ACTIVE, HANDED_OVER +no +no +no +no +no$")
        .containsPattern(
            "(?m)^  RESTORING +no +participants +no +participants +no +no +yes +no +no +no$");
    assertThat(text.lines().filter(line -> line.contains("SHUTTING_DOWN"))).hasSize(3);
  }
}
