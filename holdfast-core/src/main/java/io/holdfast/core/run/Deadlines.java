package io.holdfast.core.run;

import io.holdfast.core.state.Action;
import java.time.Duration;
import java.util.EnumMap;
import java.util.Map;

/**
 * How long each call may take, over all participants: a deadline is one for all that run in the
 * same phase.
 *
 * @param limits one positive duration per action
 */
public record Deadlines(Map<Action, Duration> limits) {
  /**
   * Copies the map.
   *
   * @throws IllegalArgumentException if an action has no positive limit
   */
  public Deadlines {
    limits = Map.copyOf(limits);
    for (Action action : Action.values()) {
      Duration limit = limits.getOrDefault(action, Duration.ZERO);
      if (!limit.isPositive()) {
        throw new IllegalArgumentException(
            "the deadline of " + action.words() + " is " + limit + ", and must be positive");
      }
    }
  }

  /**
   * What an update has unless someone knows better: two minutes to prepare; in the blackout, a few
   * seconds each, since beyond that cancelling serves the guest better.
   */
  public static Deadlines usual() {
    Map<Action, Duration> limits = new EnumMap<>(Action.class);
    for (Action action : Action.values()) {
      limits.put(
          action,
          switch (action) {
            case PREPARE -> Duration.ofMinutes(2);
            case PLAN, FINISH, CANCEL -> Duration.ofSeconds(30);
            case HAND_OVER, RESTORE -> Duration.ofSeconds(10);
            case SHUT_DOWN -> Duration.ofMinutes(2);
            case FREEZE, FENCE, RESUME -> Duration.ofSeconds(5);
          });
    }
    return new Deadlines(limits);
  }

  /**
   * What an update of the kernel has: all VMs at once save their device state, and start again on a
   * machine whose caches are cold. Once it has left there is nothing that a deadline could save.
   */
  public static Deadlines kexec() {
    return usual()
        .with(Action.PLAN, Duration.ofMinutes(2))
        .with(Action.PREPARE, Duration.ofMinutes(10))
        .with(Action.FREEZE, Duration.ofSeconds(30))
        .with(Action.RESTORE, Duration.ofMinutes(2))
        .with(Action.RESUME, Duration.ofSeconds(30))
        .with(Action.FINISH, Duration.ofMinutes(2));
  }

  /** The same with another limit for one action. */
  public Deadlines with(Action action, Duration limit) {
    Map<Action, Duration> changed = new EnumMap<>(limits);
    changed.put(action, limit);
    return new Deadlines(changed);
  }

  /**
   * Multiplies every limit.
   *
   * @throws IllegalArgumentException if {@code factor} is not positive
   */
  public Deadlines times(int factor) {
    Map<Action, Duration> changed = new EnumMap<>(limits);
    changed.replaceAll((_, limit) -> limit.multipliedBy(factor));
    return new Deadlines(changed);
  }

  /** Extends the limits of the actions that {@code least} has, where they are shorter. */
  public Deadlines atLeast(Map<Action, Duration> least) {
    Map<Action, Duration> changed = new EnumMap<>(limits);
    least.forEach(
        (action, limit) -> changed.merge(action, limit, (a, b) -> a.compareTo(b) < 0 ? b : a));
    return new Deadlines(changed);
  }

  /** The limit of one action. */
  public Duration of(Action action) {
    return limits.getOrDefault(action, Duration.ZERO);
  }
}
