package io.holdfast.core.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.MemoryJournal;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Step;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.RefusedException;
import io.holdfast.core.state.UpdateState;
import io.holdfast.promise.Promise;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The orchestrator in virtual time: something goes wrong at every step, and every guest runs in
 * exactly one place.
 */
final class OrchestratorTest {
  private static final Set<Action> BEFORE_COMMIT =
      EnumSet.of(Action.PREPARE, Action.FREEZE, Action.HAND_OVER, Action.RESTORE);
  private static final Set<Action> AFTER_COMMIT =
      EnumSet.of(Action.FENCE, Action.RESUME, Action.FINISH);

  /** One guest alone, or three of which each depends on the one before. */
  private static World world(int guests) {
    World world = new World();
    world.guest("disk");
    if (guests == 3) {
      world.guest("vm", "disk");
      world.guest("net", "vm", "disk");
    }
    return world;
  }

  static Stream<Integer> sizes() {
    return Stream.of(1, 3);
  }

  private static List<World.Fault> faults(World.Kind kind, int guests, Set<Action> actions) {
    List<World.Fault> all = new ArrayList<>();
    for (String name : world(guests).guests.keySet()) {
      for (Action action : actions) {
        for (boolean after : new boolean[] {false, true}) {
          all.add(new World.Fault(kind, name, action, after));
        }
      }
    }
    return all;
  }

  private static void assertOnPredecessor(World world, World.Agent agent, Object what) {
    assertThat(world.violations).as("%s", what).isEmpty();
    assertThat(world.guests.values())
        .as("%s", what)
        .allSatisfy(
            guest -> {
              assertThat(guest.predecessorRuns).isTrue();
              assertThat(guest.successorRuns).isFalse();
              assertThat(guest.successorAlive).isFalse();
              assertThat(guest.fenced).isFalse();
            });
    assertThat(agent.openDescriptors()).as("%s", what).isZero();
  }

  private static void assertOnSuccessor(World world, World.Agent agent, Object what) {
    assertThat(world.violations).as("%s", what).isEmpty();
    assertThat(world.guests.values())
        .as("%s", what)
        .allSatisfy(
            guest -> {
              assertThat(guest.successorRuns).isTrue();
              assertThat(guest.predecessorRuns).isFalse();
              assertThat(guest.reaped).isTrue();
            });
    assertThat(agent.openDescriptors()).as("%s", what).isZero();
  }

  /** After a crash or a stop: whoever comes next ends it, on the side that the journal says. */
  private static void assertRecovers(World world, Object what) {
    boolean committed = world.committed();
    World.Agent next = world.new Agent();
    Outcome outcome = next.recover();
    if (outcome == null) {
      JournalRecord.Entered last = world.lastState();
      assertThat(last == null || last.state() == UpdateState.NORMAL).as("%s", what).isTrue();
      if (committed) {
        assertOnSuccessor(world, next, what);
      } else {
        assertOnPredecessor(world, next, what);
      }
    } else if (committed) {
      assertThat(outcome).as("%s", what).isInstanceOf(Outcome.Completed.class);
      assertOnSuccessor(world, next, what);
    } else {
      assertThat(outcome).as("%s", what).isInstanceOf(Outcome.Cancelled.class);
      assertThat(((Outcome.Cancelled) outcome).cancelFailures()).as("%s", what).isEmpty();
      assertOnPredecessor(world, next, what);
    }
    assertThat(world.new Agent().recover()).as("%s: recovered twice", what).isNull();
  }

