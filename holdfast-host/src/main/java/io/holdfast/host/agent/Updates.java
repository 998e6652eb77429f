package io.holdfast.host.agent;

import io.holdfast.core.Deadlines;
import io.holdfast.core.JournalRecord;
import io.holdfast.core.Obstacle;
import io.holdfast.core.Orchestrator;
import io.holdfast.core.Outcome;
import io.holdfast.core.Participant;
import io.holdfast.core.Plan;
import io.holdfast.core.PlatformWorkers;
import io.holdfast.core.RefusedException;
import io.holdfast.core.Step;
import io.holdfast.core.Timeline;
import io.holdfast.core.TimelineEvent;
import io.holdfast.core.UpdateId;
import io.holdfast.core.Workers;
import io.holdfast.host.keeper.Keeper;
import io.holdfast.host.qemu.Vm;
import io.holdfast.host.qemu.VmUpdate;
import io.holdfast.linux.Linux;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

/** Runs updates, keeps their reports, and takes up those that an earlier agent left. */
final class Updates {
  private static final System.Logger LOG = System.getLogger(Updates.class.getName());
  private static final DateTimeFormatter STAMP =
      DateTimeFormatter.ofPattern("yyyyMMdd-HHmmss").withZone(ZoneOffset.UTC);

  /** Reports beyond this many are removed, the oldest first. */
  private static final int KEPT_REPORTS = 500;

  private final Linux linux;
  private final Places places;
  private final Vms vms;
  private final VmUpdate.DeviceState deviceStates;
  private final Workers workers = new PlatformWorkers();
  private final Map<String, Orchestrator> running = new ConcurrentHashMap<>();
  private final CountDownLatch rehearsed = new CountDownLatch(1);
  private final AtomicInteger next = new AtomicInteger();

  Updates(Linux linux, Places places, Vms vms, Keeper keeper) {
    this.linux = linux;
    this.places = places;
    this.vms = vms;
    this.deviceStates = new DeviceStates(linux, keeper);
  }

  /**
   * Runs an update of nothing, so that a first real one finds loaded and linked in its blackout
   * what it needs there. To be called once, after the socket is there: the next update waits for
   * it.
   */
  void rehearse() {
    Thread.ofPlatform()
        .daemon()
        .name("rehearsal")
        .start(
            () -> {
              try {
                UpdateId id = new UpdateId("rehearsal");
                JournalFile journal =
                    JournalFile.open(linux, places.updates().resolve(id + ".journal"));
                Orchestrator orchestrator =
                    new Orchestrator(
                        id,
                        List.of(new Nothing()),
                        journal,
                        workers,
                        Deadlines.usual(),
                        e -> {
                          var _ = progress(id, e, 0);
                        });
                Outcome outcome = orchestrator.run();
                var _ = Reports.of(id, "nothing", outcome, Optional.empty(), false).pretty();
                journal.remove();
              } catch (IOException | RuntimeException e) {
                LOG.log(
                    System.Logger.Level.WARNING,
                    "the rehearsal failed; a first update may take longer",
                    e);
              } finally {
                rehearsed.countDown();
              }
            });
  }

  /** A participant without a workload. */
  private static final class Nothing implements Participant {
    @Override
    public String name() {
      return "nothing";
    }

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

  /** How many are under way. */
  int size() {
    return running.size();
  }

  /**
   * Replaces the QEMU of a VM.
   *
   * @param progress hears of it, outside the blackout
   * @return a {@code Report} of interface io.holdfast.Update
   */
  JsonObject vmm(
      String name, Optional<String> qemu, boolean dryRun, Consumer<JsonObject> progress) {
    // Refused as what it is, before it becomes a part of the update's own name.
    var _ = vms.get(name);
    UpdateId id =
        new UpdateId(STAMP.format(workers.now()) + "-" + name(name) + "-" + next.incrementAndGet());
    Vm vm = vms.claim(name, "update " + id);
    try {
      String target = qemu.orElse(vm.process().binary().path());
      VmUpdate participant = new VmUpdate(linux, vm, vms.probe(), target, deviceStates);
      return dryRun ? planned(id, participant) : run(id, participant, progress);
    } catch (IOException e) {
      throw Vms.notPossible("update " + id + " of VM " + name + ": " + e.getMessage());
    } finally {
      vms.release(name);
    }
  }

