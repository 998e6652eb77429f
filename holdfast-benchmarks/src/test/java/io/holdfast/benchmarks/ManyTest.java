package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;

/**
 * Several real guests are updated at once: six, at night ten ({@link TenTest}). Each is an update
 * of its own; the same guests live through all of it.
 */
@Tag("guest")
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class ManyTest {
  private static final long MEMORY = 160L << 20;

  private final int count = wanted();
  private Optional<AgentProcess> started = Optional.empty();
  private Optional<RunningGuests> running = Optional.empty();

  /** How many guests. */
  int wanted() {
    return 6;
  }

  @BeforeAll
  void start() throws IOException {
    Path directory = Files.createTempDirectory("holdfast-test");
    AgentProcess agent = AgentProcess.start(Linux.system(), directory);
    started = Optional.of(agent);
    running =
        Optional.of(RunningGuests.start(agent, count, directory, Optional.of(Host.qemu()), MEMORY));
  }

  @AfterAll
  void end() {
    running.ifPresent(RunningGuests::close);
    started.ifPresent(AgentProcess::close);
  }

  private RunningGuests guests() {
    return running.orElseThrow();
  }

  private static List<String> outcomes(List<JsonObject> reports) {
    return reports.stream().map(report -> report.string("outcome")).toList();
  }

  private static List<Long> generations(RunningGuests guests) {
    return guests.all().stream().map(guest -> guest.show().number("generation")).toList();
  }

  /** Every guest goes on, in one process, with nothing repeated or skipped. */
  private void assertAllGoOn() {
    List<Long> from = guests().all().stream().map(guest -> guest.witness().last()).toList();
    for (int i = 0; i < count; i++) {
      RunningGuest guest = guests().get(i);
      long before = from.get(i);
      Host.await(
          "guest" + i + " goes on from " + before, () -> guest.witness().last() > before + 5);
      assertThat(guest.witness().consoleCheck().good())
          .as("guest%d: %s", i, guest.witness().consoleCheck())
          .isTrue();
      assertThat(guest.show().string("state")).isEqualTo("running");
    }
    Path run = started.orElseThrow().directory().resolve("run");
    assertThat(Host.qemus(run)).hasSize(count);
    assertThat(run.resolve("updates").toFile().list((_, name) -> name.endsWith(".journal")))
        .isEmpty();
  }

  /** No two guests are paused at once, by QEMU's own timestamps: each stops after the last ran. */
  private static void assertOneIsPausedAtATime(List<QmpEvents> watches) throws IOException {
    List<QmpEvents.Stop> stops = new ArrayList<>();
    for (QmpEvents watch : watches) {
      List<QmpEvents.Stop> its = watch.stops();
      assertThat(its).hasSize(1);
      stops.addAll(its);
    }
    stops.sort(Comparator.comparingLong(QmpEvents.Stop::from));
    for (int i = 1; i < stops.size(); i++) {
      assertThat(stops.get(i).from()).as("%s", stops).isGreaterThanOrEqualTo(stops.get(i - 1).to());
    }
  }

  @Test
  @Promise("many-vms")
  void allAtOnceToTheOtherSideAndBack() throws IOException {
    List<Long> before = generations(guests());
    List<QmpEvents> watches = new ArrayList<>();
    try {
      for (RunningGuest guest : guests().all()) {
        watches.add(new QmpEvents(started.orElseThrow().directory().resolve("run"), guest.name()));
      }
      allAtOnce(before, watches);
    } finally {
      for (QmpEvents watch : watches) {
        watch.close();
      }
    }
    for (RunningGuest guest : guests().all()) {
      assertThat(guest.witness().complaints()).isEmpty();
    }
  }

  private void allAtOnce(List<Long> before, List<QmpEvents> watches) throws IOException {
    for (int turn = 1; turn <= 2; turn++) {
      List<JsonObject> reports =
          guests().update(Optional.empty(), OptionalLong.of(count), _ -> {}, _ -> {});
      assertThat(outcomes(reports)).isEqualTo(Collections.nCopies(count, "completed"));
      assertThat(reports.stream().map(report -> report.string("id")).distinct()).hasSize(count);
      assertOneIsPausedAtATime(watches);
      assertAllGoOn();
      int turns = turn;
      assertThat(generations(guests())).isEqualTo(before.stream().map(g -> g + turns).toList());
    }
  }

  /** The successor of one does not come up, and that of another lacks memory. */
  @Test
  @Promise("many-vms")
  void oneThatFailsDoesNotStopTheOthers() throws IOException {
    Path qemu = started.orElseThrow().directory().resolve("qemu-for-all-but-two");
    Files.writeString(
        qemu,
        """
        #!/bin/sh
        case "$*" in
          *guest=guest3*-incoming*) echo "guest3 is out of luck"; exit 1 ;;
          *guest=guest5*-incoming*) ulimit -v 120000 ;;
        esac
        exec %s "$@"
        """
            .formatted(Host.qemu()));
    Files.setPosixFilePermissions(qemu, PosixFilePermissions.fromString("rwxr-xr-x"));
    List<Long> before = generations(guests());
    List<JsonObject> reports =
        guests().update(Optional.of(qemu.toString()), OptionalLong.of(4), _ -> {}, _ -> {});
    for (int i = 0; i < count; i++) {
      JsonObject report = reports.get(i);
      boolean fails = i == 3 || i == 5;
      assertThat(report.string("target")).isEqualTo("guest" + i);
      assertThat(report.string("outcome"))
          .as("%s", report)
          .isEqualTo(fails ? "cancelled" : "completed");
    }
    assertThat(reports.get(3).string("message")).contains("guest3 is out of luck");
    assertAllGoOn();
    List<Long> after = generations(guests());
    for (int i = 0; i < count; i++) {
      assertThat(after.get(i)).isEqualTo(before.get(i) + (i == 3 || i == 5 ? 0 : 1));
    }
  }

  /**
   * The successors of all but three never come up, so whenever the agent hears of it, some wait.
   */
  @Test
  @Promise("many-vms")
  void cancellingTheBatchCancelsAllThatCanBe() throws IOException {
    Path qemu = started.orElseThrow().directory().resolve("qemu-that-hangs-for-most");
    Files.writeString(
        qemu,
        """
        #!/bin/sh
        case "$*" in
          *guest=guest[3-9]*-incoming*) exec sleep 600 ;;
        esac
        exec %s "$@"
        """
            .formatted(Host.qemu()));
    Files.setPosixFilePermissions(qemu, PosixFilePermissions.fromString("rwxr-xr-x"));
    CountDownLatch asked = new CountDownLatch(1);
    String[] batch = {""};
    List<JsonObject> reports =
        guests()
            .update(
                Optional.of(qemu.toString()),
                OptionalLong.of(3),
                id -> batch[0] = id,
                progress -> {
                  if (progress.string("state").equals("PREPARED") && asked.getCount() > 0) {
                    asked.countDown();
                    Thread _ = Thread.ofPlatform().start(() -> cancel(batch[0]));
                  }
                });
    assertThat(asked.getCount()).isZero();
    List<String> outcomes = outcomes(reports);
    assertThat(outcomes).as("%s", reports).isSubsetOf("completed", "cancelled");
    assertThat(outcomes.subList(3, count))
        .as("those that could not come up")
        .containsOnly("cancelled");
    assertThat(reports.getLast().string("message")).contains("cancelled by the user");
    assertAllGoOn();
  }

  private void cancel(String id) {
    try (VarlinkClient client = started.orElseThrow().client()) {
      JsonObject _ = client.call("io.holdfast.Update.Cancel", JsonObject.of("id", id));
    }
  }

  @Test
  @Promise("many-vms")
  void unknownAndTakenVms() throws IOException {
    try (VarlinkClient client = started.orElseThrow().client()) {
      assertThatThrownBy(
              () ->
                  client.call(
                      "io.holdfast.Update.Vmms",
                      JsonObject.of("names", JsonArray.of("guest0", "nobody"))))
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("there is no VM nobody");
      assertAllGoOn();
      // While all are taken, each is refused, and says by what.
      List<JsonObject> refused = new ArrayList<>();
      List<JsonObject> reports =
          guests()
              .update(
                  Optional.empty(),
                  OptionalLong.empty(),
                  _ ->
                      refused.addAll(
                          client
                              .call("io.holdfast.Update.Vmms", JsonObject.empty())
                              .array("reports")
                              .objects()),
                  _ -> {});
      assertThat(outcomes(refused)).isEqualTo(Collections.nCopies(count, "refused"));
      assertThat(refused.getFirst().array("obstacles").objects().getFirst().string("why"))
          .contains("VM guest0 is taken by update " + reports.getFirst().string("id"));
      assertThat(outcomes(reports)).isEqualTo(Collections.nCopies(count, "completed"));
    }
    assertAllGoOn();
  }
}
