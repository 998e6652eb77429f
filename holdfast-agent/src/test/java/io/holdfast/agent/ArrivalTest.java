package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.participant.Target;
import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.kexec.arrive.ArrivedSessions;
import io.holdfast.kexec.depart.Departure;
import io.holdfast.kexec.session.SessionGuard;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.promise.Promise;
import io.holdfast.store.BoxId;
import io.holdfast.store.ProcessStore;
import io.holdfast.store.VmId;
import io.holdfast.testkit.FormatZero;
import io.holdfast.testkit.NoStep;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What a previous kernel left, on a kernel that refuses some of it, and with agents that die. */
@Promise("kernel-arrival")
class ArrivalTest {
  private static final String CACHE = "@box/cache";
  private static final String JOURNAL = FakeSessions.UPDATE + ".journal";
  private static final String ASIDE = FakeSessions.UPDATE + ".aside";

  @TempDir private Path directory;
  private final FakeSessions kernel = new FakeSessions();
  private final Linux linux = new Linux(kernel);
  private Path root;
  private Path run;
  private ProcessStore store;
  private SessionGuard guard;

  @BeforeEach
  void open() throws IOException {
    root = Files.createDirectories(directory.resolve("root"));
    run = Files.createDirectories(directory.resolve("run"));
    Files.createDirectories(run.resolve("updates"));
    Files.createDirectories(run.resolve("vms"));
    Files.createFile(Files.createDirectories(root.resolve("dev")).resolve("liveupdate"));
    Files.createDirectories(root.resolve("proc"));
    store = ProcessStore.open(linux, run.resolve("keeper"));
    guard = SessionGuard.open(Linux.system(), run.resolve("guard"));
  }

  @AfterEach
  void end() throws IOException {
    guard.close();
    store.end();
  }

  private Arrival.Places places() {
    return new Arrival.Places() {
      @Override
      public Path run() {
        return run;
      }

      @Override
      public Path vm(String name) {
        return run.resolve("vms").resolve(name);
      }

      @Override
      public Path updates() {
        return run.resolve("updates");
      }
    };
  }

  private Optional<Arrival> unpack() throws IOException {
    return Arrival.unpack(
        linux, store, guard, places(), new ArrivedSessions.Host(root, Duration.ofMillis(20)));
  }

  /** What sysfs says of the boot parameters: the types of setup_data. */
  private void booted(int... types) throws IOException {
    Path parameters = Files.createDirectories(root.resolve("sys/kernel/boot_params"));
    for (int i = 0; i < types.length; i++) {
      Path one = Files.createDirectories(parameters.resolve("setup_data/" + i));
      Files.writeString(one.resolve("type"), "0x" + Integer.toHexString(types[i]) + "\n");
    }
  }

  private void arrive() {
    Map<String, Map<String, String>> boxes = new LinkedHashMap<>();
    boxes.put("web", Map.of("ram", "web's memory", "record", "web's record"));
    boxes.put("db", Map.of("ram", "db's memory", "record", "db's record"));
    boxes.put(CACHE, Map.of("index", "the index", "data", "the data"));
    kernel.arrive(boxes, List.of("web", "db", Departure.NAME));
  }

  private Set<String> kept() {
    Set<String> labels = new TreeSet<>();
    store.keys().forEach(key -> labels.add(key.text()));
    return labels;
  }

  private Map<String, String> records() throws IOException {
    Map<String, String> records = new TreeMap<>();
    for (String name : List.of("web", "db")) {
      Path record = run.resolve("vms/" + name + "/vm.json");
      if (Files.exists(record)) {
        records.put(name, Files.readString(record));
      }
    }
    return records;
  }

