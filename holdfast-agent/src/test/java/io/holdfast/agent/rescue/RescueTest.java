package io.holdfast.agent.rescue;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.agent.FakeSessions;
import io.holdfast.agent.rescue.Rescue.Place;
import io.holdfast.agent.rescue.Rescue.Sessions;
import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.kexec.arrive.ArrivedSessions;
import io.holdfast.kexec.depart.Departure;
import io.holdfast.kexec.session.SessionGuard;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.promise.Promise;
import io.holdfast.store.ProcessStore;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is shown of what waits, wherever it is; reading it asks the kernel for nothing. */
@Promise("kernel-arrival")
class RescueTest {
  private static final String ASIDE = FakeSessions.UPDATE + ".aside";
  private static final long MEMORY = 64L << 20;

  @TempDir private Path directory;
  private final FakeSessions kernel = new FakeSessions();
  private final Linux linux = new Linux(kernel);
  private Path host;
  private Path run;
  private Optional<ProcessStore> store = Optional.empty();

  @BeforeEach
  void make() throws IOException {
    host = Files.createDirectories(directory.resolve("host"));
    run = directory.resolve("run");
    Files.createFile(Files.createDirectories(host.resolve("dev")).resolve("liveupdate"));
    Files.createDirectories(host.resolve("proc"));
    misc(" 59 liveupdate");
  }

  @AfterEach
  void end() throws IOException {
    if (store.isPresent()) {
      store.get().end();
    }
  }

  private void misc(String... lines) throws IOException {
    Files.write(host.resolve("proc/misc"), List.of(lines));
  }

