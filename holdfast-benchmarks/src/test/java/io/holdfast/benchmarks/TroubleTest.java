package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.Troubles.Kind;
import io.holdfast.benchmarks.Troubles.Trouble;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.IntPredicate;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Real guests are updated, paused, resumed and listed while processes are killed and stopped, the
 * run directory's file system is full, the agent has no descriptor left or a disk's storage stalls:
 * eight times in each run, for 20 minutes at night. No guest is lost. One that does not run is
 * listed with who keeps it from that and why, and runs again when the trouble is over. Each goes on
 * in exactly one process, its console and its disk never fork, repeat or skip, and nothing is left
 * over.
 *
 * <p>The seed is printed; {@code HOLDFAST_SEED=N ./test} repeats what was done to whom and when. As
 * a user other than root file systems are not full and storage does not stall.
 */
@Tag("guest")
class TroubleTest {
  private static final int GUESTS = 3;

  /** Longer than most updates: some troubles come just after one. */
  private static final int LATEST_MILLIS = 1200;

  /** A guest whose QEMU was stopped finds that time has passed, and must not call it a lockup. */
  private static final String APPEND = " watchdog_thresh=60";

  /** Any operation has ended by then, whatever befalls the host. */
  private static final int OPERATION_SECONDS = 240;

  /** A stuck update is tried again every 30 s at most, and an attempt has deadlines. */
  private static final int SETTLED_SECONDS = 300;

  private final List<Guest> guests = new ArrayList<>();
  private final Map<Kind, Integer> struck = new EnumMap<>(Kind.class);
  private final Map<String, Integer> ends = new TreeMap<>();
  private final ConcurrentSkipListMap<String, Integer> seen = new ConcurrentSkipListMap<>();
  private Optional<LimitedFileSystem> space = Optional.empty();
  private Optional<StallingFile> storage = Optional.empty();
  private Optional<Host> made = Optional.empty();
  private Optional<Troubles> bringer = Optional.empty();
  private Optional<Host.State> whole = Optional.empty();

  /** What lasts is over by then. */
  private int longestMillis = 15_000;

  private enum Paused {
    NO,
    YES,
    /** It was not told whether that was done. */
    PERHAPS
  }

  private static final class Guest {
    private final String name;

    /** The image itself, which the guest of the first one sees through a file that can stall. */
    private final Path disk;

    private final Witness witness = new Witness();
    private volatile Paused paused = Paused.NO;

    Guest(String name, Path disk) {
      this.name = name;
      this.disk = disk;
    }

    JsonObject parameters() {
      return JsonObject.of("name", name);
    }
  }

  private enum Operation {
    UPDATE,
    UPDATE_ALL,
    CANCEL,
    PAUSE,
    RESUME,
    SHOW,
    RESTART_AGENT
  }

  /**
   * What is done in a round.
   *
   * @param after ms from its begin
   * @param millis when an update is cancelled, or its client killed
   * @param parallel how many are updated at once
   */
  private record Round(
      Operation operation,
      Guest guest,
      String qemu,
      int after,
      int millis,
      int parallel,
      List<Trouble> troubles) {
    boolean fills() {
      return troubles.stream().anyMatch(each -> each.kind().fills());
    }

    boolean has(Kind kind) {
      return troubles.stream().anyMatch(each -> each.kind() == kind);
    }

    @Override
    public String toString() {
      return "%s of %s to %s after %d ms, %d at once, cut at %d ms; %s"
          .formatted(operation, guest.name, qemu, after, parallel, millis, troubles);
    }
  }

  @Test
  @Promise("never-twice")
  void eightTroubles() throws Exception {
    longestMillis = 5_000;
    troubles(round -> round <= 8);
  }

  @Test
  @Tag("nightly")
  @Tag("trouble")
  @Promise("never-twice")
  void twentyMinutesOfTrouble() throws Exception {
    long end = System.nanoTime() + Long.getLong("holdfast.trouble.seconds", 1200) * 1_000_000_000;
    troubles(_ -> System.nanoTime() - end < 0);
  }