  private void assertAllUnpacked() throws IOException {
    assertThat(kept())
        .containsExactlyInAnyOrder(
            "@session/holdfast",
            "@session/holdfast/web",
            "@session/holdfast/db",
            "@session/holdfast/@box/cache",
            "web/ram",
            "db/ram",
            "@box/cache/index",
            "@box/cache/data");
    assertThat(records()).isEqualTo(Map.of("web", "web's record", "db", "db's record"));
    assertThat(run.resolve("updates/" + JOURNAL)).exists();
    assertThat(run.resolve("updates/" + ASIDE)).doesNotExist();
    assertThat(kernel.finished()).isEmpty();
    assertNoGuard();
  }

  private void assertNoGuard() {
    assertThat(run.resolve("guard")).doesNotExist();
  }

  private void finish(Optional<Arrival> arrival) throws Exception {
    Arrival.host(linux, store, arrival, Set.of()).finish(new NoStep(Action.FINISH, true));
  }

  @ParameterizedTest
  @EnumSource(names = {"EBUSY", "EIO", "EACCES", "EPERM", "ENOMEM"})
  void refusesToStartWhereDeviceIsUnreadableAfterHandover(Errno errno) throws IOException {
    booted(9, 10);
    arrive();
    kernel.refuse("open", errno);
    assertThatThrownBy(this::unpack)
        .isInstanceOf(IOException.class)
        .hasMessageContaining("cannot tell whether VMs arrived")
        .hasMessageContaining("/dev/liveupdate: " + errno)
        .hasMessageContaining("setup_data/1/type is SETUP_KEXEC_KHO")
        .hasMessageContaining("untouched")
        .hasMessageContaining("start");
    assertThat(kept()).isEmpty();
    assertThat(run.resolve("updates/" + JOURNAL)).doesNotExist();
    assertNoGuard();
    kernel.allow();
    assertThat(unpack()).isPresent();
    assertAllUnpacked();
  }

  @ParameterizedTest
  @EnumSource(names = {"EINVAL", "EIO"})
  void refusesToStartWhereMainSessionCannotBeHad(Errno errno) throws IOException {
    booted(10);
    arrive();
    kernel.refuse("session holdfast", errno);
    assertThatThrownBy(this::unpack)
        .isInstanceOf(IOException.class)
        .hasMessageContaining("cannot tell whether VMs arrived")
        .hasMessageContaining(errno.toString());
    kernel.allow();
    assertThat(unpack()).isPresent();
    assertAllUnpacked();
  }

  @Test
  void refusesToStartWhereHandoverIsUnknown() throws IOException {
    kernel.refuse("open", Errno.EBUSY);
    assertThatThrownBy(this::unpack)
        .hasMessageContaining("EBUSY")
        .hasMessageContaining("boot_params is missing");
    booted(10);
    Path type = root.resolve("sys/kernel/boot_params/setup_data/0/type");
    Files.writeString(type, "torn");
    assertThatThrownBy(this::unpack).hasMessageContaining("cannot be read");
  }

  @ParameterizedTest
  @EnumSource(names = {"EBUSY", "EIO", "EACCES", "EINVAL"})
  void startsWhereNothingWasHandedOver(Errno errno) throws IOException {
    booted();
    kernel.refuse("open", errno);
    assertThat(unpack()).isEmpty();
    booted(1, 9, 1 << 31);
    assertThat(unpack()).isEmpty();
    assertNoGuard();
  }

  @ParameterizedTest
  @EnumSource(names = {"EACCES", "EPERM"})
  void startsForAUserWhoMayNotOpenTheDevice(Errno errno) throws IOException {
    booted(10);
    kernel.user(1000);
    kernel.refuse("open", errno);
    assertThat(unpack()).isEmpty();
  }

  @Test
  void startsWhereSystemdHasTheDeviceAndItsStoreNothing() throws IOException {
    booted(10);
    kernel.refuse("open", Errno.EBUSY);
    Path descriptors = Files.createDirectories(root.resolve("proc/1/fd"));
    Files.createSymbolicLink(descriptors.resolve("7"), Path.of("/dev/liveupdate"));
    assertThatThrownBy(this::unpack).as("no systemd").hasMessageContaining("(process 1)");
    Files.createDirectories(root.resolve("run/systemd/system"));
    assertThat(unpack()).isEmpty();
  }

