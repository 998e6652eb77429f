package io.holdfast.agent;

import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.run.Failure;
import io.holdfast.core.run.Orchestrator;
import io.holdfast.core.run.Outcome;
import io.holdfast.core.run.Timeline;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.update.VmUpdate;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/** Timelines and outcomes as {@code Report}s of interface io.holdfast.Update. */
final class Reports {
  /**
   * The calls during which the guest stands still; the state alone does not tell, as RESUMED begins
   * before it runs.
   */
  private static final Set<Action> DARK =
      EnumSet.of(Action.FREEZE, Action.HAND_OVER, Action.RESTORE, Action.FENCE, Action.RESUME);

  /** Notes that a report has in other places than in its spans. */
  private static final Set<String> SHOWN_ELSEWHERE =
      Set.of("progress", VmUpdate.STOPPED_FOR, VmUpdate.STOPPED_UNKNOWN, VmUpdate.LOST);

  /** What the file of a report that is kept is called after its id. */
  static final String SUFFIX = ".json";

  /** In bytes; one of a thousand VMs has a few hundred KiB. */
  private static final long MOST = 64L << 20;

  private Reports() {}

  /**
   * How an update ended.
   *
   * @param before what happened before a recovery within the same agent, if there was one
   * @param lost whether nothing runs the VM any more, so that there is nothing to try again
   */
  static JsonObject of(
      UpdateId id, String target, Outcome outcome, Optional<Outcome> before, boolean lost) {
    return of(id, new Subject.OneVm(target), outcome, before, lost);
  }

  /** What is updated. */
  sealed interface Subject {
    String kind();

    String target();

    /** That it runs, for people: on its successor or its predecessor. */
    String runs(Outcome outcome, String on);

    /** Which participant an obstacle is of, whose name comes before what the obstacle names. */
    String participant(Obstacle obstacle);

    /** One VM gets another QEMU. */
    record OneVm(String target) implements Subject {
      @Override
      public String kind() {
        return "vmm";
      }

      @Override
      public String runs(Outcome outcome, String on) {
        return "VM " + target + goesOn(outcome) + on;
      }

      @Override
      public String participant(Obstacle obstacle) {
        return target;
      }
    }

    /**
     * The host gets another kernel.
     *
     * @param participants all of them
     */
    record Host(List<String> participants) implements Subject {
      @Override
      public String kind() {
        return "kernel";
      }

      @Override
      public String target() {
        return "host";
      }

      @Override
      public String runs(Outcome outcome, String on) {
        int vms = participants.size() - 1;
        return "the host runs on its "
            + (on.equals("successor") ? "new" : "old")
            + " kernel"
            + (vms == 0 ? "" : vms == 1 ? ", with its VM" : ", with its " + vms + " VMs");
      }

      @Override
      public String participant(Obstacle obstacle) {
        return participants.stream()
            .filter(name -> obstacle.what().startsWith(name + ": "))
            .findFirst()
            .orElse("");
      }
    }
  }

  /** How an update of {@code subject} ended; see the other {@code of}. */
  static JsonObject of(
      UpdateId id, Subject subject, Outcome outcome, Optional<Outcome> before, boolean lost) {
    List<JsonObject> obstacles = new ArrayList<>();
    List<String> losses = new ArrayList<>();
    String name;
    String message;
    switch (outcome) {
      case Outcome.Completed completed -> {
        boolean kernel = subject instanceof Subject.Host;
        boolean again =
            before.isPresent()
                || (!kernel
                    && completed.timeline().calls().stream()
                        .noneMatch(c -> c.action().words().equals("prepare")));
        name = again ? "recovered" : "completed";
        message =
            subject.runs(completed, "successor")
                + before
                    .map(b -> ", which needed a second attempt: " + causes(b))
                    .orElse(again ? ", after a recovery" : "");
        losses.addAll(completed.losses());
      }
      case Outcome.Refused refused -> {
        name = "refused";
        message = "nothing was changed: " + count(refused.obstacles().size());
        for (Obstacle obstacle : refused.obstacles()) {
          obstacles.add(Updates.obstacle(subject.participant(obstacle), obstacle));
        }
      }
      case Outcome.HandedOver _ -> {
        name = "handed over";
        message = "the next kernel is about to start; what became of it is told there";
      }
      case Outcome.Cancelled cancelled -> {
        name = "cancelled";
        Failure cause =
            before.orElse(cancelled) instanceof Outcome.Stuck stuck
                ? stuck.causes().getFirst()
                : cancelled.cause();
        List<String> gone = notes(cancelled.timeline(), VmUpdate.LOST).toList();
        message =
            cause
                + (gone.isEmpty()
                    ? ". Everything was undone"
                        + (before.isPresent() ? ", which took several attempts; " : "; ")
                        + subject.runs(cancelled, "predecessor")
                    : ". " + String.join(" ", gone) + " Everything else was undone")
                + (cancelled.cancelFailures().isEmpty()
                    ? ""
                    : ". The journal does not have all of it: " + cancelled.cancelFailures());
      }
      case Outcome.Stuck stuck -> {
        name = "stuck";
        message =
            causes(undoing(stuck.timeline()) ? since(before, stuck) : stuck)
                + (lost
                    ? ""
                    : undoing(stuck.timeline())
                        ? ". It is undone as far as that was possible. The rest is tried again"
                            + " every few seconds, and when the agent is started; `holdfast vm stop"
                            + " NAME` ends a guest instead"
                        : subject instanceof Subject.Host
                            ? ". What did not come back is held in memory, and the others run; once"
                                + " that is repaired: holdfast update retry"
                            : ". The update can only go on from here, which is tried again every few"
                                + " seconds, and when the agent is started");
      }
    }
    return report(id, subject, name, message, obstacles, losses, outcome.timeline());
  }

