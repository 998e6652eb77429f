package io.holdfast.core.run;

import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What happens when in one update. In the blackout it only remembers; listeners hear of that
 * afterwards. Safe for use by many threads.
 */
public final class Timeline {
  private final UpdateId update;
  private final CarrierKind carrier;
  private volatile Instant began;
  private final Listener listener;
  private final List<TimelineEvent> events = new ArrayList<>();

  /** How many of {@link #events} the listener has heard of. */
  private int told;

  private boolean telling;
  private boolean quiet;

  /**
   * Hears of events, one after the other, in order, on whatever thread caused them and never in the
   * blackout.
   */
  @FunctionalInterface
  public interface Listener {
    /** Something happened. What this throws is ignored: watching must not harm an update. */
    void happened(TimelineEvent event);
  }

  Timeline(UpdateId update, CarrierKind carrier, Instant began, Listener listener) {
    this.update = update;
    this.carrier = carrier;
    this.began = began;
    this.listener = listener;
  }

  /** The time of day at which the update began. */
  Instant began() {
    return began;
  }

  /** The update was made earlier, and begins now. */
  void begins(Instant now) {
    began = now;
  }

  /** Keeps the listener from hearing anything until {@link #tell}. */
  synchronized void hush() {
    quiet = true;
  }

  /** Lets the listener hear again, first what it missed. */
  void tell() {
    synchronized (this) {
      quiet = false;
    }
    deliver();
  }

  /** Remembers an event that the listener need not hear of: another agent lived through it. */
  synchronized void addPast(TimelineEvent event) {
    events.add(event);
    told++;
  }

  void add(TimelineEvent event) {
    synchronized (this) {
      events.add(event);
      if (quiet) {
        return;
      }
    }
    deliver();
  }

  /** One thread at a time tells, outside the lock, so that a slow listener holds up nobody else. */
  private void deliver() {
    synchronized (this) {
      if (telling) {
        return;
      }
      telling = true;
    }
    while (true) {
      TimelineEvent event;
      synchronized (this) {
        if (quiet || told == events.size()) {
          telling = false;
          return;
        }
        event = events.get(told++);
      }
      try {
        listener.happened(event);
      } catch (RuntimeException e) {
        // Watching must not harm an update.
        System.getLogger(Timeline.class.getName())
            .log(System.Logger.Level.WARNING, "timeline listener failed", e);
      }
    }
  }

  /**
   * A state and how long it lasted.
   *
   * @param start nanoseconds since the update began
   * @param end the same, none if it lasts
   */
  public record StateSpan(UpdateState state, long start, Optional<Long> end) {}

  /**
   * A call and how long it took.
   *
   * @param start nanoseconds since the update began
   * @param end the same, none if it still runs
   * @param failure what went wrong, if anything did
   */
  public record CallSpan(
      String participant,
      Action action,
      long start,
      Optional<Long> end,
      Optional<String> failure) {}

  /**
   * A fact.
   *
   * @param at nanoseconds since the update began
   */
  public record Note(String participant, Action action, long at, String key, String value) {}

  /**
   * The timeline at one moment. All times in nanoseconds count from the first event.
   *
   * @param began the time of day at which the update, or its recovery, began
   * @param states in order
   * @param calls in the order they began
   * @param notes in order
   * @param brownout how long the update took apart from the blackout, none if it never began
   * @param blackout from FREEZING to the return of the last resume, or to the end of cancelling;
   *     none if it never began, or lasts
   * @param blackouts the same by participant, from the beginning of its freeze
   */
  public record Snapshot(
      UpdateId update,
      CarrierKind carrier,
      Instant began,
      List<StateSpan> states,
      List<CallSpan> calls,
      List<Note> notes,
      Optional<Duration> brownout,
      Optional<Duration> blackout,
      Map<String, Duration> blackouts) {}

  /** A call that has returned, at moments of {@link Workers#nanoTime}. */
  record Call(String participant, Action action, long began, long ended) {}

  /** The calls that have returned without a failure, in the order of their ends. */
  synchronized List<Call> calls() {
    Map<String, Long> open = new HashMap<>();
    List<Call> calls = new ArrayList<>();
    for (TimelineEvent event : events) {
      if (event instanceof TimelineEvent.Began(long at, String participant, Action _)) {
        open.put(participant, at);
      } else if (event
          instanceof
          TimelineEvent.Ended(
              long at,
              String participant,
              Action action,
              Optional<String> failed)) {
        Long began = open.remove(participant);
        if (began != null && failed.isEmpty()) {
          calls.add(new Call(participant, action, began, at));
        }
      }
    }
    return calls;
  }