  @Test
  void asksTheDeviceNoMoreOnceItHasNothing() throws IOException {
    booted(10);
    assertThat(unpack()).isEmpty();
    kernel.refuse("open", Errno.EBUSY);
    assertThat(unpack()).isEmpty();
    Files.writeString(run.resolve("settled"), "another boot\n");
    assertThatThrownBy(this::unpack).hasMessageContaining("EBUSY");
  }

  @Test
  void asksTheDeviceNoMoreOnceAllIsFinished() throws Exception {
    booted(10);
    arrive();
    Optional<Arrival> arrival = unpack();
    finish(arrival);
    assertThat(kernel.finished())
        .containsExactlyInAnyOrder("holdfast/web", "holdfast/db", "holdfast/@box/cache", "holdfast")
        .endsWith("holdfast");
    kernel.refuse("open", Errno.EBUSY);
    assertThat(unpack()).isEmpty();
  }

  /** Each call comes again, after it succeeded, and after it failed at each call of the kernel. */
  @Test
  @Promise("never-twice")
  void finishesOnceHoweverOftenItsCallsAreRepeated() throws Exception {
    booted(10);
    arrive();
    Target host = Arrival.host(linux, store, unpack(), Set.of());
    for (int i = 0; i < 3; i++) {
      host.restore(new NoStep(Action.RESTORE, true));
      host.fence(new NoStep(Action.FENCE, true));
      host.resume(new NoStep(Action.RESUME, true));
    }
    assertThat(kernel.finished()).isEmpty();
    int failed = 0;
    boolean done = false;
    while (!done) {
      kernel.refuseAt(failed + 1);
      try {
        host.finish(new NoStep(Action.FINISH, true));
        done = kernel.calls() <= failed;
      } catch (SystemCallException e) {
        failed++;
      }
    }
    kernel.refuseAt(Integer.MAX_VALUE);
    for (int i = 0; i < 2; i++) {
      host.finish(new NoStep(Action.FINISH, true));
    }
    assertThat(failed).isPositive();
    assertThat(kernel.finished()).hasSize(4).endsWith("holdfast");
    assertThat(kept())
        .containsExactlyInAnyOrder("web/ram", "db/ram", "@box/cache/index", "@box/cache/data");
    // And so it is for the next agent.
    store.close();
    store = ProcessStore.open(linux, run.resolve("keeper"));
    assertThat(kept()).hasSize(4).noneMatch(label -> label.startsWith("@session/"));
  }

  /** A golden file: what the carrier of version 0.1.0 left for the next kernel. */
  @Test
  @Promise("formats")
  void whatVersion010LeftArrives() throws Exception {
    booted(10);
    kernel.arrive(FormatZero.golden("kexec.manifest"));
    assertThat(unpack()).isPresent();
    assertThat(kept()).containsAll(FormatZero.lines("labels-arrived"));
    assertThat(run.resolve("vms/vm1/vm.json")).hasContent("vm1/record");
    Path journal = run.resolve("updates/20261130-010203-kernel-2.journal");
    List<JournalRecord> records = JournalText.decode(Files.readAllBytes(journal)).records();
    assertThat(records.getFirst())
        .isInstanceOfSatisfying(
            JournalRecord.Began.class,
            began -> {
              assertThat(began.carrier()).isEqualTo(CarrierKind.KEXEC);
              assertThat(began.participants()).containsExactly("vm1", Departure.NAME);
              assertThat(began.of("vm1", Optional.empty())).isTrue();
            });
    assertThat(FormatZero.states(records))
        .containsExactly(
            UpdateState.PREPARING,
            UpdateState.PREPARED,
            UpdateState.SHUTTING_DOWN,
            UpdateState.FREEZING,
            UpdateState.FROZEN,
            UpdateState.HANDED_OVER);
    assertThat(FormatZero.facts(records))
        .containsExactly("target", "migration", "stopped", "stop.us");
    assertThat(
            records.stream()
                .filter(JournalRecord.Called.class::isInstance)
                .map(each -> ((JournalRecord.Called) each).action()))
        .contains(Action.PREPARE, Action.SHUT_DOWN, Action.FREEZE, Action.HAND_OVER);
    assertNoGuard();
  }

