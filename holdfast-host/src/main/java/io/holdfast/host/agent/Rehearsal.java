package io.holdfast.host.agent;

import io.holdfast.core.Deadlines;
import io.holdfast.core.Orchestrator;
import io.holdfast.core.Outcome;
import io.holdfast.core.Participant;
import io.holdfast.core.Plan;
import io.holdfast.core.PlatformWorkers;
import io.holdfast.core.Step;
import io.holdfast.core.Timeline;
import io.holdfast.core.UpdateId;
import io.holdfast.core.Workers;
import io.holdfast.host.carrier.Arrival;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * An update of nothing, and one over a kexec, on a thread of their own: a first real one finds
 * loaded and linked in its blackout what it needs there. So does what made the agent's runtime
 * cache, which is what an agent in the next kernel has.
 */
final class Rehearsal {
  private static final LateLogger LOG = new LateLogger(Rehearsal.class);
  private static final UpdateId ID = new UpdateId("rehearsal");
  private static final long PATIENCE_SECONDS = 10;

  private final Linux linux;
  private final Path journalPath;
  private final Workers workers = new PlatformWorkers();
  private final CountDownLatch done = new CountDownLatch(1);
  private boolean begun;

  /**
   * Makes one that has yet to begin.
   *
   * @param run the run directory; not where journals are that an agent takes up
   */
  Rehearsal(Linux linux, Path run) {
    this.linux = linux;
    this.journalPath = run.resolve(ID + ".journal");
  }

  /** Begins, if it has not yet. */
  synchronized void begin() {
    if (!begun) {
      begun = true;
      Thread.ofPlatform().daemon().name("rehearsal").start(this::run);
    }
  }

  /** Waits for its end, but not for ever. */
  void await() {
    try {
      var _ = done.await(PATIENCE_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void run() {
    try {
      // Of an agent that was killed in its own.
      Files.deleteIfExists(journalPath);
      JournalFile journal = JournalFile.open(linux, journalPath);
      Timeline.Listener listener =
          e -> {
            var _ = Updates.progress(ID, "nothing", e, 0);
          };
      Outcome outcome =
          new Orchestrator(
                  ID,
                  List.of(new Nothing("nothing")),
                  journal,
                  workers,
                  Deadlines.usual(),
                  listener)
              .run();
      var _ = Reports.of(ID, "nothing", outcome, Optional.empty(), false).pretty();
      // What comes over a kexec is waited for by guests that stand still, two at a time.
      Orchestrator.recovery(
              Arrival.rehearse(linux, ID, List.of("nothing", "nothing-else")),
              List.of(new Nothing("nothing"), new Nothing("nothing-else")),
              journal,
              workers,
              Deadlines.kexec(),
              listener)
          .ifPresent(Orchestrator::run);
      journal.remove();
    } catch (IOException | RuntimeException e) {
      LOG.get()
          .log(
              System.Logger.Level.WARNING,
              "the rehearsal failed; a first update may take longer",
              e);
    } finally {
      done.countDown();
    }
  }

  /** A participant without a workload. */
  private record Nothing(String name) implements Participant {
    @Override
    public Plan plan() {
      return Plan.of("nothing");
    }

    @Override
    public void prepare(Step step) {
      step.record("prepared", "yes");
      step.progress("rehearsing");
    }

    @Override
    public void freeze(Step step) {
      step.record("frozen", "yes");
    }

    @Override
    public void handOver(Step step) {
      step.note("remaining", step.remaining().toString());
    }

    @Override
    public void restore(Step step) {
      step.note("recovering", Boolean.toString(step.recovering()));
    }

    @Override
    public void fence(Step step) {
      step.note("recorded", step.recorded("frozen").orElse("no"));
    }

    @Override
    public void resume(Step step) {
      step.record("runs", "yes");
    }

    @Override
    public void finish(Step step) {}

    @Override
    public void cancel(Step step) {}
  }
}