  @AfterEach
  void end() throws IOException {
    if (storage.isPresent()) {
      // A QEMU that waits for it could not even be killed.
      storage.get().goOn();
    }
    try {
      made.ifPresent(Host::endProcesses);
    } finally {
      try {
        if (storage.isPresent()) {
          storage.get().close();
        }
      } finally {
        if (space.isPresent()) {
          space.get().close();
        }
      }
    }
    if (made.isPresent()) {
      made.get().close();
    }
  }

  private Host host() {
    return made.orElseThrow();
  }

  private Troubles troubles() {
    return bringer.orElseThrow();
  }

  // ---- the host and its guests ----

  private void start() throws Exception {
    boolean root = Linux.system().effectiveUser() == 0;
    Path directory = Files.createTempDirectory("holdfast-trouble");
    Path limited = directory.resolve("limited");
    if (root) {
      space = Optional.of(LimitedFileSystem.mount(limited));
    } else {
      Files.createDirectory(limited);
    }
    Host host = Host.in(directory, limited.resolve("run"));
    made = Optional.of(host);
    host.startAgent();
    for (int i = 1; i <= GUESTS; i++) {
      Path disk = directory.resolve("disk" + i + ".qcow2");
      RunningGuest.image(disk);
      Path seenAt = disk;
      if (root && i == 1) {
        storage = Optional.of(StallingFile.over(disk));
        seenAt = storage.get().path();
      }
      Guest guest = new Guest("vm" + i, disk);
      guests.add(guest);
      JsonObject plain = host.definition(Host.qemu());
      JsonObject image = JsonObject.of("path", seenAt.toString(), "format", "qcow2");
      JsonObject definition =
          plain
              .with("name", guest.name)
              .with("append", plain.string("append") + APPEND)
              .with("disks", List.of(image));
      var _ = host.call("Vm.Run", JsonObject.of("definition", definition));
    }
    for (Guest guest : guests) {
      Host.await(
          "the boot of " + guest.name,
          () -> {
            follow(guest);
            return guest.witness.ready() && guest.witness.last() > 3;
          });
    }
    bringer = Optional.of(new Troubles(host, space, storage));
    whole = Optional.of(host.state());
  }

  private void follow(Guest guest) {
    guest.witness.follow(host().run().resolve("vms/" + guest.name + "/console.log"));
  }

  private JsonObject show(Guest guest) {
    return host().call("Vm.Show", guest.parameters()).object("vm");
  }

  // ---- rounds ----

  private void troubles(IntPredicate more) throws Exception {
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    long seed = Long.getLong("holdfast.seed", System.nanoTime());
    System.out.println("TroubleTest: HOLDFAST_SEED=" + seed);
    Random random = new Random(seed);
    start();
    long begun = System.nanoTime();
    int number = 1;
    for (; more.test(number); number++) {
      Round round = draw(random);
      try {
        run(round);
      } catch (AssertionError | RuntimeException e) {
        System.out.println(summary(number, begun));
        throw new AssertionError(
            "seed %d, round %d: %s: %s; processes: %s; journals: %s; agents: %s"
                .formatted(
                    seed,
                    number,
                    round,
                    e.getMessage(),
                    host().commands(),
                    troubles().journals(),
                    troubles().said()),
            e);
      }
    }
    System.out.println(summary(number - 1, begun));
    stopAll();
  }

  private String summary(int rounds, long begun) {
    StringBuilder text = new StringBuilder();
    long seconds = (System.nanoTime() - begun) / 1_000_000_000;
    text.append("TroubleTest: %d rounds in %d s%n".formatted(rounds, seconds));
    text.append("  troubles %s%n  ends %s%n".formatted(struck, ends));
    text.append("  agents that could not start: %s%n".formatted(troubles().refusals()));
    seen.forEach((state, times) -> text.append("  seen %4d times: %s%n".formatted(times, state)));
    for (Guest guest : guests) {
      text.append("  %s said %s%n".formatted(guest.name, guest.witness.complaints()));
    }
    return text.toString();
  }