  @Test
  void oneGuestGoesOver() {
    World world = world(1);
    World.Agent agent = world.new Agent();

    Outcome outcome = agent.update();

    assertThat(outcome).isInstanceOf(Outcome.Completed.class);
    assertOnSuccessor(world, agent, outcome);
    assertThat(
            world.journalled.stream()
                .flatMap(
                    each ->
                        each instanceof JournalRecord.Entered entered
                            ? Stream.of(entered.state())
                            : Stream.empty()))
        .containsExactly(
            UpdateState.PREPARING,
            UpdateState.PREPARED,
            UpdateState.FREEZING,
            UpdateState.FROZEN,
            UpdateState.HANDED_OVER,
            UpdateState.RESTORING,
            UpdateState.RESTORED,
            UpdateState.COMMITTED,
            UpdateState.RESUMED,
            UpdateState.NORMAL);
    Timeline.Snapshot timeline = outcome.timeline();
    // freeze 1, hand over 3, restore 2, fence 1, resume 1; prepare 30 and finish 5.
    assertThat(timeline.blackout()).contains(Duration.ofMillis(8));
    assertThat(timeline.blackouts()).containsExactly(Map.entry("disk", Duration.ofMillis(8)));
    assertThat(timeline.brownout()).contains(Duration.ofMillis(35));
    assertThat(agent.heard).hasSize(10 + 2 * 8);
  }

  @ParameterizedTest
  @MethodSource("sizes")
  @Promise("undone-before-commit")
  void aFailureBeforeTheCommitUndoesEverything(int guests) {
    for (World.Kind kind : List.of(World.Kind.FAIL, World.Kind.HANG)) {
      for (World.Fault fault : faults(kind, guests, BEFORE_COMMIT)) {
        World world = world(guests);
        world.fault = fault;
        World.Agent agent = world.new Agent();

        Outcome outcome = agent.update();

        assertThat(outcome).as("%s", fault).isInstanceOf(Outcome.Cancelled.class);
        Outcome.Cancelled cancelled = (Outcome.Cancelled) outcome;
        assertThat(cancelled.cause().participant()).contains(fault.participant());
        assertThat(cancelled.cause().action()).contains(fault.action());
        assertThat(cancelled.cause().reason())
            .isEqualTo(kind == World.Kind.HANG ? Failure.Reason.TIMED_OUT : Failure.Reason.FAILED);
        assertThat(cancelled.cancelFailures()).as("%s", fault).isEmpty();
        assertOnPredecessor(world, agent, fault);
        assertThat(world.new Agent().recover()).as("%s", fault).isNull();
      }
    }
  }