  /** An update's id is a name of at most 63 characters; a VM's own may have as many. */
  private static String name(String vm) {
    return vm.length() <= 36 ? vm : vm.substring(0, 36);
  }

  private JsonObject planned(UpdateId id, VmUpdate participant) throws IOException {
    Path nowhere = Files.createTempFile(places.updates(), "plan", ".journal");
    try (JournalFile journal = JournalFile.open(linux, nowhere)) {
      Orchestrator orchestrator =
          new Orchestrator(id, List.of(participant), journal, workers, Deadlines.usual(), _ -> {});
      Orchestrator.Planned plan = orchestrator.plan();
      return Reports.planned(id, participant.name(), plan, orchestrator.timeline());
    } finally {
      Files.deleteIfExists(nowhere);
    }
  }

  private JsonObject run(UpdateId id, VmUpdate participant, Consumer<JsonObject> progress)
      throws IOException {
    JournalFile journal = JournalFile.open(linux, places.updates().resolve(id + ".journal"));
    // A collection that would come in the blackout comes now.
    System.gc();
    long zero = workers.nanoTime();
    Timeline.Listener listener = event -> progress(id, event, zero).ifPresent(progress);
    Orchestrator orchestrator =
        new Orchestrator(id, List.of(participant), journal, workers, Deadlines.usual(), listener);
    running.put(id.toString(), orchestrator);
    awaitRehearsal();
    Outcome outcome;
    try {
      outcome = orchestrator.run();
    } finally {
      running.remove(id.toString());
    }
    Optional<Outcome> before = Optional.empty();
    if (outcome instanceof Outcome.Stuck) {
      // Forward only: once more from what is there, which starts a successor again that never ran.
      Optional<Orchestrator> again =
          Orchestrator.recovery(
              journal.read(), List.of(participant), journal, workers, Deadlines.usual(), listener);
      if (again.isPresent()) {
        before = Optional.of(outcome);
        outcome = again.get().run();
      }
    }
    boolean lost = vms.get(participant.name()).lost().isPresent();
    JsonObject report = Reports.of(id, participant.name(), outcome, before, lost);
    keep(id, report);
    if (outcome instanceof Outcome.Stuck && !lost) {
      journal.close();
    } else {
      journal.remove();
    }
    return report;
  }