  @ParameterizedTest
  @CsvSource({
    "web, session holdfast/web, EIO",
    "web, session holdfast/web, EBUSY",
    "web, session holdfast/web, EINVAL",
    "web, session holdfast/web, ENOENT",
    "web, holdfast/web 1, EIO",
    "web, holdfast/web 2, EIO",
    "web, holdfast/web 2, EMFILE",
    "db, holdfast/db 1, ENOMEM",
    "@box/cache, session holdfast/@box/cache, EIO",
    "@box/cache, holdfast/@box/cache 2, EIO",
  })
  void oneBoxThatCannotBeRestoredIsSetAsideAndTheOthersArrive(
      String box, String refused, Errno errno) throws Exception {
    booted(10);
    arrive();
    kernel.refuse(refused, errno);
    Optional<Arrival> arrival = unpack();
    assertSetAside(arrival, box, errno);
    // The next agent tries again, and changes nothing else.
    arrival = unpack();
    assertSetAside(arrival, box, errno);
    assertThat(arrival.orElseThrow().retry()).isEmpty();
    assertSetAside(arrival, box, errno);
    kernel.allow();
    assertThat(arrival.orElseThrow().retry()).containsExactly(BoxId.of(box));
    assertThat(arrival.orElseThrow().aside(BoxId.of(box))).isEmpty();
    assertAllUnpacked();
    finish(arrival);
    assertThat(kernel.finished()).hasSize(4).endsWith("holdfast");
    assertThat(kept()).noneMatch(label -> label.startsWith("@session/"));
  }

  private void assertSetAside(Optional<Arrival> arrival, String box, Errno errno) {
    assertThat(arrival).isPresent();
    for (String each : List.of("web", "db", CACHE)) {
      Optional<String> why = arrival.orElseThrow().aside(BoxId.of(each));
      if (each.equals(box)) {
        assertThat(why.orElse("not set aside")).contains(errno.toString(), "update retry");
      } else {
        assertThat(why).isEmpty();
      }
    }
    assertThat(run.resolve("updates/" + JOURNAL)).exists();
    assertThat(run.resolve("updates/" + ASIDE)).hasContent(box);
    assertThat(kept())
        .contains("@session/holdfast")
        .noneMatch(label -> label.startsWith(box + "/"))
        .anyMatch(label -> label.startsWith((box.equals("web") ? "db" : "web") + "/"))
        .anyMatch(label -> label.startsWith((box.equals(CACHE) ? "db" : CACHE) + "/"));
    if (!box.startsWith("@")) {
      assertThat(run.resolve("vms").resolve(box)).isEmptyDirectory();
    }
    assertThatThrownBy(() -> finish(arrival))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("is set aside");
    assertThat(kernel.finished()).isEmpty();
    assertNoGuard();
  }

  @Test
  void sessionOfABoxThatIsSetAsideStaysInTheKeeper() throws IOException {
    booted(10);
    arrive();
    kernel.refuse("holdfast/web 2", Errno.EIO);
    assertThat(unpack()).isPresent();
    assertThat(kept()).contains("@session/holdfast/web");
  }