  private Round draw(Random random) {
    Operation operation = operation(random.nextInt(100));
    Guest guest = guests.get(random.nextInt(GUESTS));
    String other = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    boolean there = random.nextBoolean() && !other.isEmpty();
    int after = Math.max(0, random.nextInt(-600, 600));
    int millis = random.nextInt(LATEST_MILLIS);
    int parallel = random.nextInt(1, GUESTS + 1);
    // One that is paused does not stay so for long.
    Optional<Guest> paused = guests.stream().filter(each -> each.paused != Paused.NO).findFirst();
    if (random.nextInt(3) == 0 && paused.isPresent()) {
      operation = Operation.RESUME;
      guest = paused.get();
    }
    List<Kind> kinds = troubles().kinds();
    List<Trouble> drawn = new ArrayList<>();
    int count = random.nextInt(5) < 3 ? 1 : 2;
    for (int i = 0; i < count; i++) {
      Kind kind = kinds.remove(random.nextInt(kinds.size()));
      Guest struckOne = guests.get(random.nextInt(GUESTS));
      boolean same = random.nextInt(4) > 0;
      int begin = random.nextInt(LATEST_MILLIS);
      int length = length(random, kind);
      if (same && kind == Kind.STORAGE_STALLED && operation != Operation.RESUME) {
        guest = guests.getFirst();
      }
      drawn.add(new Trouble(kind, (same ? guest : struckOne).name, begin, length));
    }
    return new Round(operation, guest, there ? other : Host.qemu(), after, millis, parallel, drawn);
  }

  private static Operation operation(int dice) {
    return dice < 45
        ? Operation.UPDATE
        : dice < 65
            ? Operation.UPDATE_ALL
            : dice < 75
                ? Operation.CANCEL
                : dice < 84
                    ? Operation.PAUSE
                    : dice < 90
                        ? Operation.RESUME
                        : dice < 95 ? Operation.SHOW : Operation.RESTART_AGENT;
  }

  /** Short ones as often as long ones: from a tenth of a second on, by their logarithm. */
  private int length(Random random, Kind kind) {
    double most =
        kind.mostMillis() == 0 ? LATEST_MILLIS : Math.min(longestMillis, kind.mostMillis());
    return (int) (100 * Math.pow(most / 100, random.nextDouble()));
  }

  private void run(Round round) throws Exception {
    for (Guest guest : guests) {
      follow(guest);
      if (round.fills()) {
        guest.witness.mayHaveGaps(true);
      }
    }
    try (VmWatch _ =
        new VmWatch(
            host().run().resolve("agent.sock"),
            new TreeSet<>(guests.stream().map(guest -> guest.name).toList()),
            this::mayBePaused,
            seen)) {
      CompletableFuture<?> operation = start(() -> operate(round));
      List<CompletableFuture<?>> all = new ArrayList<>(List.of(operation));
      round.troubles().forEach(trouble -> all.add(start(() -> troubles().strike(trouble))));
      for (CompletableFuture<?> each : all) {
        await(each);
      }
      for (Trouble trouble : round.troubles()) {
        var _ = struck.merge(trouble.kind(), 1, Integer::sum);
      }
      guests.forEach(this::settle);
    }
    guests.forEach(this::assertGoesOn);
    assertWhole();
  }

  private interface Work {
    void run() throws Exception;
  }

  private static CompletableFuture<?> start(Work work) {
    CompletableFuture<Boolean> done = new CompletableFuture<>();
    Thread _ =
        Thread.ofPlatform()
            .daemon()
            .start(
                () -> {
                  try {
                    work.run();
                    done.complete(true);
                  } catch (Throwable e) {
                    done.completeExceptionally(e);
                  }
                });
    return done;
  }

