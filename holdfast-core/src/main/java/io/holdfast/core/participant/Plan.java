package io.holdfast.core.participant;

import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * What a participant says about an update before anything changes.
 *
 * @param preserved what crosses to the other side, each in a few words
 * @param obstacles what forbids the update; if there is one, nothing is changed
 * @param losses what will be lost, each named
 * @param risks what may make the update fail, which is then cancelled; no reason to refuse it
 * @param brownout how long preparation is expected to take, if that can be said
 * @param blackout how long the workload is expected to stand still, if that can be said
 */
public record Plan(
    List<String> preserved,
    List<Obstacle> obstacles,
    List<String> losses,
    List<String> risks,
    Optional<Duration> brownout,
    Optional<Duration> blackout) {
  /** Copies the lists. */
  public Plan {
    preserved = List.copyOf(preserved);
    obstacles = List.copyOf(obstacles);
    losses = List.copyOf(losses);
    risks = List.copyOf(risks);
  }

  /** A plan that loses nothing and expects nothing in particular. */
  public static Plan of(String... preserved) {
    return new Plan(
        List.of(preserved), List.of(), List.of(), List.of(), Optional.empty(), Optional.empty());
  }

  /** A plan that refuses the update. */
  public static Plan refused(Obstacle... obstacles) {
    return new Plan(
        List.of(), List.of(obstacles), List.of(), List.of(), Optional.empty(), Optional.empty());
  }
}
