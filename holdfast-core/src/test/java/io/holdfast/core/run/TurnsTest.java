package io.holdfast.core.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.journal.MemoryJournal;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Target;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.RefusedException;
import io.holdfast.core.state.UpdateState;
import io.holdfast.promise.Promise;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Updates beside one another, on real threads. */
@Timeout(60)
class TurnsTest {
  private final AtomicInteger still = new AtomicInteger();
  private final AtomicInteger mostStill = new AtomicInteger();

  /** A guest that stands still from its freeze until it is let run, and may fail at one call. */
  private class Guest implements Source, Target {
    private final String name;
    private final Action fails;
    private boolean frozen;

    Guest(String name, Action fails) {
      this.name = name;
      this.fails = fails;
    }

    private void call(Step step) throws InterruptedException {
      Thread.sleep(1);
      if (step.action() == fails) {
        throw new IllegalStateException("injected");
      }
    }

    private void run() {
      if (frozen) {
        frozen = false;
        int _ = still.decrementAndGet();
      }
    }

    @Override
    public String name() {
      return name;
    }

    @Override
    public Plan plan() {
      return Plan.of("guest");
    }

    @Override
    public void prepare(Step step) throws InterruptedException {
      call(step);
    }

    @Override
    public void freeze(Step step) throws InterruptedException {
      frozen = true;
      int now = still.incrementAndGet();
      int _ = mostStill.accumulateAndGet(now, Math::max);
      call(step);
    }

    @Override
    public void handOver(Step step) throws InterruptedException {
      call(step);
    }

    @Override
    public void restore(Step step) throws InterruptedException {
      call(step);
    }

    @Override
    public void fence(Step step) throws InterruptedException {
      if (fails == Action.FENCE) {
        // It stands still for good, and keeps nobody from a turn.
        run();
      }
      call(step);
    }

    @Override
    public void resume(Step step) throws InterruptedException {
      run();
      call(step);
    }

    @Override
    public void finish(Step step) throws InterruptedException {
      call(step);
    }

    @Override
    public void cancel(Step step) throws InterruptedException {
      run();
      Thread.sleep(1);
    }
  }

  private static Orchestrator update(Guest guest, Turns turns, Workers workers) {
    return new ExecUpdate<>(
        new UpdateId(guest.name),
        List.of(guest),
        new MemoryJournal(),
        workers,
        Deadlines.usual(),
        turns,
        event -> {});
  }

  /** Whatever becomes of each: a turn that is never ended would keep the last ones waiting. */
  @Test
  @Promise("many-vms")
  void onlySoManyStandStillAtOnceAndAllGetTheirTurn() {
    long seed = Long.getLong("holdfast.seed", System.nanoTime());
    System.out.println("TurnsTest seed " + seed);
    Random random = new Random(seed);
    Action[] failures = Action.values();
    try (PlatformWorkers workers = new PlatformWorkers()) {
      for (int most = 1; most <= 3; most++) {
        mostStill.set(0);
        Turns turns = Turns.of(most);
        List<Runnable> all = new ArrayList<>();
        List<Outcome> outcomes = new ArrayList<>();
        for (int i = 0; i < 24; i++) {
          Action fails =
              random.nextBoolean() ? Action.PLAN : failures[random.nextInt(failures.length)];
          Orchestrator update = update(new Guest("guest" + i, fails), turns, workers);
          boolean cancelled = random.nextInt(4) == 0;
          all.add(
              () -> {
                if (cancelled) {
                  Thread _ = Thread.ofPlatform().start(() -> cancelSoon(update));
                }
                Outcome outcome = update.run();
                synchronized (outcomes) {
                  outcomes.add(outcome);
                }
              });
        }
        workers.together(all);
        assertThat(outcomes).hasSize(24);
        assertThat(mostStill.get()).as("seed %d", seed).isBetween(1, most);
        assertThat(still.get()).as("seed %d", seed).isZero();
      }
    }
  }

  private static void cancelSoon(Orchestrator update) {
    try {
      Thread.sleep(3);
      update.cancel("the user said so");
    } catch (InterruptedException | RefusedException e) {
      // Too late for this one.
      Thread.onSpinWait();
    }
  }

  @Test
  @Promise("many-vms")
  void aCancelReachesOneThatWaits() throws InterruptedException {
    CountDownLatch waits = new CountDownLatch(1);
    Turns never =
        new Turns() {
          @Override
          public boolean await(Duration limit) throws InterruptedException {
            waits.countDown();
            Thread.sleep(limit);
            return false;
          }

          @Override
          public void end() {
            throw new AssertionError("a turn that nobody had is ended");
          }
        };
    try (PlatformWorkers workers = new PlatformWorkers()) {
      Orchestrator update = update(new Guest("guest", Action.PLAN), never, workers);
      Thread user =
          Thread.ofPlatform()
              .start(
                  () -> {
                    try {
                      waits.await();
                    } catch (InterruptedException e) {
                      throw new AssertionError(e);
                    }
                    assertThat(update.state()).isEqualTo(UpdateState.PREPARED);
                    update.cancel("the user said so");
                  });
      Outcome outcome = update.run();
      user.join();
      assertThat(outcome).isInstanceOf(Outcome.Cancelled.class);
      assertThat(((Outcome.Cancelled) outcome).cause().message()).isEqualTo("the user said so");
      assertThat(mostStill.get()).isZero();
      assertThat(Thread.interrupted()).isFalse();
    }
  }

  @Test
  @Promise("many-vms")
  void aTurnThatDoesNotComeInTimeCancels() {
    Turns busy =
        new Turns() {
          @Override
          public boolean await(Duration limit) {
            return false;
          }

          @Override
          public void end() {
            throw new AssertionError("a turn that nobody had is ended");
          }
        };
    try (PlatformWorkers workers = new PlatformWorkers()) {
      Outcome outcome = update(new Guest("guest", Action.PLAN), busy, workers).run();
      assertThat(outcome).isInstanceOf(Outcome.Cancelled.class);
      Failure cause = ((Outcome.Cancelled) outcome).cause();
      assertThat(cause.reason()).isEqualTo(Failure.Reason.TIMED_OUT);
      assertThat(cause.message()).contains("its turn to stand still did not come within 120 s");
      assertThat(mostStill.get()).isZero();
    }
  }

  @Test
  @Promise("many-vms")
  void oneThatIsCancelledBeforeItRunsDoesNothing() {
    try (PlatformWorkers workers = new PlatformWorkers()) {
      Orchestrator update = update(new Guest("guest", Action.PLAN), Turns.of(1), workers);
      update.cancel("the user said so");
      Outcome outcome = update.run();
      assertThat(outcome).isInstanceOf(Outcome.Cancelled.class);
      assertThat(outcome.timeline().calls()).isEmpty();
    }
  }
}
