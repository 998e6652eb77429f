package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Each call of a participant may come again, after a success and after a failure at any place: the
 * update goes on as if it had come once. A real guest in real QEMU, which lives through all of it.
 */
@Tag("guest")
class AgainTest {
  private final Host host;

  AgainTest() throws IOException, InterruptedException {
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    host = Host.start();
  }

  @AfterEach
  void end() throws IOException {
    host.close();
  }

  @Test
  @Promise("never-twice")
  void updatesGoOnIfCallsAreRepeated() throws IOException {
    repeat(RepeatingAgent.Extent.FEW);
  }

  @Test
  @Tag("nightly")
  @Promise("never-twice")
  void updatesGoOnWhereverACallFails() throws IOException {
    repeat(RepeatingAgent.Extent.EACH);
  }

  private void repeat(RepeatingAgent.Extent extent) throws IOException {
    var _ = host.runVm(host.definition(Host.qemu()).with("networks", List.of(forwarding())));
    repeat(extent, host.run().resolve("vms/" + Host.VM + "/console.log"));
    host.assertWhole();
    updateAndStop();
  }

  private void repeat(RepeatingAgent.Extent extent, Path console) throws IOException {
    host.killAgent();
    String said =
        host.runInstead(
            RepeatingAgent.class.getName(),
            List.of(host.run().toString(), Host.VM, console.toString(), extent.toString()));
    System.out.println(said);
    assertThat(said).contains(" 0 updates undone for that");
    host.startAgent();
  }

  private void updateAndStop() {
    JsonObject report = host.update(Host.qemu());
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
    host.stopVm();
    host.assertEmpty();
  }

  @Test
  @Promise("never-twice")
  void updatesOfAnAdoptedVmGoOnIfCallsAreRepeated() throws IOException {
    GuestImage image = GuestImage.find();
    Path socket = host.directory().resolve("qmp.sock");
    Path console = host.directory().resolve("console");
    List<String> command =
        List.of(
            Host.qemu(),
            "-nodefaults",
            "-M",
            "q35,memory-backend=mem,accel=tcg",
            "-cpu",
            "Nehalem",
            "-m",
            "160",
            "-object",
            "memory-backend-file,id=mem,size=160M,mem-path=/dev/shm,share=on",
            "-kernel",
            image.kernel().toString(),
            "-initrd",
            image.initramfs().toString(),
            "-append",
            GuestImage.append() + " holdfast.pattern=4",
            "-display",
            "none",
            "-serial",
            "file:" + console,
            "-drive",
            "if=virtio,format=qcow2,file=" + host.disk(),
            "-qmp",
            "unix:" + socket + ",server=on,wait=off");
    Process qemu =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(host.directory().resolve("qemu.log").toFile())
            .start();
    try {
      Witness witness = new Witness();
      Host.await(
          "the guest's boot",
          () -> {
            if (Files.exists(console)) {
              witness.follow(console);
            }
            return witness.ready();
          });
      JsonObject adopted =
          host.call("Vm.Adopt", JsonObject.of("name", Host.VM, "qmp", socket.toString()));
      assertThat(adopted.array("obstacles").objects()).isEmpty();
      repeat(RepeatingAgent.Extent.FEWER, console);
      updateAndStop();
    } finally {
      qemu.destroyForcibly();
    }
  }

  private static JsonObject forwarding() throws IOException {
    try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return JsonObject.of(
          "kind",
          "user",
          "hostForwards",
          List.of(
              JsonObject.of("address", "127.0.0.1", "port", free.getLocalPort(), "guestPort", 7)));
    }
  }
}