  private static void await(CompletableFuture<?> each) throws InterruptedException {
    try {
      var _ = each.get(OPERATION_SECONDS, TimeUnit.SECONDS);
    } catch (TimeoutException e) {
      throw new AssertionError("the operation or the trouble does not end", e);
    } catch (ExecutionException e) {
      throw new AssertionError("the operation or the trouble failed: " + e.getCause(), e);
    }
  }

  private boolean mayBePaused(String name) {
    return guests.stream().anyMatch(guest -> guest.name.equals(name) && guest.paused != Paused.NO);
  }

  // ---- operations ----

  private void operate(Round round) throws Exception {
    RunningGuest.pause(round.after());
    String end;
    try {
      end = round.has(Kind.CLIENT_KILLED) ? updateOfAKilledClient(round) : end(round);
    } catch (VarlinkConnectionException e) {
      end = "cut off";
    } catch (VarlinkException e) {
      assertThat(e.getMessage()).isNotBlank();
      end = "not possible";
    }
    String words = (round.has(Kind.CLIENT_KILLED) ? "UPDATE" : round.operation()) + " " + end;
    var _ = ends.merge(words, 1, Integer::sum);
  }

  private String end(Round round) throws Exception {
    Guest guest = round.guest();
    JsonObject update = guest.parameters().with("qemu", round.qemu());
    return switch (round.operation()) {
      case UPDATE -> outcome(host().call("Update.Vmm", update).object("report"));
      case UPDATE_ALL -> updateAll(round);
      case CANCEL -> cancelled(update, round.millis());
      case PAUSE -> {
        guest.paused = guest.paused == Paused.YES ? Paused.YES : Paused.PERHAPS;
        var _ = host().call("Vm.Pause", guest.parameters());
        guest.paused = Paused.YES;
        yield "done";
      }
      case RESUME -> {
        guest.paused = guest.paused == Paused.NO ? Paused.NO : Paused.PERHAPS;
        var _ = host().call("Vm.Resume", guest.parameters());
        guest.paused = Paused.NO;
        yield "done";
      }
      case SHOW -> {
        var _ = show(guest);
        yield "done";
      }
      case RESTART_AGENT -> {
        troubles().restartAgent();
        yield "done";
      }
    };
  }

  private static String outcome(JsonObject report) {
    String outcome = report.string("outcome");
    assertThat(outcome)
        .as("%s", report)
        .isIn("completed", "recovered", "cancelled", "refused", "stuck");
    assertThat(report.string("message")).as("%s", report).isNotBlank();
    if (outcome.equals("refused")) {
      assertThat(report.array("obstacles").objects()).as("%s", report).isNotEmpty();
    }
    return outcome;
  }

  private String updateAll(Round round) {
    JsonArray names = JsonArray.of(guests.stream().map(guest -> (Object) guest.name).toArray());
    JsonObject asked =
        JsonObject.of("names", names, "qemu", round.qemu(), "parallel", round.parallel());
    return host().call("Update.Vmms", asked).array("reports").objects().stream()
        .map(TroubleTest::outcome)
        .distinct()
        .sorted()
        .collect(Collectors.joining("+"));
  }

  private String cancelled(JsonObject update, int millis) throws InterruptedException {
    CompletableFuture<String> id = new CompletableFuture<>();
    CompletableFuture<?> cancel =
        start(
            () -> {
              String begun = id.get(OPERATION_SECONDS, TimeUnit.SECONDS);
              RunningGuest.pause(millis);
              try {
                var _ = host().call("Update.Cancel", JsonObject.of("id", begun));
              } catch (VarlinkException | VarlinkConnectionException _) {
                // It has ended, is committed, or has lost its agent.
              }
            });
    String[] end = {"no report"};
    try (VarlinkClient client =
        VarlinkClient.connect(Linux.system(), host().run().resolve("agent.sock"))) {
      client.callMore(
          "io.holdfast.Update.Vmm",
          update,
          List.of(),
          reply -> {
            JsonObject news = reply.parameters();
            news.optionalObject("progress").ifPresent(each -> id.complete(each.string("id")));
            news.optionalObject("report").ifPresent(each -> end[0] = outcome(each));
          });
    } finally {
      id.complete("none");
      await(cancel);
    }
    return end[0];
  }