  /** What sysfs and debugfs say of the handover. */
  private void handedOver(boolean liveUpdate) throws IOException {
    Path one = host.resolve("sys/kernel/boot_params/setup_data/0");
    Files.writeString(Files.createDirectories(one).resolve("type"), "0xa\n");
    Path handed = host.resolve("sys/kernel/debug/kho/in/sub_fdts");
    Files.createDirectories(handed);
    if (liveUpdate) {
      Files.createFile(handed.resolve("LUO"));
    }
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

  /** What an agent does up to its death: it unpacks what arrived. */
  private void unpack() throws IOException {
    Files.createDirectories(run.resolve("updates"));
    Files.createDirectories(run.resolve("vms"));
    ProcessStore opened = ProcessStore.open(linux, run.resolve("keeper"));
    store = Optional.of(opened);
    try (SessionGuard guard = SessionGuard.open(Linux.system(), run.resolve("guard"))) {
      Optional<Arrival> _ =
          Arrival.unpack(
              linux,
              opened,
              guard,
              places(),
              new ArrivedSessions.Host(host, Duration.ofMillis(20)));
    }
  }

  private static String record(String name, String qemu, String image) {
    return JsonObject.of(
            "format",
            1,
            "promise",
            JsonObject.of(
                "name", name, "memory", MEMORY, "accelerator", "tcg", "devices", List.of()),
            "process",
            "0@0",
            "binary",
            JsonObject.of("path", qemu),
            "images",
            JsonObject.of(image, JsonObject.of("device", 1, "inode", 2)))
        .toString();
  }

  private void arrive(String qemu, String image) {
    kernel.arrive(
        Map.of("web", Map.of("ram", "web's memory", "record", record("web", qemu, image))),
        List.of("web", Departure.NAME));
  }

  private Rescue read() {
    return read(Optional.empty());
  }

  private Rescue read(Optional<Rescue.Agent> agent) {
    return read(Path.of("/"), agent);
  }

  private Rescue read(Path root, Optional<Rescue.Agent> agent) {
    return RescueSurvey.read(linux, places(), root, agent, host, host.resolve("proc/kcore"));
  }

  private static Rescue.Agent agent(String state, String reason) {
    return new Rescue.Agent(
        OptionalInt.of(812),
        Optional.of(
            List.of(
                new Rescue.Seen(
                    "web",
                    OptionalLong.of(MEMORY),
                    state,
                    Optional.of(reason).filter(text -> !text.isEmpty())))));
  }

  private void awaitDeath(ProcessIdentity identity) {
    long end = System.nanoTime() + Duration.ofSeconds(10).toNanos();
    for (Optional<PidFd> found = identity.find(linux);
        found.isPresent() && System.nanoTime() - end < 0;
        found = identity.find(linux)) {
      found.get().close();
      LockSupport.parkNanos(1_000_000);
    }
  }

  private Map<String, String> files() throws IOException {
    Map<String, String> files = new TreeMap<>();
    try (Stream<Path> all = Files.walk(directory)) {
      for (Path each : all.filter(Files::isRegularFile).toList()) {
        files.put(each.toString(), Files.getLastModifiedTime(each) + Files.readString(each));
      }
    }
    return files;
  }

  @Test
  void nothingWaitsWhereNothingWasHandedOver() throws IOException {
    Files.createDirectories(host.resolve("sys/kernel/boot_params"));
    Rescue found = read();
    assertThat(found.sessions()).isEqualTo(Sessions.NONE);
    assertThat(found.evidence()).contains("handed no memory over");
    assertThat(found.waits()).isFalse();
    assertThat(found.lost()).isFalse();
    assertThat(found.steps()).isEmpty();
    assertThat(found.warnings()).isEmpty();
  }

  @Test
  void nothingWaitsWhereNoLiveUpdateStateWasHandedOver() throws IOException {
    handedOver(false);
    assertThat(read().sessions()).isEqualTo(Sessions.NONE);
  }

  @Test
  void asksTheKernelForNothingAndWritesNothing() throws IOException {
    handedOver(true);
    arrive("/bin/sh", "/dev/null");
    Map<String, String> before = files();
    Rescue found = read();
    assertThat(found.sessions()).isEqualTo(Sessions.UNKNOWN);
    assertThat(found.waits()).isTrue();
    assertThat(found.evidence()).contains("sub_fdts/LUO");
    assertThat(found.boxes()).isEmpty();
    assertThat(found.unknown()).anyMatch(each -> each.contains("there is no"));
    assertThat(found.steps())
        .anyMatch(each -> each.contains("holdfast agent --run " + run))
        .anyMatch(each -> each.contains("holdfast rescue"));
    assertThat(found.warnings()).anyMatch(each -> each.contains("kexec"));
    assertThat(kernel.asked()).as("what the kernel was asked").isEmpty();
    assertThat(files()).isEqualTo(before);
    assertThat(run).doesNotExist();
  }

  @Test
  void whatCannotBeKnownIsNotAbsent() {
    Rescue found = read();
    assertThat(found.sessions()).isEqualTo(Sessions.UNKNOWN);
    assertThat(found.evidence()).contains("may have handed memory over").contains("missing");
  }

  @Test
  void saysWhatIsLostWhereTheKernelHasNoLiveUpdate() throws IOException {
    handedOver(true);
    misc(" 60 fuse");
    Files.delete(host.resolve("dev/liveupdate"));
    Rescue found = read();
    assertThat(found.sessions()).isEqualTo(Sessions.LOST);
    assertThat(found.evidence()).contains("liveupdate=on");
    assertThat(found.waits()).isFalse();
    assertThat(found.lost()).isTrue();
  }

  @Test
  void saysWhatTheDeviceLacks() throws IOException {
    handedOver(true);
    Files.delete(host.resolve("dev/liveupdate"));
    assertThat(read().missing())
        .anyMatch(each -> each.contains("dev/liveupdate") && each.contains("ENOENT"));
    Files.createFile(host.resolve("dev/liveupdate"));
    assertThat(read().missing()).isEmpty();
    Path descriptors = Files.createDirectories(host.resolve("proc/77/fd"));
    Files.createSymbolicLink(descriptors.resolve("5"), Path.of("/dev/liveupdate"));
    assertThat(read().missing())
        .anyMatch(each -> each.contains("process 77") && each.contains("EBUSY"));
  }

  @Test
  void saysWhoStoresSessions() throws IOException {
    handedOver(true);
    Path systemd = Files.createDirectories(host.resolve("proc/1/fd"));
    Files.createSymbolicLink(systemd.resolve("40"), Path.of(SessionGuard.LINK + "holdfast"));
    Files.createSymbolicLink(systemd.resolve("41"), Path.of(SessionGuard.LINK + "holdfast/web"));
    Files.createSymbolicLink(systemd.resolve("42"), Path.of(SessionGuard.LINK + "other"));
    Rescue found = read();
    assertThat(found.sessions()).isEqualTo(Sessions.WAITING);
    assertThat(found.boxes())
        .singleElement()
        .satisfies(
            box -> {
              assertThat(box.name()).isEqualTo("web");
              assertThat(box.place()).isEqualTo(Place.STORED);
              assertThat(box.where()).contains("systemd, process 1");
            });
    assertThat(found.waits()).isTrue();
  }

  @Test
  void saysWhoStoresTheMemoryOfADeadAgentAndWhatItsVmLacks() throws IOException {
    handedOver(true);
    arrive(directory + "/qemu", directory + "/disk.raw");
    unpack();
    Map<String, String> before = files();
    Rescue found = read();
    assertThat(found.sessions()).isEqualTo(Sessions.RETRIEVED);
    assertThat(found.waits()).isTrue();
    Rescue.Box web = found.boxes().getFirst();
    assertThat(web.place()).isEqualTo(Place.STORED);
    int pid = store.orElseThrow().process().orElseThrow();
    assertThat(web.where()).contains("process " + pid);
    assertThat(web.bytes()).hasValue(MEMORY);
    assertThat(web.missing())
        .containsExactly(
            "QEMU " + directory + "/qemu does not exist (ENOENT)",
            "image " + directory + "/disk.raw does not exist (ENOENT)");
    assertThat(found.warnings()).anyMatch(each -> each.contains("Do not end process " + pid));
    assertThat(files()).isEqualTo(before);
  }

  @Test
  void aVmWhoseKeeperIsGoneIsNotFound() throws IOException {
    handedOver(true);
    arrive("/bin/sh", "/dev/null");
    unpack();
    Path record = run.resolve("keeper");
    String named = Files.readString(record);
    store.orElseThrow().end();
    awaitDeath(ProcessIdentity.parse(named.strip()));
    Files.writeString(record, named);
    Rescue found = read();
    assertThat(found.boxes().getFirst().place()).isEqualTo(Place.NOT_FOUND);
    assertThat(found.lost()).isTrue();
  }

  @Test
  void aVmThatIsSetAsideIsShownAsSuch() throws IOException {
    handedOver(true);
    arrive("/bin/sh", "/dev/null");
    kernel.refuse("holdfast/web 1", Errno.EIO);
    unpack();
    assertThat(run.resolve("updates/" + ASIDE)).exists();
    assertThat(read().boxes().getFirst().where()).contains("could not be restored");
  }

  @Test
  void anAgentThatHasAllOfItLeavesNothingToDo() throws IOException {
    handedOver(true);
    arrive("/bin/sh", "/dev/null");
    Rescue found = read(Optional.of(agent("running", "")));
    assertThat(found.waits()).isFalse();
    assertThat(found.boxes().getFirst().place()).isEqualTo(Place.SERVED);
  }

  @Test
  void whatAnAgentCannotBringBackIsToBeTriedAgain() throws IOException {
    handedOver(true);
    arrive(directory + "/qemu", "/dev/null");
    unpack();
    Rescue found = read(Optional.of(agent("stuck", "no QEMU")));
    assertThat(found.waits()).isTrue();
    assertThat(found.boxes().getFirst().place()).isEqualTo(Place.NOT_BACK);
    assertThat(found.boxes().getFirst().where()).contains("stuck: no QEMU");
    assertThat(found.boxes().getFirst().missing()).anyMatch(each -> each.contains("/qemu"));
    assertThat(found.steps()).anyMatch(each -> each.contains("holdfast update retry"));
  }

  /** What the agent calls lost may be stored, and then it must not be run anew. */
  @Test
  void aVmOfAnUpdateThatHasNotEndedIsNotLost() throws IOException {
    handedOver(true);
    arrive("/bin/sh", "/dev/null");
    assertThat(read(Optional.of(agent("lost", "its QEMU was killed"))).lost()).isTrue();
    unpack();
    Rescue found = read(Optional.of(agent("lost", "it does not run yet")));
    assertThat(found.lost()).isFalse();
    assertThat(found.waits()).isTrue();
    assertThat(found.boxes().getFirst().place()).isEqualTo(Place.NOT_BACK);
  }

  @Test
  void anAgentThatDoesNotAnswerIsWaitedFor() throws IOException {
    handedOver(true);
    Rescue found = read(Optional.of(new Rescue.Agent(OptionalInt.empty(), Optional.empty())));
    assertThat(found.waits()).isTrue();
    assertThat(found.steps()).anyMatch(each -> each.contains("holdfast status"));
  }

  @Test
  void looksForQemuAndImagesBelowAnotherRoot() throws IOException {
    handedOver(true);
    arrive("/usr/bin/qemu", "/images/disk.raw");
    unpack();
    Path root = Files.createDirectories(directory.resolve("root"));
    assertThat(read(root, Optional.empty()).boxes().getFirst().missing()).hasSize(2);
    Path bin = Files.createDirectories(root.resolve("usr/bin"));
    Path qemu = Files.createFile(Files.createDirectories(root.resolve("opt")).resolve("qemu"));
    assertThat(qemu.toFile().setExecutable(true)).isTrue();
    Files.createSymbolicLink(bin.resolve("qemu"), Path.of("/opt/qemu"));
    Files.createFile(Files.createDirectories(root.resolve("images")).resolve("disk.raw"));
    Rescue found = read(root, Optional.empty());
    assertThat(found.boxes().getFirst().missing()).isEmpty();
    assertThat(found.steps())
        .anyMatch(each -> each.contains("mount -o rbind /run " + root + "/run"))
        .anyMatch(each -> each.contains("chroot " + root + " holdfast agent"));
  }

  @Test
  void inAnInitrdTheBootIsToGoOnBeforeAnAgentIsStarted() throws IOException {
    handedOver(true);
    Files.createFile(Files.createDirectories(host.resolve("etc")).resolve("initrd-release"));
    Rescue found = read();
    assertThat(found.steps()).anyMatch(each -> each.contains("continue the boot"));
    assertThat(found.warnings()).noneMatch(each -> each.contains("continue the boot"));
    arrive("/bin/sh", "/dev/null");
    unpack();
    assertThat(read().warnings()).anyMatch(each -> each.contains("Do not continue the boot"));
  }
}
