package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Memory;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.Function;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Machines and devices as people have them, on real guests: each is the same after updates. */
@Tag("guest")
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class DevicesTest {
  /** An agent with one guest in it. */
  private record Ground(Path directory, VarlinkClient agent, RunningGuest guest) {
    JsonObject call(String method, Object... parameters) {
      return agent.call("io.holdfast.Vm." + method, JsonObject.of(parameters));
    }

    JsonObject qmp(String command, String arguments) {
      return call("Qmp", "name", "vm", "command", command, "arguments", Json.parse(arguments))
          .object("reply");
    }

    JsonObject update() {
      return guest.update(Optional.empty(), _ -> {});
    }

    void updates(int count) {
      for (int i = 0; i < count; i++) {
        long before = guest.witness().last();
        JsonObject report = update();
        assertThat(report.string("outcome")).as(report.string("message")).isEqualTo("completed");
        Host.await("the guest writes on", () -> guest.witness().last() > before + 2);
      }
    }

    /** What the guest sees: its PCI devices with their addresses and ids. */
    String pci() {
      return qmp("query-pci", "{}").array("return").toString().replaceAll("\"irq\":[0-9]+,", "");
    }

    /** How much of its RAM has no pages, in bytes. */
    long unallocated() {
      return Memory.unallocated(Linux.system(), guest.memory());
    }

    /** How much memory its balloon leaves to the guest, in bytes. */
    long balloon() {
      return qmp("query-balloon", "{}").object("return").number("actual");
    }

    List<String> devices() {
      List<String> found = new ArrayList<>();
      qmp("qom-list", "{\"path\":\"/machine/peripheral\"}")
          .array("return")
          .objects()
          .forEach(
              child -> {
                if (child.string("type").startsWith("child<")) {
                  found.add(child.string("name") + " " + child.string("type"));
                }
              });
      found.sort(null);
      return found;
    }

    /** Deletes a block node; false while a device that is going away still has it. */
    boolean released(String node) {
      try {
        var _ = qmp("blockdev-del", JsonObject.of("node-name", node).toString());
        return true;
      } catch (VarlinkException e) {
        assertThat(e).hasMessageContaining("in use");
        return false;
      }
    }

    /** The file in a drive; empty if there is none. */
    Optional<String> medium(String device) {
      for (JsonObject each : qmp("query-block", "{}").array("return").objects()) {
        if (each.optionalString("qdev").orElse("").equals(device)) {
          return each.optionalObject("inserted").map(i -> i.object("image").string("filename"));
        }
      }
      throw new AssertionError("no drive " + device);
    }
  }

  private static void on(JsonObject definition, Consumer<Ground> test) throws IOException {
    on(_ -> definition, test);
  }

  /** Runs a test on a guest whose definition may name files in its directory. */
  private static void on(Function<Path, JsonObject> definition, Consumer<Ground> test)
      throws IOException {
    try (Run run = new Run(definition)) {
      test.accept(run.ground);
      run.assertMemory();
      run.assertEnd();
    }
  }

  private Optional<Run> shared = Optional.empty();

  /**
   * Runs a test that leaves the guest as it found it, on one that such tests share. It has an empty
   * drive.
   */
  private void onShared(Consumer<Ground> test) throws IOException {
    if (shared.isEmpty()) {
      shared = Optional.of(new Run(_ -> JsonObject.of("cdroms", List.of(JsonObject.empty()))));
    }
    Run run = shared.get();
    boolean whole = false;
    try {
      test.accept(run.ground);
      run.assertMemory();
      whole = true;
    } finally {
      if (!whole) {
        shared = Optional.empty();
        run.close();
      }
    }
  }

  @AfterAll
  void endShared() throws IOException {
    if (shared.isPresent()) {
      try (Run run = shared.get()) {
        run.assertEnd();
      }
    }
  }

  /** A guest with its agent, and what it was at first. Closing ends both. */
  private static final class Run implements AutoCloseable {
    private final AgentProcess agent;
    private final GuestMemory memory;
    private final Heartbeat first;
    private final Ground ground;

    Run(Function<Path, JsonObject> definition) throws IOException {
      Path directory = Files.createTempDirectory("holdfast-test");
      agent = AgentProcess.start(Linux.system(), directory);
      boolean started = false;
      try {
        VarlinkClient client = agent.client();
        RunningGuest guest =
            RunningGuest.start(client, "vm", directory, definition.apply(directory));
        memory = GuestMemory.map(Linux.system(), guest.memory());
        first = memory.heartbeat(guest.boot());
        ground = new Ground(directory, client, guest);
        started = true;
      } finally {
        if (!started) {
          agent.close();
        }
      }
    }

    /** Checks that the guest goes on as the machine that it was. */
    void assertMemory() {
      Heartbeat last = memory.again(first);
      assertThat(last.count()).isGreaterThan(first.count());
      assertThat(last.cpuid()).as("CPUID").isEqualTo(first.cpuid());
      assertThat(memory.verifyPattern(first).good()).as("pattern").isTrue();
    }

    /** Stops the guest and checks what it wrote. */
    void assertEnd() throws IOException {
      Heartbeat last = memory.again(first);
      RunningGuest guest = ground.guest();
      ChainCheck disk = guest.stopAndCheckDisk(last.diskSequence());
      assertThat(disk.good()).as("disk: " + disk).isTrue();
      assertThat(guest.witness().consoleCheck().good()).as("console").isTrue();
      // Its kernel says of a SCSI disk that it came, and that it went; nothing else is amiss.
      assertThat(guest.witness().complaints())
          .allMatch(complaint -> complaint.startsWith("problem kernel: sd "));
    }

    @Override
    public void close() {
      memory.close();
      ground.guest().close();
      ground.agent().close();
      agent.close();
    }
  }

  private static Path image(Path directory, String name, int bytes) {
    try {
      return Files.write(directory.resolve(name), new byte[bytes]);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"q35", "pc", "microvm"})
  @Promise("guest-unchanged")
  void everyMachineTypeGoesOn(String machine) throws IOException {
    on(JsonObject.of("machine", machine, "rng", true), ground -> ground.updates(3));
  }

  @Test
  @Promise("guest-unchanged")
  void aMachineTypeWithoutAVersionGoesToNoOtherVersion() throws IOException {
    String other = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    assumeTrue(!other.isEmpty(), "no second QEMU: HOLDFAST_QEMU_OTHER names none");
    on(
        JsonObject.of("machine", "microvm", "cpu", "Nehalem"),
        ground -> {
          JsonObject report = ground.guest().update(Optional.of(other), _ -> {});
          assertThat(report.string("outcome")).isEqualTo("refused");
          assertThat(report.array("obstacles").toString()).contains("microvm has no version");
        });
  }

  private static JsonObject crowded(Path directory) {
    List<JsonObject> disks = new ArrayList<>();
    disks.add(JsonObject.of("path", directory.resolve("vm.qcow2").toString()));
    for (int i = 0; i < 6; i++) {
      String path = image(directory, "more" + i, 1 << 20).toString();
      disks.add(JsonObject.of("path", path, "bus", i % 2 == 0 ? "scsi" : "virtio"));
    }
    String medium = image(directory, "cd", 4096).toString();
    return JsonObject.of(
        "disks",
        disks,
        "cdroms",
        List.of(JsonObject.empty(), JsonObject.of("medium", medium)),
        "rng",
        true,
        "balloon",
        true,
        "hotplugPorts",
        3);
  }

  @Test
  @Promise("guest-unchanged")
  void manyDevicesKeepTheirPlaces() throws IOException {
    on(
        DevicesTest::crowded,
        ground -> {
          String pci = ground.pci();
          List<String> devices = ground.devices();
          assertThat(devices).hasSizeGreaterThan(12);
          ground.updates(2);
          assertThat(ground.pci()).isEqualTo(pci);
          assertThat(ground.devices()).isEqualTo(devices);
        });
  }

  @Test
  @Promise("hot-plug")
  void whatIsPluggedInIsThereAfterAnUpdateAndWhatIsPluggedOutIsNot() throws IOException {
    on(
        JsonObject.of("hotplugPorts", 1),
        ground -> {
          String path = image(ground.directory(), "plugged", 1 << 20).toString();
          var _ =
              ground.qmp(
                  "blockdev-add",
                  "{\"driver\":\"raw\",\"node-name\":\"plugged\",\"file\":{\"driver\":\"file\","
                      + "\"filename\":\""
                      + path
                      + "\"}}");
          var _ =
              ground.qmp(
                  "device_add",
                  "{\"driver\":\"virtio-blk-pci\",\"id\":\"new\",\"bus\":\"port0\",\"drive\":\"plugged\"}");
          // The guest gives it addresses in its own time.
          Host.await("the guest has taken it", () -> !ground.pci().contains("\"address\":-1"));
          String pci = ground.pci();
          List<String> devices = ground.devices();
          assertThat(devices).anyMatch(device -> device.startsWith("new "));
          ground.updates(2);
          assertThat(ground.pci()).isEqualTo(pci);
          assertThat(ground.devices()).isEqualTo(devices);
          // The test guest does not take part in unplugging; this is no device of the guest's.
          var _ = ground.qmp("object-add", "{\"qom-type\":\"iothread\",\"id\":\"worker\"}");
          ground.updates(1);
          assertThat(ground.qmp("query-iothreads", "{}").array("return").size()).isEqualTo(1);
          var _ = ground.qmp("object-del", "{\"id\":\"worker\"}");
          ground.updates(1);
          assertThat(ground.qmp("query-iothreads", "{}").array("return").size()).isZero();
        });
  }

  /** What the guest has given back to the host is the host's, also after an update. */
  @Test
  @Promise("guest-memory")
  void memoryInTheBalloonStaysTheHosts() throws IOException {
    on(
        JsonObject.of("balloon", true),
        ground -> {
          long all =
              ground.qmp("query-memory-size-summary", "{}").object("return").number("base-memory");
          long given = 48 << 20;
          var _ = ground.qmp("balloon", "{\"value\":" + (all - given) + "}");
          Host.await("the balloon", () -> ground.unallocated() >= given);
          ground.updates(2);
          assertThat(ground.unallocated()).isGreaterThanOrEqualTo(given);
          var _ = ground.qmp("balloon", "{\"value\":" + all + "}");
          Host.await("the balloon's end", () -> ground.balloon() == all);
          ground.updates(1);
        });
  }

  @Test
  @Promise("hot-plug")
  void aDeviceThatTheGuestLetsGoIsGone() throws IOException {
    // On SCSI no guest has to agree.
    onShared(
        ground -> {
          List<String> before = ground.devices();
          String path = image(ground.directory(), "plugged", 1 << 20).toString();
          var _ =
              ground.qmp(
                  "blockdev-add",
                  "{\"driver\":\"file\",\"node-name\":\"plugged\",\"filename\":\"" + path + "\"}");
          var _ =
              ground.qmp(
                  "device_add", "{\"driver\":\"scsi-hd\",\"id\":\"new\",\"drive\":\"plugged\"}");
          ground.updates(1);
          assertThat(ground.devices()).hasSize(before.size() + 1);
          var _ = ground.qmp("device_del", "{\"id\":\"new\"}");
          Host.await("the device is gone", () -> ground.devices().equals(before));
          Host.await("its image is free", () -> ground.released("plugged"));
          ground.updates(1);
          assertThat(ground.devices()).isEqualTo(before);
        });
  }

  @Test
  @Promise("guest-unchanged")
  void aScsiDiskGoesOn() throws IOException {
    on(
        directory ->
            JsonObject.of(
                "disks",
                List.of(
                    JsonObject.of(
                        "path", directory.resolve("vm.qcow2").toString(), "bus", "scsi"))),
        ground -> ground.updates(3));
  }

  @Test
  @Promise("hot-plug")
  void aMediumThatWasChangedIsTheOneAfterAnUpdate() throws IOException {
    onShared(
        ground -> {
          String first = image(ground.directory(), "first.iso", 4096).toString();
          String second = image(ground.directory(), "second,.iso", 8192).toString();
          assertThat(ground.medium("cdrom0-device")).isEmpty();
          for (String path : List.of(first, second)) {
            var _ = ground.call("Media", "name", "vm", "drive", "cdrom0", "medium", path);
            ground.updates(1);
            assertThat(ground.medium("cdrom0-device")).contains(path);
          }
          assertThatThrownBy(
                  () -> ground.call("Media", "name", "vm", "drive", "cdrom1", "medium", first))
              .isInstanceOf(VarlinkException.class)
              .hasMessageContaining("no drive cdrom1; it has cdrom0");
          assertThat(ground.medium("cdrom0-device")).contains(second);
          var _ = ground.call("Media", "name", "vm", "drive", "cdrom0");
          ground.updates(1);
          assertThat(ground.medium("cdrom0-device")).isEmpty();
        });
  }

  @Test
  @Promise("hot-plug")
  void commandsThatAnUpdateWouldUndoAreRefused() throws IOException {
    onShared(
        ground -> {
          for (String command :
              List.of(
                  "stop",
                  "migrate",
                  "quit",
                  "chardev-add",
                  "netdev_add",
                  "block_set_io_throttle")) {
            assertThatThrownBy(() -> ground.qmp(command, "{}"))
                .as(command)
                .isInstanceOf(VarlinkException.class)
                .hasMessageContaining(command + " is not passed on");
          }
          assertThatThrownBy(() -> ground.qmp("device_add", "{\"driver\":\"virtio-rng-pci\"}"))
              .isInstanceOf(VarlinkException.class)
              .hasMessageContaining("needs an id");
          ground.updates(1);
        });
  }

  @Test
  @Promise("guest-unchanged")
  void aDeviceThatAnotherProcessServesIsRefusedByItsName() throws IOException {
    String daemon = "/usr/lib/qemu/virtiofsd";
    assumeTrue(Files.isExecutable(Path.of(daemon)), "no virtiofsd: " + daemon);
    assumeTrue(Linux.system().effectiveUser() == 0, "needs root, for virtiofsd");
    Path directory = Files.createTempDirectory("holdfast-test");
    Path socket = directory.resolve("fs.sock");
    Process server =
        new ProcessBuilder(
                daemon,
                "--socket-path=" + socket,
                "-o",
                "source=" + directory,
                "-o",
                "sandbox=chroot")
            .redirectErrorStream(true)
            .redirectOutput(directory.resolve("log").toFile())
            .start();
    try {
      Host.await("virtiofsd", () -> Files.exists(socket));
      on(
          JsonObject.of(
              "extra",
              List.of(
                  "-chardev",
                  "socket,id=fs,path=" + socket,
                  "-device",
                  "vhost-user-fs-pci,chardev=fs,tag=shared,id=share")),
          ground -> {
            JsonObject report = ground.update();
            assertThat(report.string("outcome")).isEqualTo("refused");
            assertThat(report.array("obstacles").toString())
                .contains("share (vhost-user-fs-pci)", "takes one QEMU at a time");
          });
    } finally {
      var _ = server.destroyForcibly();
      Files.deleteIfExists(socket);
      Files.deleteIfExists(directory.resolve("log"));
      Files.delete(directory);
    }
  }

  @Test
  @Promise("hot-plug")
  void aQmpClientStaysConnectedThroughUpdates() throws IOException {
    onShared(
        ground -> {
          Path path =
              Path.of(ground.guest().state().string("consoleLog")).resolveSibling("qmp.sock");
          try (SocketChannel client = SocketChannel.open(StandardProtocolFamily.UNIX)) {
            var _ = client.connect(UnixDomainSocketAddress.of(path));
            BufferedReader replies =
                new BufferedReader(
                    new InputStreamReader(Channels.newInputStream(client), StandardCharsets.UTF_8));
            assertThat(Json.parse(replies.readLine()).object("QMP").has("version")).isTrue();
            assertThat(ask(client, replies, "{\"execute\":\"query-status\",\"id\":1}"))
                .asString()
                .contains("CommandNotFound");
            assertThat(ask(client, replies, "{\"execute\":\"qmp_capabilities\",\"id\":2}"))
                .isEqualTo(Json.parse("{\"return\":{},\"id\":2}"));
            for (int i = 0; i < 3; i++) {
              ground.updates(1);
              JsonObject status =
                  ask(client, replies, "{\"execute\":\"query-status\",\"id\":\"x" + i + "\"}");
              assertThat(status.string("id")).isEqualTo("x" + i);
              assertThat(status.object("return").string("status")).isEqualTo("running");
            }
            assertThat(ask(client, replies, "{\"execute\":\"quit\",\"id\":9}").object("error"))
                .asString()
                .contains("holdfast vm stop");
            assertThat(ask(client, replies, "nonsense").has("error")).isTrue();
          } catch (IOException e) {
            throw new AssertionError(e);
          }
        });
  }

  private static JsonObject ask(SocketChannel client, BufferedReader replies, String request)
      throws IOException {
    var _ = client.write(ByteBuffer.wrap((request + "\n").getBytes(StandardCharsets.UTF_8)));
    while (true) {
      JsonObject reply = Json.parse(replies.readLine());
      if (!reply.has("event")) {
        return reply;
      }
    }
  }

  @Test
  @Promise("guest-memory")
  void reservedHugePagesStayTheGuests() throws IOException {
    Path pool = Path.of("/sys/kernel/mm/hugepages/hugepages-2048kB");
    Path number = pool.resolve("nr_hugepages");
    assumeTrue(Files.isWritable(number), "huge pages can't be reserved: not root, or no hugetlb");
    long before = Long.parseLong(Files.readString(number).strip());
    long wanted = before + 128;
    Files.writeString(number, Long.toString(wanted));
    try {
      long there = Long.parseLong(Files.readString(number).strip());
      assumeTrue(there >= wanted, "this host has no room for 128 huge pages");
      long free = free(pool);
      on(
          JsonObject.of("hugePages", "2M", "memory", 256L << 20),
          ground -> {
            ground.updates(2);
            assertThat(free(pool)).as("128 are the guest's").isEqualTo(free - 128);
          });
      Host.await("all are free again", () -> free(pool) == free);
    } finally {
      Files.writeString(number, Long.toString(before));
    }
  }

  private static long free(Path pool) {
    try {
      return Long.parseLong(Files.readString(pool.resolve("free_hugepages")).strip());
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }
}