  /** The update goes on to its end without it. */
  private String updateOfAKilledClient(Round round) throws IOException, InterruptedException {
    Path said = host().directory().resolve("client.out");
    Process client =
        new ProcessBuilder(
                Jvm.command(
                    "io.holdfast.benchmarks",
                    UpdateClient.class.getName(),
                    List.of("-XX:TieredStopAtLevel=1"),
                    List.of(
                        host().run().resolve("agent.sock").toString(),
                        round.guest().name,
                        round.qemu())))
            .redirectErrorStream(true)
            .redirectOutput(said.toFile())
            .start();
    Host.await(
        "the update's begin or the client's end",
        () -> said.toFile().length() > 0 || !client.isAlive());
    RunningGuest.pause(round.millis());
    var _ = client.destroyForcibly().waitFor();
    return "without its client";
  }

  // ---- what must hold when it is over ----

  /** Waits until the VM is what was asked of it. */
  private void settle(Guest guest) {
    JsonObject[] last = {JsonObject.empty()};
    try {
      Host.await(
          SETTLED_SECONDS,
          guest.name,
          () -> {
            last[0] = show(guest);
            String state = last[0].string("state");
            return switch (guest.paused) {
              case NO -> state.equals("running");
              case YES -> state.equals("paused");
              case PERHAPS -> state.equals("running") || state.equals("paused");
            };
          });
    } catch (AssertionError e) {
      throw new AssertionError(
          "%s, paused: %s, stays %s".formatted(guest.name, guest.paused, last[0]), e);
    }
    guest.paused = last[0].string("state").equals("paused") ? Paused.YES : Paused.NO;
  }

  /** In exactly one process, with nothing repeated or skipped. */
  private void assertGoesOn(Guest guest) {
    Witness witness = guest.witness;
    follow(guest);
    long from = witness.last();
    if (guest.paused == Paused.NO) {
      Host.await(
          guest.name + " goes on from " + from + "; " + witness.consoleCheck(),
          () -> {
            follow(guest);
            return witness.last() > from + 5;
          });
      witness.mayHaveGaps(false);
    }
    assertThat(witness.consoleCheck()).as(guest.name).isInstanceOf(ChainCheck.Unbroken.class);
    assertThat(Host.qemus(host().run(), guest.name))
        .as(guest.name)
        .containsExactly(show(guest).number("pid"));
  }

  private void assertWhole() {
    Host.State before = whole.orElseThrow();
    Host.State[] now = {before};
    try {
      Host.await(
          "a host as it was",
          () -> {
            now[0] = host().state();
            return now[0].equals(before);
          });
    } catch (AssertionError e) {
      throw new AssertionError("the host was %s and is %s".formatted(before, now[0]), e);
    }
    assertThat(host().said()).doesNotContain("NoClassDefFoundError");
  }

  private void stopAll() throws IOException {
    for (Guest guest : guests) {
      var _ = host().call("Vm.Resume", guest.parameters());
      guest.paused = Paused.NO;
    }
    guests.forEach(this::assertGoesOn);
    for (Guest guest : guests) {
      // What it writes while it is stopped nobody could read on its console any more.
      var _ = host().call("Vm.Pause", guest.parameters());
    }
    RunningGuest.pause(300);
    for (Guest guest : guests) {
      follow(guest);
      var _ = host().call("Vm.Stop", guest.parameters());
    }
    if (storage.isPresent()) {
      storage.get().close();
      storage = Optional.empty();
    }
    for (Guest guest : guests) {
      Path raw = host().directory().resolve(guest.name + ".raw");
      Witness.rawCopy(guest.disk, raw);
      assertThat(guest.witness.disk(raw, 0)).as(guest.name).isInstanceOf(ChainCheck.Unbroken.class);
    }
    host().assertEmpty();
  }
}