  /** One that has not ended: its message is the state that it is in. */
  static JsonObject underWay(
      UpdateId id, Subject subject, UpdateState state, Timeline.Snapshot timeline) {
    return report(id, subject, "under way", state.toString(), List.of(), List.of(), timeline);
  }

  /** One that was refused before it was even planned. */
  static JsonObject refused(UpdateId id, String target, Instant now, Obstacle obstacle) {
    Timeline.Snapshot nothing =
        new Timeline.Snapshot(
            id,
            CarrierKind.EXEC,
            now,
            List.of(),
            List.of(),
            List.of(),
            Optional.empty(),
            Optional.empty(),
            Map.of());
    return of(id, target, new Outcome.Refused(List.of(obstacle), nothing), Optional.empty(), false);
  }

  /**
   * A report that was kept, by this agent or an earlier one.
   *
   * @return one whose outcome is {@code unknown}, and whose message says why, if it can't be read
   */
  static JsonObject kept(Path file) {
    String name = file.getFileName().toString();
    String id = name.substring(0, name.length() - SUFFIX.length());
    try {
      long size = Files.size(file);
      if (size > MOST) {
        throw new IOException("it has " + size + " bytes, and no report has more than " + MOST);
      }
      JsonObject report = Json.parse(Files.readAllBytes(file));
      for (String text : List.of("kind", "target", "outcome", "message")) {
        String _ = report.string(text);
      }
      for (String number : List.of("started", "brownout", "blackout")) {
        long _ = report.number(number);
      }
      for (String list : List.of("obstacles", "spans")) {
        var _ = report.array(list).objects();
      }
      var _ = report.array("losses").strings();
      if (!report.string("id").equals(id)) {
        throw new IOException("it is of " + report.string("id"));
      }
      return report;
    } catch (IOException | JsonException e) {
      return JsonObject.of(
          "id",
          id,
          "kind",
          "unknown",
          "target",
          "unknown",
          "outcome",
          "unknown",
          "message",
          "the report " + file + " can't be read: " + e.getMessage() + "; remove it, or mend it",
          "started",
          0L,
          "brownout",
          0L,
          "blackout",
          0L,
          "obstacles",
          List.of(),
          "losses",
          List.of(),
          "spans",
          List.of());
    }
  }

  private static String goesOn(Outcome outcome) {
    return staysPaused(outcome.timeline()) ? ", paused as before, is on its " : " runs on its ";
  }

  private static boolean staysPaused(Timeline.Snapshot timeline) {
    return note(timeline, VmUpdate.GUEST).equals(Optional.of(VmUpdate.STAYS_PAUSED));
  }

  private static String count(int obstacles) {
    return obstacles == 1 ? "one thing is in the way" : obstacles + " things are in the way";
  }

  /** An attempt to undo an update, with why it was to be undone. */
  private static Outcome since(Optional<Outcome> before, Outcome.Stuck attempt) {
    if (before.isPresent() && before.get() instanceof Outcome.Stuck first) {
      List<Failure> causes = new ArrayList<>(attempt.causes());
      causes.set(0, first.causes().getFirst());
      return new Outcome.Stuck(causes, attempt.timeline());
    }
    return attempt;
  }

  private static String causes(Outcome outcome) {
    return outcome instanceof Outcome.Stuck stuck
        ? String.join("; ", stuck.causes().stream().map(Failure::toString).toList())
        : "";
  }