  private void awaitRehearsal() {
    try {
      var _ = rehearsed.await(10, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static Optional<JsonObject> progress(UpdateId id, TimelineEvent event, long zero) {
    return switch (event) {
      case TimelineEvent.Entered e ->
          Optional.of(progress(id, e.at() - zero, e.state().toString(), "", ""));
      case TimelineEvent.Progressed p ->
          Optional.of(progress(id, p.at() - zero, "", p.participant(), p.what()));
      case TimelineEvent.Began _ -> Optional.empty();
      case TimelineEvent.Ended e ->
          e.failure()
              .map(
                  f ->
                      progress(
                          id,
                          e.at() - zero,
                          "",
                          e.participant(),
                          e.action().words() + " failed: " + f));
      case TimelineEvent.Noted _ -> Optional.empty();
    };
  }

  private static JsonObject progress(
      UpdateId id, long elapsed, String state, String participant, String message) {
    return JsonObject.of(
        "id",
        id.toString(),
        "state",
        state,
        "participant",
        participant,
        "message",
        message,
        "elapsed",
        elapsed);
  }

  /** Finishes or undoes what an earlier agent left. */
  void recover(List<String> story) throws IOException {
    try (DirectoryStream<Path> journals = Files.newDirectoryStream(places.updates(), "*.journal")) {
      for (Path path : journals) {
        try {
          recover(path, story);
        } catch (IOException | RuntimeException e) {
          story.add(
              "update journal " + path.getFileName() + " could not be taken up: " + e.getMessage());
          LOG.log(System.Logger.Level.ERROR, "update journal " + path, e);
        }
      }
    }
  }

  private void recover(Path path, List<String> story) throws IOException {
    JournalFile journal = JournalFile.open(linux, path);
    List<JournalRecord> records = journal.read();
    Optional<JournalRecord.Began> began =
        records.stream()
            .flatMap(
                r ->
                    r instanceof JournalRecord.Began b
                        ? java.util.stream.Stream.of(b)
                        : java.util.stream.Stream.empty())
            .findFirst();
    if (began.isEmpty()) {
      journal.remove();
      return;
    }
    String name = began.get().participants().getFirst();
    Vm vm = vms.claim(name, "update " + began.get().update());
    try {
      String target =
          records.stream()
              .flatMap(
                  r ->
                      r instanceof JournalRecord.Fact f && f.key().equals(VmUpdate.TARGET)
                          ? java.util.stream.Stream.of(f.value())
                          : java.util.stream.Stream.empty())
              .findFirst()
              .orElse(vm.process().binary().path());
      VmUpdate participant = new VmUpdate(linux, vm, vms.probe(), target, deviceStates);
      Optional<Orchestrator> recovery =
          Orchestrator.recovery(
              records, List.of(participant), journal, workers, Deadlines.usual(), _ -> {});
      if (recovery.isPresent()) {
        Outcome outcome = recovery.get().run();
        boolean lost = vm.lost().isPresent();
        JsonObject report = Reports.of(began.get().update(), name, outcome, Optional.empty(), lost);
        keep(began.get().update(), report);
        story.add("update " + began.get().update() + ": " + report.string("message"));
        if (outcome instanceof Outcome.Stuck && !lost) {
          journal.close();
          return;
        }
      }
      journal.remove();
    } finally {
      vms.release(name);
    }
  }

  /** Asks a running update to cancel. */
  void cancel(String id) {
    Orchestrator orchestrator = running.get(id);
    if (orchestrator == null) {
      throw noSuchUpdate(id, "no update " + id + " is under way");
    }
    try {
      orchestrator.cancel("cancelled by the user");
    } catch (RefusedException e) {
      throw new VarlinkError(
          "io.holdfast.Update.NotPossible",
          JsonObject.of("message", String.valueOf(e.getMessage())));
    }
  }

  private void keep(UpdateId id, JsonObject report) throws IOException {
    Path aside = places.updates().resolve(id + ".json.new");
    Files.write(aside, report.pretty().getBytes(StandardCharsets.UTF_8));
    Files.move(aside, places.updates().resolve(id + ".json"), StandardCopyOption.ATOMIC_MOVE);
    List<Path> all = reports();
    for (Path old : all.subList(0, Math.max(0, all.size() - KEPT_REPORTS))) {
      Files.deleteIfExists(old);
    }
  }

  private List<Path> reports() throws IOException {
    List<Path> found = new ArrayList<>();
    try (DirectoryStream<Path> files = Files.newDirectoryStream(places.updates(), "*.json")) {
      files.forEach(found::add);
    }
    // Ids begin with the time of day.
    found.sort(null);
    return found;
  }

  /** All reports, the oldest first. */
  List<JsonObject> list() {
    try {
      List<JsonObject> all = new ArrayList<>();
      for (Path path : reports()) {
        all.add(Json.parse(Files.readAllBytes(path)));
      }
      return all;
    } catch (IOException e) {
      throw Vms.notPossible("reading the reports in " + places.updates() + ": " + e.getMessage());
    }
  }

  /** One report. */
  JsonObject show(String id) {
    return list().stream()
        .filter(report -> report.string("id").equals(id))
        .findFirst()
        .orElseThrow(
            () ->
                noSuchUpdate(
                    id,
                    "there is no update " + id + "; `holdfast update list` shows those there are"));
  }

  private static VarlinkError noSuchUpdate(String id, String message) {
    return new VarlinkError(
        "io.holdfast.Update.NoSuchUpdate", JsonObject.of("id", id, "message", message));
  }

  static JsonObject obstacle(String participant, Obstacle obstacle) {
    // The orchestrator puts the participant before what it names; here it has a field of its own.
    String prefix = participant + ": ";
    String what = obstacle.what();
    return JsonObject.of(
        "participant",
        participant,
        "what",
        what.startsWith(prefix) ? what.substring(prefix.length()) : what,
        "why",
        obstacle.why(),
        "advice",
        obstacle.advice());
  }
}