  /** The timeline so far. */
  public Snapshot snapshot() {
    List<TimelineEvent> all;
    synchronized (this) {
      all = List.copyOf(events);
    }
    long zero = all.isEmpty() ? 0 : all.getFirst().at();
    List<StateSpan> states = new ArrayList<>();
    List<CallSpan> calls = new ArrayList<>();
    List<Note> notes = new ArrayList<>();
    Map<String, Integer> open = new HashMap<>();
    for (TimelineEvent event : all) {
      long at = event.at() - zero;
      switch (event) {
        case TimelineEvent.Entered entered -> {
          if (!states.isEmpty()) {
            StateSpan last = states.removeLast();
            states.add(new StateSpan(last.state(), last.start(), Optional.of(at)));
          }
          states.add(new StateSpan(entered.state(), at, Optional.empty()));
        }
        case TimelineEvent.Began call -> {
          open.put(call.participant(), calls.size());
          calls.add(
              new CallSpan(
                  call.participant(), call.action(), at, Optional.empty(), Optional.empty()));
        }
        case TimelineEvent.Ended call -> {
          Integer index = open.remove(call.participant());
          if (index != null) {
            long start = calls.get(index).start();
            calls.set(
                index,
                new CallSpan(
                    call.participant(), call.action(), start, Optional.of(at), call.failure()));
          }
        }
        case TimelineEvent.Noted note ->
            notes.add(new Note(note.participant(), note.action(), at, note.key(), note.value()));
        case TimelineEvent.Progressed progressed ->
            notes.add(
                new Note(
                    progressed.participant(),
                    progressed.action(),
                    at,
                    "progress",
                    progressed.what()));
      }
    }
    Optional<Duration> blackout = blackout(states, calls);
    return new Snapshot(
        update,
        carrier,
        began,
        List.copyOf(states),
        List.copyOf(calls),
        List.copyOf(notes),
        brownout(states, blackout),
        blackout,
        Map.copyOf(blackouts(calls)));
  }

  private static @Nullable Long entered(List<StateSpan> states, UpdateState state) {
    return states.stream()
        .filter(each -> each.state() == state)
        .map(StateSpan::start)
        .reduce((a, b) -> a)
        .orElse(null);
  }

  private static Optional<Duration> blackout(List<StateSpan> states, List<CallSpan> calls) {
    Long start = entered(states, UpdateState.FREEZING);
    if (start == null) {
      return Optional.empty();
    }
    if (entered(states, UpdateState.RESUMED) != null) {
      // RESUMED is journalled before anything is let run, so the state's own start would make the
      // blackout look shorter than it
      // was.
      return lastSuccess(calls, Action.RESUME).map(end -> Duration.ofNanos(end - start));
    }
    return states.stream()
        .filter(each -> each.state() == UpdateState.CANCELLING)
        .flatMap(each -> each.end().stream())
        .reduce((a, b) -> b)
        .map(end -> Duration.ofNanos(end - start));
  }

  private static Optional<Long> lastSuccess(List<CallSpan> calls, Action action) {
    return calls.stream()
        .filter(each -> each.action() == action && each.failure().isEmpty())
        .flatMap(each -> each.end().stream())
        .max(Long::compare);
  }

  private static Optional<Duration> brownout(List<StateSpan> states, Optional<Duration> blackout) {
    Long start = entered(states, UpdateState.PREPARING);
    if (start == null) {
      return Optional.empty();
    }
    boolean dark = entered(states, UpdateState.FREEZING) != null;
    if (dark && blackout.isEmpty()) {
      Long freezing = entered(states, UpdateState.FREEZING);
      return freezing == null ? Optional.empty() : Optional.of(Duration.ofNanos(freezing - start));
    }
    StateSpan last = states.getLast();
    long end = last.start();
    return Optional.of(Duration.ofNanos(end - start).minus(blackout.orElse(Duration.ZERO)));
  }

  private static Map<String, Duration> blackouts(List<CallSpan> calls) {
    Map<String, Duration> result = new LinkedHashMap<>();
    Map<String, Long> frozen = new HashMap<>();
    for (CallSpan call : calls) {
      if (call.action() == Action.FREEZE) {
        frozen.putIfAbsent(call.participant(), call.start());
      }
      boolean running = call.action() == Action.RESUME || call.action() == Action.CANCEL;
      Long start = frozen.get(call.participant());
      if (running && start != null && call.end().isPresent() && call.failure().isEmpty()) {
        result.put(call.participant(), Duration.ofNanos(call.end().get() - start));
      }
    }
    return result;
  }
}
