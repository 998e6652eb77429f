package io.holdfast.core.run;

import io.holdfast.core.participant.Obstacle;
import java.util.List;

/** How an update ended. */
public sealed interface Outcome {
  /** What happened when. */
  Timeline.Snapshot timeline();

  /**
   * The successor runs.
   *
   * @param losses what the plans said would be lost; empty after a recovery, which plans nothing
   */
  record Completed(List<String> losses, Timeline.Snapshot timeline) implements Outcome {
    /** Copies the list. */
    public Completed {
      losses = List.copyOf(losses);
    }
  }

  /**
   * Everything is handed over to the next kernel, which somebody else starts now: the other side
   * goes on. Where the orchestrator's own {@link Crossing} starts it, nobody is left to see this.
   */
  record HandedOver(Timeline.Snapshot timeline) implements Outcome {}

  /** Nothing was changed, because of these obstacles. */
  record Refused(List<Obstacle> obstacles, Timeline.Snapshot timeline) implements Outcome {
    /** Copies the list. */
    public Refused {
      obstacles = List.copyOf(obstacles);
    }
  }

  /**
   * Everything was undone, and the predecessor runs, unless a participant noted that its workload
   * is lost.
   *
   * @param cause why
   * @param cancelFailures which of the update's states could not be journalled; usually empty. A
   *     participant that could not undo its part makes the update {@link Stuck}
   */
  record Cancelled(Failure cause, List<Failure> cancelFailures, Timeline.Snapshot timeline)
      implements Outcome {
    /** Copies the list. */
    public Cancelled {
      cancelFailures = List.copyOf(cancelFailures);
    }
  }

  /**
   * The update can't go on by itself. The journal says how far it came, and {@link ExecRecovery},
   * {@link KexecUndo} or {@link KexecArrival} goes on from there, as often as need be: forward once
   * it is committed, back if it is not. One that is being undone is in state CANCELLING; those that
   * have undone their part are not called again.
   *
   * @param causes why, the first one first; of an update that is being undone, the first is why it
   *     was cancelled
   */
  record Stuck(List<Failure> causes, Timeline.Snapshot timeline) implements Outcome {
    /** Copies the list. */
    public Stuck {
      causes = List.copyOf(causes);
    }
  }
}