  /** A plan, as of a dry run. */
  static JsonObject planned(
      UpdateId id, Subject subject, Orchestrator.Planned plan, Timeline.Snapshot timeline) {
    List<JsonObject> obstacles =
        plan.obstacles().stream().map(o -> Updates.obstacle(subject.participant(o), o)).toList();
    List<String> preserved = new ArrayList<>();
    plan.plans().values().forEach(p -> preserved.addAll(p.preserved()));
    Optional<Duration> brownout =
        plan.plans().values().stream().flatMap(p -> p.brownout().stream()).findFirst();
    Optional<Duration> blackout =
        plan.plans().values().stream().flatMap(p -> p.blackout().stream()).findFirst();
    String message = obstacles.isEmpty() ? "" : "it can't be done: " + count(obstacles.size());
    return report(
            id,
            subject,
            obstacles.isEmpty() ? "planned" : "refused",
            message,
            obstacles,
            plan.losses(),
            timeline)
        .with("preserved", preserved)
        .with("risks", plan.risks())
        .with("brownout", brownout.map(Duration::toNanos).orElse(0L))
        .with("blackout", blackout.map(Duration::toNanos).orElse(0L));
  }

  /**
   * How long the guest was stopped, and how that was measured: a kernel update, and a VM whose QEMU
   * did not tell, have the controller's view.
   */
  private static JsonObject withBlackout(
      JsonObject report, Subject subject, Timeline.Snapshot timeline) {
    if (timeline.blackout().isEmpty() && note(timeline, VmUpdate.STOPPED_FOR).isEmpty()) {
      return report.with("blackout", 0L);
    }
    Optional<Long> controller = timeline.blackout().map(Duration::toNanos);
    JsonObject seen = report.with("blackout", controller.orElse(0L));
    if (subject instanceof Subject.Host) {
      return seen.with("blackoutSource", "kernel");
    }
    seen = seen.with("controllerBlackoutNanos", controller);
    Optional<String> stopped = note(timeline, VmUpdate.STOPPED_FOR);
    if (stopped.isPresent()) {
      return seen.with("blackout", Long.parseLong(stopped.get())).with("blackoutSource", "qemu");
    }
    return seen.with("blackoutSource", "controller")
        .with(
            "blackoutReason",
            note(timeline, VmUpdate.STOPPED_UNKNOWN)
                .orElse(
                    staysPaused(timeline)
                        ? "the guest was paused before the update"
                        : "this agent did not hear QEMU both stop and resume the guest"));
  }

  private static Optional<String> note(Timeline.Snapshot timeline, String key) {
    return notes(timeline, key).findFirst();
  }

  private static Stream<String> notes(Timeline.Snapshot timeline, String key) {
    return timeline.notes().stream()
        .filter(note -> note.key().equals(key))
        .map(Timeline.Note::value);
  }

  private static boolean undoing(Timeline.Snapshot timeline) {
    return !timeline.states().isEmpty()
        && timeline.states().getLast().state() == UpdateState.CANCELLING;
  }

  private static JsonObject report(
      UpdateId id,
      Subject subject,
      String outcome,
      String message,
      List<JsonObject> obstacles,
      List<String> losses,
      Timeline.Snapshot timeline) {
    JsonObject report =
        JsonObject.of(
            "id",
            id.toString(),
            "kind",
            subject.kind(),
            "target",
            subject.target(),
            "outcome",
            outcome,
            "message",
            message,
            "started",
            timeline.began().toEpochMilli(),
            "brownout",
            timeline.brownout().map(Duration::toNanos).orElse(0L),
            "obstacles",
            obstacles,
            "losses",
            losses,
            "spans",
            spans(timeline));
    return withBlackout(report, subject, timeline);
  }

  private static List<JsonObject> spans(Timeline.Snapshot timeline) {
    List<JsonObject> spans = new ArrayList<>();
    for (Timeline.CallSpan call : timeline.calls()) {
      Timeline.StateSpan state = stateAt(timeline, call.start());
      Map<String, String> notes = new HashMap<>();
      timeline.notes().stream()
          .filter(
              n ->
                  n.action() == call.action()
                      && n.participant().equals(call.participant())
                      && !SHOWN_ELSEWHERE.contains(n.key()))
          .forEach(n -> notes.put(n.key(), n.value()));
      call.failure().ifPresent(f -> notes.put("failure", f));
      spans.add(
          JsonObject.of(
              "participant", call.participant(),
              "step", call.action().words(),
              "state", state.state().toString(),
              "phase", DARK.contains(call.action()) ? "blackout" : "brownout",
              "start", call.start(),
              "length", call.end().orElse(call.start()) - call.start(),
              "notes", notes));
    }
    return spans;
  }

  private static Timeline.StateSpan stateAt(Timeline.Snapshot timeline, long time) {
    Timeline.StateSpan found = new Timeline.StateSpan(UpdateState.NORMAL, 0, Optional.empty());
    for (Timeline.StateSpan state : timeline.states()) {
      if (state.start() <= time) {
        found = state;
      }
    }
    return found;
  }
}