  @ParameterizedTest
  @MethodSource("sizes")
  @Promise("never-twice")
  void aFailureAfterTheCommitGoesForward(int guests) {
    for (World.Kind kind : List.of(World.Kind.FAIL, World.Kind.HANG)) {
      for (World.Fault fault : faults(kind, guests, AFTER_COMMIT)) {
        World world = world(guests);
        world.fault = fault;
        World.Agent agent = world.new Agent();

        Outcome outcome = agent.update();

        assertThat(outcome).as("%s", fault).isInstanceOf(Outcome.Stuck.class);
        Failure cause = ((Outcome.Stuck) outcome).causes().getFirst();
        assertThat(cause.participant()).contains(fault.participant());
        assertThat(cause.action()).contains(fault.action());
        assertThat(world.guests.values())
            .allSatisfy(guest -> assertThat(guest.predecessorRuns).isFalse());
        agent.die();
        assertRecovers(world, fault);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("sizes")
  @Promise("never-twice")
  void anAgentThatDiesAtAnyCallIsRecovered(int guests) {
    Set<Action> all = EnumSet.copyOf(BEFORE_COMMIT);
    all.addAll(AFTER_COMMIT);
    for (World.Fault fault : faults(World.Kind.CRASH, guests, all)) {
      World world = world(guests);
      world.fault = fault;
      Outcome ignored = world.new Agent().update();
      assertThat(ignored).as("%s", fault).isNotInstanceOf(Outcome.Completed.class);
      assertThat(world.committed())
          .as("%s", fault)
          .isEqualTo(AFTER_COMMIT.contains(fault.action()));
      assertRecovers(world, fault);
    }
  }

  @ParameterizedTest
  @MethodSource("sizes")
  @Promise("never-twice")
  void anAgentThatDiesAtAnyAppendIsRecoveredAlsoWhenTheRecoveryDies(int guests) {
    World normal = world(guests);
    World.Agent counter = normal.new Agent();
    assertThat(counter.update()).isInstanceOf(Outcome.Completed.class);
    int appends = counter.appends;
    assertThat(appends).isEqualTo(11 + guests);
    int recoveries = 0;
    for (int first = 0; first < appends; first++) {
      for (boolean after : new boolean[] {false, true}) {
        for (int second = -1; second < 6; second++) {
          String what =
              "append "
                  + first
                  + (after ? " after" : " before")
                  + ", then recovery's append "
                  + second;
          World world = world(guests);
          World.Agent agent = world.new Agent();
          agent.crashBeforeAppend = after ? -1 : first;
          agent.crashAfterAppend = after ? first : -1;
          Outcome _ = agent.update();
          if (second >= 0) {
            World.Agent recovering = world.new Agent();
            recovering.crashBeforeAppend = second % 2 == 0 ? second / 2 : -1;
            recovering.crashAfterAppend = second % 2 == 0 ? -1 : second / 2;
            Outcome _ = recovering.recover();
            recovering.die();
            recoveries++;
          }
          assertRecovers(world, what);
        }
      }
    }
    assertThat(recoveries).isEqualTo(appends * 12);
  }

  @ParameterizedTest
  @MethodSource("sizes")
  @Promise("never-twice")
  void aRecoveryThatDiesAtAnyCallIsRecovered(int guests) {
    for (Action died : List.of(Action.RESTORE, Action.FENCE, Action.RESUME, Action.FINISH)) {
      for (World.Fault second :
          faults(
              World.Kind.CRASH,
              guests,
              EnumSet.of(
                  Action.RESTORE, Action.FENCE, Action.RESUME, Action.FINISH, Action.CANCEL))) {
        World world = world(guests);
        world.fault = new World.Fault(World.Kind.CRASH, "disk", died, false);
        Outcome _ = world.new Agent().update();
        world.fault = second;
        World.Agent recovering = world.new Agent();
        Outcome _ = recovering.recover();
        recovering.die();
        world.fault = null;
        assertRecovers(world, died + " then " + second);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("sizes")
  @Promise("slow-is-not-dead")
  void aCancelThatFailsStaysOpenAndLeavesTheOthersAlone(int guests) {
    for (World.Kind kind : List.of(World.Kind.FAIL, World.Kind.HANG)) {
      for (World.Fault cancel : faults(kind, guests, EnumSet.of(Action.CANCEL))) {
        World world = world(guests);
        World.Agent agent = world.new Agent();
        // The commit can't be journalled, so that everything has to be undone.
        agent.failAppends = Set.of(8 + guests);
        world.fault = cancel;

        Outcome outcome = agent.update();

        assertThat(outcome).isInstanceOf(Outcome.Stuck.class);
        List<Failure> causes = ((Outcome.Stuck) outcome).causes();
        assertThat(causes).hasSize(2);
        assertThat(causes.getFirst().message()).contains("COMMITTED").contains("no space");
        assertThat(causes.getLast().participant()).contains(cancel.participant());
        assertThat(Objects.requireNonNull(world.lastState()).state())
            .isEqualTo(UpdateState.CANCELLING);
        world.guests.forEach(
            (name, guest) -> {
              if (!name.equals(cancel.participant())) {
                assertThat(guest.predecessorRuns).isTrue();
                // Its user pauses it.
                guest.predecessorRuns = false;
              }
            });

        Outcome again = agent.recover();

        assertThat(again).isInstanceOf(Outcome.Cancelled.class);
        world.guests.forEach(
            (name, guest) ->
                assertThat(guest.predecessorRuns)
                    .as("%s, after %s", name, cancel)
                    .isEqualTo(name.equals(cancel.participant())));
        assertThat(Objects.requireNonNull(world.lastState()).state()).isEqualTo(UpdateState.NORMAL);
        assertThat(agent.recover()).isNull();
        assertThat(world.violations).isEmpty();
      }
    }
  }

  @ParameterizedTest
  @MethodSource("sizes")
  @Promise("never-twice")
  void aJournalThatFailsAnywhereNeverSplitsAGuest(int guests) {
    int appends = 11 + guests;
    for (int n = 0; n < appends; n++) {
      World world = world(guests);
      World.Agent agent = world.new Agent();
      agent.failAppends = Set.of(n);
      Outcome outcome = agent.update();
      String what = "append " + n + ": " + outcome;
      if (n < 2) {
        assertThat(outcome).as(what).isInstanceOf(Outcome.Refused.class);
        assertOnPredecessor(world, agent, what);
      } else if (n <= 8 + guests) {
        assertThat(outcome).as(what).isInstanceOf(Outcome.Cancelled.class);
        assertOnPredecessor(world, agent, what);
      } else {
        assertThat(outcome).as(what).isInstanceOf(Outcome.Stuck.class);
        agent.die();
        assertRecovers(world, what);
      }
    }
  }

  @Test
  @Promise("never-twice")
  void ifNeitherCommitNorCancellingCanBeJournalledNothingRuns() {
    World world = world(1);
    World.Agent agent = world.new Agent();
    agent.failAppends = Set.of(9, 10);

    assertThat(agent.update()).isInstanceOf(Outcome.Stuck.class);

    World.Guest guest = world.guests.getOrDefault("disk", world.guest("none"));
    assertThat(guest.predecessorRuns).isFalse();
    assertThat(guest.successorRuns).isFalse();
    agent.die();
    world.guests.remove("none");
    assertRecovers(world, "both");
  }

  @ParameterizedTest
  @MethodSource("sizes")
  @Promise("undone-before-commit")
  void aUserCancelsAtAnyMoment(int guests) {
    int cancelled = 0;
    int refused = 0;
    int end = guests == 1 ? 44 : 130;
    for (int millis = 0; millis < end; millis++) {
      World world = world(guests);
      World.Agent agent = world.new Agent();
      List<RefusedException> refusals = new ArrayList<>();
      try (Workers.Alarm user =
          world.time.alarm(
              () -> {
                Orchestrator orchestrator = agent.orchestrator;
                try {
                  if (orchestrator != null) {
                    orchestrator.cancel("the user said so");
                  }
                } catch (RefusedException e) {
                  refusals.add(e);
                }
              })) {
        user.set(world.time.nanoTime() + millis * 1_000_000L + 500_000);
        Outcome outcome = agent.update();
        if (outcome instanceof Outcome.Cancelled each) {
          assertThat(each.cause().reason()).isEqualTo(Failure.Reason.CANCELLED);
          assertThat(each.cause().message()).isEqualTo("the user said so");
          assertThat(refusals).isEmpty();
          assertOnPredecessor(world, agent, millis);
          cancelled++;
        } else {
          assertThat(outcome).isInstanceOf(Outcome.Completed.class);
          assertOnSuccessor(world, agent, millis);
          if (!refusals.isEmpty()) {
            assertThat(refusals.getFirst().remedy()).contains("past its point of no return");
            refused++;
          }
        }
      }
    }
    // prepare 30, freeze 1, hand over 3, restore 2 for each in turn; then fence 1, resume 1, finish
    // 5 or, together, 5.
    assertThat(cancelled).isEqualTo(36 * guests);
    assertThat(refused).isEqualTo(7 * guests);
  }

  @Test
  @Promise("undone-before-commit")
  void cancelFromAnotherThreadReachesACallOnRealThreads() throws InterruptedException {
    try (PlatformWorkers workers = new PlatformWorkers()) {
      List<Orchestrator> update = new ArrayList<>();
      List<String> calls = new ArrayList<>();
      Quiet sleeper =
          new Quiet("sleeper", Set.of()) {
            @Override
            public void prepare(Step step) throws InterruptedException {
              calls.add("prepare on " + Thread.currentThread().getName());
              Thread user = Thread.ofPlatform().start(() -> update.getFirst().cancel("enough"));
              Thread.sleep(Duration.ofMinutes(1));
              user.join();
            }

            @Override
            public void cancel(Step step) {
              calls.add("cancel, interrupted " + Thread.currentThread().isInterrupted());
            }
          };
      update.add(
          new ExecUpdate<>(
              new UpdateId("u1"),
              List.of(sleeper),
              new MemoryJournal(),
              workers,
              Deadlines.usual(),
              event -> {}));

      Outcome outcome = update.getFirst().run();

      assertThat(outcome).isInstanceOf(Outcome.Cancelled.class);
      assertThat(calls)
          .containsExactly(
              "prepare on " + Thread.currentThread().getName(), "cancel, interrupted false");
      assertThatThrownBy(() -> update.getFirst().cancel("again"))
          .isInstanceOf(RefusedException.class)
          .hasMessageContaining("it has ended");
    }
  }

  @Test
  @Promise("undone-before-commit")
  void aDeadlineInterruptsACallOnRealThreads() {
    try (PlatformWorkers workers = new PlatformWorkers()) {
      List<Quiet> participants = new ArrayList<>();
      for (String name : List.of("a", "b")) {
        participants.add(
            new Quiet(name, Set.of()) {
              @Override
              public void freeze(Step step) throws InterruptedException {
                if (name.equals("b")) {
                  assertThat(step.remaining()).isPositive();
                  Thread.sleep(Duration.ofMinutes(1));
                }
              }
            });
      }
      Orchestrator update =
          new ExecUpdate<>(
              new UpdateId("u1"),
              participants,
              new MemoryJournal(),
              workers,
              Deadlines.usual().with(Action.FREEZE, Duration.ofMillis(50)),
              event -> {});

      Outcome outcome = update.run();

      assertThat(outcome).isInstanceOf(Outcome.Cancelled.class);
      Failure cause = ((Outcome.Cancelled) outcome).cause();
      assertThat(cause.reason()).isEqualTo(Failure.Reason.TIMED_OUT);
      assertThat(cause.participant()).contains("b");
      assertThat(cause.state()).isEqualTo(UpdateState.FREEZING);
    }
  }

  @Test
  @Promise("undone-before-commit")
  void aCallThatIgnoresItsInterruptIsLateAndTheInterruptEndsWithIt() {
    try (PlatformWorkers workers = new PlatformWorkers()) {
      List<String> calls = new ArrayList<>();
      Quiet stubborn =
          new Quiet("stubborn", Set.of()) {
            @Override
            public void freeze(Step step) {
              while (!Thread.currentThread().isInterrupted()) {
                Thread.onSpinWait();
              }
              calls.add("freeze, left " + step.remaining());
            }

            @Override
            public void cancel(Step step) {
              calls.add("cancel, interrupted " + Thread.currentThread().isInterrupted());
            }
          };
      Orchestrator update =
          new ExecUpdate<>(
              new UpdateId("u1"),
              List.of(stubborn),
              new MemoryJournal(),
              workers,
              Deadlines.usual().with(Action.FREEZE, Duration.ofMillis(20)),
              event -> {});

      Outcome outcome = update.run();

      assertThat(outcome).isInstanceOf(Outcome.Cancelled.class);
      assertThat(((Outcome.Cancelled) outcome).cause().reason())
          .isEqualTo(Failure.Reason.TIMED_OUT);
      assertThat(calls).containsExactly("freeze, left PT0S", "cancel, interrupted false");
    }
  }

  @Test
  @Promise("many-vms")
  void cancellingUndoesDependentsFirst() {
    World world = world(3);
    world.fault = new World.Fault(World.Kind.FAIL, "disk", Action.RESTORE, true);
    Outcome outcome = world.new Agent().update();
    assertThat(outcome.timeline().calls().stream().filter(each -> each.action() == Action.CANCEL))
        .extracting(Timeline.CallSpan::participant)
        .containsExactly("net", "vm", "disk");
  }

  @Test
  @Promise("plan-refuses-first")
  void obstaclesRefuseBeforeAnythingChanges() {
    World world = world(3);
    World.Agent agent = world.new Agent();
    List<World.Both> participants = new ArrayList<>(agent.participants());
    participants.add(
        new Quiet("pci", Set.of()) {
          @Override
          public Plan plan() {
            return Plan.refused(new Obstacle("vfio", "it can't be handed over", "detach it"));
          }
        });
    participants.add(
        new Quiet("broken", Set.of()) {
          @Override
          public Plan plan() {
            throw new IllegalStateException("no answer");
          }
        });
    Orchestrator update =
        new ExecUpdate<>(
            new UpdateId("u1"),
            participants,
            agent.journal,
            world.time,
            Deadlines.usual(),
            event -> {});

    Outcome outcome = world.time.simulate(update::run);

    assertThat(outcome).isInstanceOf(Outcome.Refused.class);
    assertThat(((Outcome.Refused) outcome).obstacles())
        .extracting(Obstacle::what, Obstacle::why)
        .containsExactlyInAnyOrder(
            org.assertj.core.groups.Tuple.tuple("pci: vfio", "it can't be handed over"),
            org.assertj.core.groups.Tuple.tuple("broken: its plan", "no answer"));
    assertThat(world.journalled).isEmpty();
    assertThat(update.state()).isEqualTo(UpdateState.NORMAL);
  }

  @Test
  @Promise("plan-refuses-first")
  void dependenciesThatCannotBeKeptAreObstacles() {
    assertThat(
            obstacles(
                new Quiet("a", Set.of("b")), new Quiet("b", Set.of("a")), new Quiet("c", Set.of())))
        .containsExactly("a, b: they depend on one another in a circle, or on such a circle");
    assertThat(obstacles(new Quiet("a", Set.of("x"))))
        .containsExactly("a: it depends on x, which is not in the update");
    assertThat(obstacles(new Quiet("a", Set.of()), new Quiet("a", Set.of())))
        .containsExactly("a: two participants have this name");
    assertThat(obstacles()).containsExactly("the update: it has no participant");
  }

  private static List<String> obstacles(Quiet... participants) {
    VirtualWorkers time = new VirtualWorkers();
    ExecUpdate<Quiet> update =
        new ExecUpdate<>(
            new UpdateId("u1"),
            List.of(participants),
            new MemoryJournal(),
            time,
            Deadlines.usual(),
            event -> {});
    return time.simulate(update::plan).obstacles().stream()
        .map(each -> each.what() + ": " + each.why())
        .toList();
  }

  @Test
  @Promise("pauses")
  void listenersHearNothingInTheBlackout() {
    World world = world(1);
    List<String> heard = new ArrayList<>();
    World.Agent agent = world.new Agent();
    Orchestrator update =
        new ExecUpdate<>(
            new UpdateId("u1"),
            agent.participants(),
            agent.journal,
            world.time,
            Deadlines.usual(),
            event -> heard.add(world.time.nanoTime() - event.at() == 0 ? "at once" : "late"));
    Outcome outcome = world.time.simulate(update::run);
    assertThat(outcome).isInstanceOf(Outcome.Completed.class);
    long late = heard.stream().filter("late"::equals).count();
    // 7 states from FREEZING to RESUMED, and the beginning and end of 6 calls, that of finish among
    // them, but the very last end.
    assertThat(late).isEqualTo(18);
  }

  /**
   * Random graphs of random calls: everyone waits for exactly those it depends on, so the phase
   * takes its longest chain.
   */
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 5, 8, 13, 21, 34, 55, 89})
  @Promise("many-vms")
  void randomGraphsKeepTheirOrderAndOverlap(long base) {
    for (int round = 0; round < 10; round++) {
      long seed = base * 1000 + round + Long.getLong("holdfast.seed", 0);
      Random random = new Random(seed);
      int count = 2 + random.nextInt(7);
      VirtualWorkers time = new VirtualWorkers();
      List<Quiet> participants = new ArrayList<>();
      Map<String, Integer> millis = new HashMap<>();
      for (int i = 0; i < count; i++) {
        Set<String> after = new java.util.TreeSet<>();
        for (int j = 0; j < i; j++) {
          if (random.nextInt(3) == 0) {
            after.add("p" + j);
          }
        }
        for (Action action : Action.values()) {
          millis.put("p" + i + action, 1 + random.nextInt(50));
        }
        participants.add(
            new Quiet("p" + i, after) {
              @Override
              void any(Step step) throws InterruptedException {
                time.sleep(Duration.ofMillis(millis.getOrDefault(name() + step.action(), 0)));
              }
            });
      }
      List<Quiet> shuffled = new ArrayList<>(participants);
      java.util.Collections.shuffle(shuffled, random);
      Orchestrator update =
          new ExecUpdate<>(
              new UpdateId("u1"),
              shuffled,
              new MemoryJournal(),
              time,
              Deadlines.usual(),
              event -> {});

      Outcome outcome = time.simulate(update::run);

      assertThat(outcome).as("seed %d", seed).isInstanceOf(Outcome.Completed.class);
      for (Action action :
          List.of(
              Action.PREPARE,
              Action.FREEZE,
              Action.HAND_OVER,
              Action.RESTORE,
              Action.FENCE,
              Action.RESUME,
              Action.FINISH)) {
        boolean backwards = Set.of(Action.FREEZE, Action.HAND_OVER, Action.FENCE).contains(action);
        Map<String, Timeline.CallSpan> spans = new HashMap<>();
        for (Timeline.CallSpan span : outcome.timeline().calls()) {
          if (span.action() == action) {
            spans.put(span.participant(), span);
          }
        }
        assertThat(spans).as("seed %d %s", seed, action).hasSize(count);
        long begin =
            spans.values().stream().mapToLong(Timeline.CallSpan::start).min().orElseThrow();
        for (Quiet each : participants) {
          long expected = begin;
          for (Quiet other : participants) {
            boolean waits =
                backwards
                    ? other.after().contains(each.name())
                    : each.after().contains(other.name());
            if (waits) {
              expected = Math.max(expected, end(spans, other.name()));
            }
          }
          assertThat(start(spans, each.name()))
              .as("seed %d: %s of %s starts as soon as it may", seed, action, each.name())
              .isEqualTo(expected);
        }
      }
    }
  }

  private static long start(Map<String, Timeline.CallSpan> spans, String name) {
    return java.util.Objects.requireNonNull(spans.get(name)).start();
  }

  private static long end(Map<String, Timeline.CallSpan> spans, String name) {
    return java.util.Objects.requireNonNull(spans.get(name)).end().orElseThrow();
  }

  /** A participant that does nothing, unless told. */
  private static class Quiet implements World.Both {
    private final String name;
    private final Set<String> after;

    Quiet(String name, Set<String> after) {
      this.name = name;
      this.after = after;
    }

    void any(Step step) throws InterruptedException {
      assertThat(step.remaining()).isPositive();
    }

    @Override
    public String name() {
      return name;
    }

    @Override
    public Set<String> after() {
      return after;
    }

    @Override
    public Plan plan() {
      return Plan.of();
    }

    @Override
    public void prepare(Step step) throws InterruptedException {
      any(step);
    }

    @Override
    public void freeze(Step step) throws InterruptedException {
      any(step);
    }

    @Override
    public void handOver(Step step) throws InterruptedException {
      any(step);
    }

    @Override
    public void restore(Step step) throws InterruptedException {
      any(step);
    }

    @Override
    public void fence(Step step) throws InterruptedException {
      any(step);
    }

    @Override
    public void resume(Step step) throws InterruptedException {
      any(step);
    }

    @Override
    public void finish(Step step) throws InterruptedException {
      any(step);
    }

    @Override
    public void cancel(Step step) {}
  }
}
