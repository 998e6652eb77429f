package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Call;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.promise.Promise;
import io.holdfast.store.ProcessStore;
import io.holdfast.store.StoreKey;
import io.holdfast.store.VmId;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Vm;
import io.holdfast.vm.qemu.Credentials;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * VMs that somebody else started, each with the real guest: a plain QEMU command line, and libvirt.
 * They are adopted and then updated as any VM; the witness outside sees disk and console go on.
 */
@Tag("guest")
class AdoptTest {
  private static final Duration PATIENCE = Duration.ofSeconds(90);
  private static final long MIB = 1L << 20;

  /** What virsh needs to run QEMU by itself. */
  private static final Path LIBVIRT =
      Path.of("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so");

  /** Who runs libvirt's VM where the test is root: libvirt's own user need not exist. */
  private static final int NOBODY = 65534;

  @Test
  @Promise("adoption")
  void aVmStartedByAPlainCommandLine() throws IOException {
    Path directory = Files.createTempDirectory("holdfast-test");
    RunningGuest.image(directory.resolve("disk.qcow2"));
    GuestImage image = GuestImage.find();
    // As people write them: an alias, relative paths, places left to QEMU, a monitor.
    List<String> command =
        List.of(
            Host.qemu(),
            "-M",
            "q35",
            "-cpu",
            "Nehalem",
            "-m",
            "256",
            "-object",
            "memory-backend-file,id=mem,size=256M,mem-path=/dev/shm,share=on",
            "-machine",
            "memory-backend=mem,accel=tcg",
            "-kernel",
            image.kernel().toString(),
            "-initrd",
            image.initramfs().toString(),
            "-append",
            GuestImage.append(),
            "-display",
            "none",
            "-serial",
            "file:console",
            "-drive",
            "file=disk.qcow2,if=virtio,format=qcow2",
            "-device",
            "virtio-rng-pci",
            "-netdev",
            "user,id=n",
            "-device",
            "virtio-net,netdev=n",
            "-device",
            "pcie-root-port,id=spare",
            "-monitor",
            "unix:hmp.sock,server=on,wait=off",
            "-qmp",
            "unix:qmp.sock,server=on,wait=off");
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client();
        Started qemu = Started.of(directory, command)) {
      Witness witness = new Witness();
      await("the guest", () -> follow(witness, directory).ready());
      refusesWhatWasPluggedIn(client, directory);

      JsonObject plan = adopt(client, directory.resolve("qmp.sock"), true);
      assertThat(plan.array("obstacles").objects()).isEmpty();
      assertThat(plan.has("vm")).as("a dry run adopts nothing").isFalse();
      assertThat(client.call("io.holdfast.Vm.List", JsonObject.empty()).array("vms").objects())
          .isEmpty();

      JsonObject vm = adopt(client, directory.resolve("qmp.sock"), false).object("vm");
      assertThat(vm.number("pid")).isEqualTo(qemu.pid());
      assertThat(vm.string("machine")).matches("pc-q35-[0-9.]+");
      try (GuestMemory memory = memory(client)) {
        Heartbeat first = memory.heartbeat(witness.boot());
        updated(client, witness, directory, Optional.empty());
        assertThat(qemu.pid()).isNotEqualTo(show(client).number("pid"));
        String other = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
        // Debian 13's QEMU 10.0.13 has rings that no other version can have.
        if (!other.isEmpty() && !differentRings(client, other)) {
          updated(client, witness, directory, Optional.of(other));
        }
        updated(client, witness, directory, Optional.of(Host.qemu()));
        whole(memory, first);
        stopAndCheck(client, witness, directory, memory.again(first).diskSequence());
      }
    }
    assertThat(directory).doesNotExist();
  }

  /** It can't be rebuilt from the command line; once it is gone again nothing is in the way. */
  private static void refusesWhatWasPluggedIn(VarlinkClient client, Path directory)
      throws IOException {
    Path socket = directory.resolve("qmp.sock");
    qmp(
        socket,
        "device_add",
        JsonObject.of("driver", "virtio-balloon-pci", "id", "plugged", "bus", "spare"));
    List<JsonObject> obstacles = adopt(client, socket, false).array("obstacles").objects();
    assertThat(obstacles).hasSize(1);
    assertThat(obstacles.getFirst().string("what")).contains("plugged");
    qmp(socket, "device_del", JsonObject.of("id", "plugged"));
    await(
        "the guest lets the device go",
        () -> adopt(client, socket, true).array("obstacles").objects().isEmpty());
  }

  @Test
  @Promise("adoption")
  void whatIsInTheWayIsListedCompletely() throws IOException {
    Path directory = Files.createTempDirectory("holdfast-test");
    Files.write(directory.resolve("a.img"), new byte[1 << 20]);
    List<String> command =
        List.of(
            Host.qemu(),
            "-M",
            "q35",
            "-m",
            "64",
            "-display",
            "none",
            "-S",
            "-snapshot",
            "-drive",
            "file=a.img,if=virtio,format=raw",
            "-nic",
            "user,hostfwd=tcp:127.0.0.1:0-:22",
            "-chardev",
            "pipe,id=p,path=pipe",
            "-device",
            "isa-serial,chardev=p",
            "-qmp",
            "unix:qmp.sock,server=on,wait=off");
    run("mkfifo", directory.resolve("pipe").toString());
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client();
        Started qemu = Started.of(directory, command)) {
      Path socket = directory.resolve("qmp.sock");
      await("QEMU", () -> Files.exists(socket));
      JsonObject reply = adopt(client, socket, false);
      assertThat(reply.has("vm")).isFalse();
      assertThat(reply.array("obstacles").objects())
          .extracting(o -> o.string("what") + ": " + o.string("why"))
          .anyMatch(o -> o.contains("guest RAM"))
          .anyMatch(o -> o.contains("-snapshot"))
          .anyMatch(o -> o.contains("hostfwd"))
          .anyMatch(o -> o.contains("chardev p"))
          .anyMatch(o -> o.contains("prelaunch"))
          .hasSize(5);
      // Nothing was changed: it answers as before, and the agent has nothing of it.
      assertThat(qmp(socket, "query-status", JsonObject.empty()).object("return").string("status"))
          .isEqualTo("prelaunch");
      assertThat(qemu.isAlive()).isTrue();
      JsonObject status = client.call("io.holdfast.Agent.Status", JsonObject.empty());
      assertThat(status.number("heldDescriptors")).isZero();
      assertThat(directory.resolve("run/vms")).isEmptyDirectory();
    }
  }

  /** Its QEMU hangs when it has been sent a command of the adoption; nothing is left of that. */
  @ParameterizedTest
  @ValueSource(strings = {"query-named-block-nodes", "query-pci"})
  @Promise("slow-is-not-dead")
  void leavesAQemuThatHangsAsItWas(String command) throws IOException, InterruptedException {
    try (Host host = Host.start();
        Started qemu = bare(host.directory(), FILE)) {
      Path socket = host.directory().resolve("qmp.sock");
      await("QEMU", () -> Files.exists(socket));
      Files.writeString(host.directory().resolve(FaultyAgent.ADOPTED), Long.toString(qemu.pid()));
      host.arm(
          new FaultyAgent.Fault(
              false,
              Call.SENDMSG,
              "\"execute\": ?\"" + command + "\"",
              FaultyAgent.Victim.ADOPTED_HANGS));
      JsonObject adoption = JsonObject.of("name", "found", "qmp", socket.toString());
      String said;
      try {
        // What is found on a successor that was tried is an obstacle.
        said = host.call("Vm.Adopt", adoption).toString();
      } catch (VarlinkException e) {
        said = String.valueOf(e.getMessage());
      }
      assertThat(said).contains("did not answer " + command);
      assertThat(host.armed()).isFalse();
      host.assertEmpty();
      StallingFile.signal("-CONT", qemu.pid());
      JsonObject plan = host.call("Vm.Adopt", adoption.with("dryRun", true));
      assertThat(plan.array("obstacles").objects()).isEmpty();
      // Nor of the successor that was tried.
      host.assertEmpty();
      JsonObject adopted = host.call("Vm.Adopt", adoption);
      assertThat(adopted.array("obstacles").objects()).isEmpty();
      assertThat(adopted.object("vm").number("pid")).isEqualTo(qemu.pid());
      JsonObject report = host.call("Update.Vmm", JsonObject.of("name", "found")).object("report");
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      JsonObject _ = host.call("Vm.Stop", JsonObject.of("name", "found"));
    }
  }

  static final String FILE = "memory-backend-file,mem-path=/dev/shm";

  /** A machine with its firmware only, which runs, and two monitors: ours and somebody else's. */
  static Started bare(Path directory, String memory, String... before) throws IOException {
    List<String> command = new ArrayList<>(List.of(before));
    command.addAll(
        List.of(
            Host.qemu(),
            "-M",
            "q35,memory-backend=mem,accel=tcg",
            "-cpu",
            "Nehalem",
            "-m",
            "64",
            "-nodefaults",
            "-object",
            memory + ",id=mem,size=64M,share=on",
            "-display",
            "none",
            "-qmp",
            "unix:qmp.sock,server=on,wait=off",
            "-serial",
            "pty",
            "-qmp",
            "unix:other.sock,server=on,wait=off"));
    return Started.of(directory, command);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "pause-before-switchover",
        "return-path",
        "multifd",
        "background-snapshot",
        "postcopy-ram",
        "xbzrle",
        "dirty-bitmaps"
      })
  @Promise("plan-refuses-first")
  void whatSomebodySetForMigrationsIsNotInTheWay(String capability) throws IOException {
    Path directory = Files.createTempDirectory("holdfast-test");
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client();
        Started qemu = bare(directory, FILE)) {
      Path socket = directory.resolve("qmp.sock");
      await("QEMU", () -> Files.exists(socket));
      JsonObject reply = adopt(client, socket, false);
      assertThat(reply.array("obstacles").objects()).isEmpty();
      assertThat(reply.object("vm").number("pid")).isEqualTo(qemu.pid());
      Path others = directory.resolve("other.sock");
      try {
        set(others, capability, true);
      } catch (QmpException e) {
        // background-snapshot needs userfaultfd(2), which ordinary users may not have.
        assumeTrue(!String.valueOf(e.getMessage()).contains("not supported by host kernel"));
        throw e;
      }
      var _ =
          qmp(others, "migrate-set-parameters", JsonObject.of("tls-creds", "none of such a name"));

      JsonObject report = update(client, true);
      assertThat(report.array("losses").strings())
          .anyMatch(loss -> loss.contains(capability))
          .anyMatch(loss -> loss.contains("tls-creds"));
      report = update(client, false);
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      assertThat(show(client).string("state")).isEqualTo("running");
      JsonObject _ = client.call("io.holdfast.Vm.Stop", JsonObject.of("name", "found"));
    }
  }

  /**
   * As libvirt gives them: the image's locks must not be those of the predecessor's descriptors.
   */
  @Test
  @Promise("same-files")
  void anImageInAnFdSetWithADescriptorForEachAccess() throws IOException {
    Path directory = Files.createTempDirectory("holdfast-test");
    RunningGuest.image(directory.resolve("disk.qcow2"));
    String file = "driver=file,node-name=f,filename=/dev/fdset/1,auto-read-only=on";
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client();
        Started qemu =
            bare(
                directory,
                FILE,
                "sh",
                "-c",
                "exec 8<>disk.qcow2 9<disk.qcow2; exec \"$@\" -add-fd fd=8,set=1 -add-fd fd=9,set=1"
                    + " -blockdev "
                    + file
                    + " -blockdev driver=qcow2,node-name=d,file=f -device virtio-blk-pci,drive=d",
                "sh")) {
      Path socket = directory.resolve("qmp.sock");
      await("QEMU", () -> Files.exists(socket));
      JsonObject reply = adopt(client, socket, false);
      assertThat(reply.array("obstacles").objects()).isEmpty();
      assertThat(reply.object("vm").number("pid")).isEqualTo(qemu.pid());
      for (int i = 0; i < 3; i++) {
        JsonObject report = update(client, false);
        assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
        assertThat(show(client).string("state")).isEqualTo("running");
      }
      JsonObject _ = client.call("io.holdfast.Vm.Stop", JsonObject.of("name", "found"));
    }
  }

  /** That had the first QEMU's own descriptors, and kept its locks with them. */
  @Test
  void aVmThatVersion010AdoptedIsUpdated() throws IOException {
    String opened = "exec 8<>disk.qcow2; exec \"$@\" -add-fd fd=8,set=1 -blockdev ";
    String node = "driver=file,node-name=f,filename=/dev/fdset/1";
    String disk = " -blockdev driver=qcow2,node-name=d,file=f -device virtio-blk-pci,drive=d";
    try (Host host = Host.start();
        Started qemu = bare(host.directory(), FILE, "sh", "-c", opened + node + disk, "sh")) {
      Path socket = host.directory().resolve("qmp.sock");
      await("QEMU", () -> Files.exists(socket));
      JsonObject reply =
          host.call("Vm.Adopt", JsonObject.of("name", Host.VM, "qmp", socket.toString()));
      assertThat(reply.array("obstacles").objects()).isEmpty();
      host.killAgent();
      leaveAsVersion010(host, Math.toIntExact(qemu.pid()));
      host.startAgent();
      assertThat(host.show().number("pid")).isEqualTo(qemu.pid());
      for (int i = 0; i < 2; i++) {
        JsonObject report = host.update(Host.qemu());
        assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
        assertThat(host.show().string("state")).isEqualTo("running");
      }
      host.stopVm();
      host.assertEmpty();
    }
  }

  private static void leaveAsVersion010(Host host, int qemu) throws IOException {
    Linux linux = Linux.system();
    Path file = host.run().resolve("vms").resolve(Host.VM).resolve("vm.json");
    JsonObject record = Json.parse(Files.readString(file));
    JsonObject before = JsonObject.empty();
    for (String key : List.of("promise", "generation", "binary", "process")) {
      before = before.with(key, record.get(key).orElseThrow());
    }
    Files.writeString(file, before.pretty());
    VmId id = Vm.id(record);
    try (ProcessStore store = ProcessStore.open(linux, host.run().resolve("keeper"));
        PidFd process = linux.pidfd(qemu);
        Fd image = process.take(8)) {
      Predicate<StoreKey> its = key -> key instanceof StoreKey.OfVm each && each.vm().equals(id);
      for (Map.Entry<StoreKey, Fd> each : store.all(its).entrySet()) {
        try (Fd own = each.getValue()) {
          boolean first = linux.identity(own).equals(linux.identity(image));
          store.put(VmId.named(Host.VM).key(each.getKey().label()), first ? image : own);
          store.drop(Set.of(each.getKey()));
        }
      }
    }
  }

  @Test
  @Promise("no-more-privileges")
  void aSuccessorHasItsPredecessorsPrivileges() throws IOException {
    assumeTrue(Linux.system().effectiveUser() == 0, "needs root, to start QEMU as another user");
    Path directory = Files.createTempDirectory("holdfast-test");
    Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwxrwxrwx"));
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client();
        Started qemu =
            bare(
                directory,
                FILE,
                "setpriv",
                "--reuid=" + NOBODY,
                "--regid=" + NOBODY,
                "--groups=" + NOBODY + ",1",
                "--bounding-set=-cap_21",
                "--no-new-privs",
                "--")) {
      Path socket = directory.resolve("qmp.sock");
      await("QEMU", () -> Files.exists(socket));
      JsonObject reply = adopt(client, socket, false);
      assertThat(reply.array("obstacles").objects()).isEmpty();
      Credentials before = Credentials.of(Math.toIntExact(qemu.pid()));
      assertThat(before.user()).isEqualTo(NOBODY);
      for (int i = 0; i < 2; i++) {
        JsonObject report = update(client, false);
        assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
        int pid = Math.toIntExact(show(client).number("pid"));
        assertThat(pid).isNotEqualTo(qemu.pid());
        assertThat(Credentials.of(pid)).isEqualTo(before);
      }
      // Nor has a binary more that is only asked or tried for it.
      Path users = Files.createFile(directory.resolve("users"));
      Files.setPosixFilePermissions(users, PosixFilePermissions.fromString("rw-rw-rw-"));
      Path wrapper = directory.resolve("wrapper");
      Files.writeString(
          wrapper, "#!/bin/sh\nid -u >> %s\nexec %s \"$@\"\n".formatted(users, Host.qemu()));
      Files.setPosixFilePermissions(wrapper, PosixFilePermissions.fromString("rwxr-xr-x"));
      JsonObject to = JsonObject.of("name", "found", "qemu", wrapper.toString());
      JsonObject report = client.call("io.holdfast.Update.Vmm", to).object("report");
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      assertThat(Files.readAllLines(users))
          .as("asked, its CPU built, tried, its formats dumped, and the successor")
          .hasSizeGreaterThanOrEqualTo(4)
          .containsOnly(Integer.toString(NOBODY));
      JsonObject _ = client.call("io.holdfast.Vm.Stop", JsonObject.of("name", "found"));
    }
  }

  @Test
  @Promise("no-more-privileges")
  void namespacesOfItsOwnNeedAnOption() throws IOException {
    assumeTrue(Linux.system().effectiveUser() == 0, "needs root, to make a network namespace");
    Path directory = Files.createTempDirectory("holdfast-test");
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client();
        Started qemu = bare(directory, FILE, "unshare", "--net", "--ipc", "--")) {
      Path socket = directory.resolve("qmp.sock");
      await("QEMU", () -> Files.exists(socket));
      assertThat(adopt(client, socket, false).array("obstacles").objects())
          .hasSize(2)
          .allSatisfy(each -> assertThat(each.string("advice")).contains("--more-privileges"))
          .extracting(each -> each.string("why"))
          .anyMatch(why -> why.contains("its network namespace"))
          .anyMatch(why -> why.contains("its IPC namespace"));
      assertThat(qemu.isAlive()).isTrue();
      JsonObject reply =
          client.call(
              "io.holdfast.Vm.Adopt",
              JsonObject.of("name", "found", "qmp", socket.toString(), "morePrivileges", true));
      assertThat(reply.array("obstacles").objects()).isEmpty();
      assertThat(reply.array("losses").strings())
          .anyMatch(loss -> loss.contains("its network namespace"));
      assertThat(update(client, false).string("outcome")).isEqualTo("completed");
      JsonObject _ = client.call("io.holdfast.Vm.Stop", JsonObject.of("name", "found"));
    }
  }

  /** It works or is refused, and never fails in an update: newer QEMUs would send such memory. */
  @Test
  @Promise("adoption")
  void memoryThatQemuMadeItself() throws IOException {
    Path directory = Files.createTempDirectory("holdfast-test");
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client();
        Started _ = bare(directory, "memory-backend-memfd")) {
      Path socket = directory.resolve("qmp.sock");
      await("QEMU", () -> Files.exists(socket));
      JsonObject reply = adopt(client, socket, false);
      List<JsonObject> obstacles = reply.array("obstacles").objects();
      if (obstacles.isEmpty()) {
        assertThat(reply.object("vm").string("qemuVersion")).startsWith("7.");
        assertThat(update(client, false).string("outcome")).isEqualTo("completed");
        JsonObject _ = client.call("io.holdfast.Vm.Stop", JsonObject.of("name", "found"));
      } else {
        assertThat(obstacles)
            .singleElement()
            .satisfies(
                each -> {
                  assertThat(each.string("why")).contains("memory-backend-memfd", "would send");
                  assertThat(each.string("advice")).contains("memory-backend-file");
                });
      }
    }
  }

  private static void set(Path socket, String capability, boolean state) throws IOException {
    var _ =
        qmp(
            socket,
            "migrate-set-capabilities",
            JsonObject.of(
                "capabilities", List.of(JsonObject.of("capability", capability, "state", state))));
  }

  private static JsonObject update(VarlinkClient client, boolean dryRun) {
    return client
        .call("io.holdfast.Update.Vmm", JsonObject.of("name", "found", "dryRun", dryRun))
        .object("report");
  }

  @Test
  @Promise("adoption")
  void aVmStartedByLibvirt() throws IOException {
    assumeTrue(
        Files.isExecutable(Path.of("/usr/bin/virsh")) && Files.exists(LIBVIRT),
        "no libvirt: apt-get install --no-install-recommends libvirt-daemon-driver-qemu"
            + " libvirt-clients");
    Path directory = Files.createTempDirectory("holdfast-test");
    Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwxr-xr-x"));
    Path backing = Files.createTempDirectory(Path.of("/dev/shm"), "holdfast-test");
    Files.setPosixFilePermissions(backing, PosixFilePermissions.fromString("rwxrwxrwx"));
    prepare(directory, backing);
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client();
        Started virsh = Started.of(directory, virsh(directory))) {
      virsh.tell("create dom.xml");
      Witness witness = new Witness();
      Path pidFile = directory.resolve("libvirt/run/qemu/lv.pid");
      try {
        await("the guest: " + virsh.said(), () -> follow(witness, directory).ready());
        // libvirt holds its own monitor, and goes on doing so.
        JsonObject reply = adopt(client, directory.resolve("second.sock"), false);
        assertThat(reply.array("obstacles").objects()).isEmpty();
        assertThat(reply.array("losses").strings()).anyMatch(l -> l.contains("libvirt"));
        virsh.tell("domstate lv");
        await("libvirt sees it run", () -> virsh.said().contains("running"));
        try (GuestMemory memory = memory(client)) {
          Heartbeat first = memory.heartbeat(witness.boot());
          updated(client, witness, directory, Optional.empty());
          // libvirt takes it for ended and removes what it made for it; the guest does not care.
          await(
              "libvirt notices the end of the predecessor",
              () -> !Files.exists(directory.resolve("libvirt/lib/qemu/domain-1-lv")));
          updated(client, witness, directory, Optional.empty());
          whole(memory, first);
          if (Linux.system().effectiveUser() == 0) {
            int pid = Math.toIntExact(show(client).number("pid"));
            assertThat(Credentials.of(pid).user()).isEqualTo(NOBODY);
          }
          virsh.tell("list --all");
          await("libvirt's list", () -> virsh.said().contains("Id   Name"));
          stopAndCheck(client, witness, directory, memory.again(first).diskSequence());
        }
      } finally {
        virsh.tell("quit");
        endLeftover(pidFile);
        AgentProcess.remove(backing);
      }
    }
  }

  private static void prepare(Path directory, Path memory) throws IOException {
    GuestImage image = GuestImage.find();
    Files.copy(image.kernel(), directory.resolve("vmlinuz"));
    Files.copy(image.initramfs(), directory.resolve("initramfs"));
    RunningGuest.image(directory.resolve("disk.qcow2"));
    Path settings = directory.resolve("libvirt/etc");
    Files.createDirectories(settings);
    Files.writeString(
        settings.resolve("qemu.conf"),
        "stdio_handler = \"file\"\nmemory_backing_dir = \"%s\"\n".formatted(memory));
    Files.writeString(
        directory.resolve("dom.xml"),
        """
        <domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
          <name>lv</name>
          <memory unit='MiB'>256</memory>
          <memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>
          <vcpu>1</vcpu>
          <os>
            <type arch='x86_64' machine='q35'>hvm</type>
            <kernel>%1$s/vmlinuz</kernel>
            <initrd>%1$s/initramfs</initrd>
            <cmdline>%2$s</cmdline>
          </os>
          <features><acpi/></features>
          <cpu mode='maximum'/>
          <devices>
            <emulator>%3$s</emulator>
            <disk type='file' device='disk'>
              <driver name='qemu' type='qcow2'/>
              <source file='%1$s/disk.qcow2'/>
              <target dev='vda' bus='virtio'/>
            </disk>
            <interface type='user'><model type='virtio'/></interface>
            <serial type='file'><source path='%1$s/console'/><target port='0'/></serial>
            <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
            <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
          </devices>
          <qemu:commandline>
            <qemu:arg value='-chardev'/>
            <qemu:arg value='socket,id=holdfast,server=on,wait=off,path=%1$s/second.sock'/>
            <qemu:arg value='-mon'/>
            <qemu:arg value='chardev=holdfast,mode=control'/>
          </qemu:commandline>
        </domain>
        """
            .formatted(directory, GuestImage.append(), Host.qemu()));
    if (Linux.system().effectiveUser() == 0) {
      run("chown", "-R", Integer.toString(NOBODY), directory.toString());
    }
  }

  /**
   * libvirt within virsh, its files in the test's directory: no daemon of the machine's is touched.
   */
  private static List<String> virsh(Path directory) {
    List<String> command = new ArrayList<>();
    if (Linux.system().effectiveUser() == 0) {
      String nobody = Integer.toString(NOBODY);
      command.addAll(
          List.of("setpriv", "--reuid=" + nobody, "--regid=" + nobody, "--clear-groups"));
    }
    command.addAll(List.of("env", "LC_ALL=C", "HOME=" + directory));
    for (String folder : List.of("CACHE_HOME", "CONFIG_HOME", "RUNTIME_DIR")) {
      command.add("XDG_" + folder + "=" + directory.resolve("xdg"));
    }
    command.addAll(List.of("virsh", "-c", "qemu:///embed?root=" + directory.resolve("libvirt")));
    return command;
  }

  private static void endLeftover(Path pidFile) throws IOException {
    if (Files.exists(pidFile)) {
      ProcessHandle.of(Long.parseLong(Files.readString(pidFile).strip()))
          .filter(p -> p.info().command().orElse("").contains("qemu"))
          .ifPresent(ProcessHandle::destroyForcibly);
    }
  }

  // ---- what all have in common ----

  private static Witness follow(Witness witness, Path directory) {
    Path console = directory.resolve("console");
    if (Files.exists(console)) {
      witness.follow(console);
    }
    return witness;
  }

  private static JsonObject adopt(VarlinkClient client, Path socket, boolean dryRun) {
    return client.call(
        "io.holdfast.Vm.Adopt",
        JsonObject.of("name", "found", "qmp", socket.toString(), "dryRun", dryRun));
  }

  private static JsonObject show(VarlinkClient client) {
    return client.call("io.holdfast.Vm.Show", JsonObject.of("name", "found")).object("vm");
  }

  private static GuestMemory memory(VarlinkClient client) {
    try (Reply reply =
            client.call("io.holdfast.Vm.Memory", JsonObject.of("name", "found"), List.of());
        Fd ram =
            reply.descriptors().take(Math.toIntExact(reply.parameters().number("descriptor")))) {
      assertThat(reply.parameters().number("bytes")).isEqualTo(256 * MIB);
      return GuestMemory.map(Linux.system(), ram);
    }
  }

  private static void updated(
      VarlinkClient client, Witness witness, Path directory, Optional<String> qemu) {
    long before = follow(witness, directory).last();
    JsonObject report =
        client
            .call("io.holdfast.Update.Vmm", JsonObject.of("name", "found", "qemu", qemu))
            .object("report");
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    await("the guest writes on", () -> follow(witness, directory).last() > before + 2);
  }

  private static boolean differentRings(VarlinkClient client, String qemu) {
    return client
        .call(
            "io.holdfast.Update.Vmm", JsonObject.of("name", "found", "qemu", qemu, "dryRun", true))
        .object("report")
        .array("obstacles")
        .objects()
        .stream()
        .anyMatch(obstacle -> obstacle.string("why").contains("rings of virtio-rng"));
  }

  private static void whole(GuestMemory memory, Heartbeat first) {
    Heartbeat last = memory.again(first);
    assertThat(last.count()).isGreaterThan(first.count());
    assertThat(last.cpuid()).as("CPUID").isEqualTo(first.cpuid());
    assertThat(last.patternFailures()).isZero();
    assertThat(memory.verifyPattern(first).good()).as("pattern").isTrue();
  }

  private static void stopAndCheck(
      VarlinkClient client, Witness witness, Path directory, long safe) {
    JsonObject _ = client.call("io.holdfast.Vm.Stop", JsonObject.of("name", "found"));
    Path raw = directory.resolve("disk.raw");
    Witness.rawCopy(directory.resolve("disk.qcow2"), raw);
    ChainCheck disk = follow(witness, directory).disk(raw, safe);
    assertThat(disk.good()).as("disk: " + disk).isTrue();
    ChainCheck console = witness.consoleCheck();
    assertThat(console.good()).as("console: " + console).isTrue();
    assertThat(witness.complaints()).isEmpty();
  }

  private static JsonObject qmp(Path socket, String command, JsonObject arguments)
      throws IOException {
    try (Qmp qmp =
        Qmp.connect(Linux.system(), socket, "QEMU on " + socket, Duration.ofSeconds(10))) {
      return qmp.execute(command, arguments);
    }
  }

  private static void await(String what, BooleanSupplier test) {
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    while (!test.getAsBoolean()) {
      assertThat(System.nanoTime()).as(what).isLessThan(deadline);
      RunningGuest.pause(50);
    }
  }

  private static void run(String... command) throws IOException {
    Process process = new ProcessBuilder(command).inheritIO().start();
    try {
      assertThat(process.waitFor()).as(String.join(" ", command)).isZero();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }

  /** A process that the test started, and ends if nobody else has. */
  record Started(Process process, Path output) implements AutoCloseable {
    static Started of(Path directory, List<String> command) throws IOException {
      Path output = directory.resolve("started.log");
      return new Started(
          new ProcessBuilder(command)
              .directory(directory.toFile())
              .redirectErrorStream(true)
              .redirectOutput(output.toFile())
              .start(),
          output);
    }

    long pid() {
      return process.pid();
    }

    boolean isAlive() {
      return process.isAlive();
    }

    void tell(String line) throws IOException {
      OutputStream in = process.getOutputStream();
      in.write((line + "\n").getBytes(StandardCharsets.UTF_8));
      in.flush();
    }

    String said() {
      try {
        return Files.readString(output);
      } catch (IOException e) {
        return "";
      }
    }

    @Override
    public void close() {
      process.destroyForcibly();
    }
  }
}