  @Test
  void aVmThatIsGivenUpIsDiscardedWithTheUpdate() throws Exception {
    booted(10);
    arrive();
    kernel.refuse("holdfast/web 2", Errno.EIO);
    Arrival arrival = unpack().orElseThrow();
    assertThat(arrival.giveUp(VmId.named("db"))).isFalse();
    assertThat(arrival.giveUp(VmId.named("web"))).isTrue();
    assertThat(arrival.giveUp(VmId.named("web"))).isFalse();
    assertThat(run.resolve("vms/web")).doesNotExist();
    // Also for the next agent.
    Optional<Arrival> next = unpack();
    assertThat(next.orElseThrow().aside(VmId.named("web"))).isEmpty();
    assertThat(records()).isEqualTo(Map.of("db", "db's record"));
    finish(next);
    assertThat(kernel.finished()).contains("holdfast/web").endsWith("holdfast");
  }

  /** A VM's record becomes its vm.json; a service may call an entry the same. */
  @Test
  @Promise("agent-can-die")
  void anEntryOfAServiceThatIsCalledRecordArrives() throws Exception {
    booted(10);
    kernel.arrive(
        Map.of(CACHE, Map.of("index", "the index", "record", "the service's")),
        List.of(Departure.NAME));
    Optional<Arrival> arrival = unpack();
    assertThat(kept()).contains(CACHE + "/index", CACHE + "/record");
    assertThat(run.resolve("vms")).isEmptyDirectory();
    finish(arrival);
  }

  /** Wherever an agent dies, the next ones end where one that lives does. */
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3})
  void agentsThatDieOnTheWayLoseNothing(long seed) throws Exception {
    Random random = new Random(seed);
    booted(10);
    arrive();
    List<String> breakable =
        List.of("holdfast/web 1", "holdfast/db 2", "holdfast/@box/cache 1", "session holdfast/db");
    int died = 0;
    for (int attempt = 0; attempt < 12; attempt++) {
      kernel.allow();
      if (random.nextBoolean()) {
        kernel.refuse(breakable.get(random.nextInt(breakable.size())), Errno.EIO);
      }
      kernel.dieAt(1 + random.nextInt(24));
      try {
        Optional<Arrival> arrival = unpack();
        if (random.nextBoolean()) {
          kernel.allow();
          Set<BoxId> _ = arrival.orElseThrow().retry();
        }
      } catch (FakeSessions.Death e) {
        died++;
      }
      kernel.dieAt(Integer.MAX_VALUE);
      assertThat(kernel.finished()).isEmpty();
      nextAgent();
      // Or it died right before it wrote the last file.
      if (random.nextInt(3) == 0) {
        Files.deleteIfExists(run.resolve("updates/" + JOURNAL));
      }
    }
    assertThat(died).as("seed %s", seed).isPositive();
    kernel.allow();
    Optional<Arrival> arrival = unpack();
    assertAllUnpacked();
    finish(arrival);
    assertThat(kernel.finished()).hasSize(4).endsWith("holdfast");
  }

  /**
   * What the guard had is in the descriptor store then, as {@link SessionGuard#keep} puts it there.
   */
  private void nextAgent() throws IOException {
    guard.close();
    store.close();
    store = ProcessStore.open(linux, run.resolve("keeper"));
    guard = SessionGuard.open(Linux.system(), run.resolve("guard"));
    kernel.rescue(store);
  }

  @Test
  void anAgentThatDiedBeforeItWroteDownWhatARetryBroughtUnpacksItOnceMore() throws IOException {
    booted(10);
    arrive();
    kernel.refuse("holdfast/web 2", Errno.EIO);
    Arrival arrival = unpack().orElseThrow();
    kernel.allow();
    assertThat(arrival.retry()).containsExactly(VmId.named("web"));
    Files.writeString(run.resolve("updates/" + ASIDE), "web");
    Files.writeString(run.resolve("vms/db/vm.json"), "db runs");
    assertThat(unpack().orElseThrow().aside(VmId.named("web"))).isEmpty();
    assertThat(records()).as("what runs is left alone").containsEntry("db", "db runs");
    assertThat(run.resolve("updates/" + ASIDE)).doesNotExist();
  }
}
