package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.testbed.SkippedException;
import io.holdfast.testbed.Testbed;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * The installed agent as a service of systemd, with a VM: the agent is killed, systemd starts it
 * again and gives it back what its store held, the VM's QEMU has gone on, and is replaced by an
 * update. Asked through systemd's own varlinkctl. The VM has nothing but its firmware to run: what
 * guests notice of an update is tested elsewhere, and an emulated machine's KVM is not up to much.
 */
@Promise("agent-can-die")
public final class AgentUnderSystemd implements Scenario {
  @Override
  public String title() {
    return "systemd's store keeps the agent's descriptors: the agent is killed and the VM updated all the same";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(2048)
        .withStart(new Setup.Start.Root(SystemdRoot.INIT))
        .withCommandLine("systemd.mask=tmp.mount", "systemd.unit=testbed.target");
  }

  static Path folder(String variable, String how) {
    String value = System.getenv().getOrDefault(variable, "");
    if (value.isEmpty() || !Files.exists(Path.of(value))) {
      throw new SkippedException(variable + " names nothing that is there; " + how);
    }
    return Path.of(value);
  }

  @Override
  public void prepare(Outside out) throws IOException {
    Path qemu =
        folder(
            "HOLDFAST_QEMU_OTHER",
            "`tools/qemu-newer` gets a QEMU that brings its own libraries, which this needs");
    Path installed = Testbed.find().resolveSibling("target/holdfast");
    if (!Files.exists(installed.resolve("systemd/holdfast.service"))) {
      throw new SkippedException("Holdfast is not built; `tools/dist` does that");
    }
    Path root = SystemdRoot.prepare(out);
    // What lies outside is found inside under the same path.
    for (Path path :
        List.of(qemu.resolveSibling(""), installed, Path.of(System.getProperty("java.home")))) {
      Path link = Path.of(root + path.toAbsolutePath().normalize().toString());
      Files.createDirectories(link.getParent());
      Files.createSymbolicLink(link, Path.of("/host" + path.toAbsolutePath().normalize()));
    }
    Path units = root.resolve("etc/systemd/system");
    Files.createDirectories(root.resolve("host"));
    SystemdRoot.units(root, installed);
    Files.writeString(
        units.resolve("host.mount"),
        """
        [Mount]
        What=host
        Where=/host
        Type=9p
        Options=trans=virtio,version=9p2000.L,cache=loose,msize=1048576,ro
        """);
    Files.writeString(
        units.resolve("testbed.target"),
        """
        [Unit]
        Wants=try.service
        """);
    Files.writeString(
        units.resolve("try.service"),
        """
        [Unit]
        Wants=host.mount holdfast.service
        After=host.mount holdfast.service
        [Service]
        ExecStart=/usr/bin/bash /try.sh
        """);
    Files.createDirectories(units.resolve("holdfast.service.d"));
    Files.writeString(
        units.resolve("holdfast.service.d/host.conf"),
        """
        [Unit]
        Requires=host.mount
        After=host.mount
        """);
    Files.writeString(root.resolve("try.sh"), SCRIPT.replace("@QEMU@", qemu.toString()));
  }

  private static final String SCRIPT =
      """
      exec 2>/dev/ttyS1
      report() { echo "$*" >/dev/ttyS1; }
      check() { if [ "$2" = "$3" ]; then report "ok $1 # $3"; else report "not ok $1 # expected $2, got $3"; fi; }
      finish() { report done; sleep 1000; }
      ask() { varlinkctl --json=short --timeout=120 ${more:-} call /run/holdfast/agent.sock "io.holdfast.$1" "$2"; }
      field() { grep -o '"'"$1"'":[^,}]*' | head -n 1 | sed 's/^[^:]*://; s/"//g'; }
      until_true() { for i in $(seq 300); do eval "$1" && return 0; sleep 0.2; done; report "not ok $1 # not within a minute"; finish; }
      main_pid() { systemctl show -P MainPID holdfast.service; }

      report "boot 0 $(uname -r)"
      truncate -s 16M /run/disk.raw # empty: the firmware finds nothing to boot, and waits
      ask Vm.Run '{"definition":{"name":"web","qemu":"@QEMU@","memory":67108864,"cpus":1,"cpu":"qemu64",
        "accelerator":"tcg","disks":[{"path":"/run/disk.raw","format":"raw"}],"extra":[]}}' >/run/vm 2>&1 \
        || { report "not ok the VM was started # $(tr '\\n' ' ' </run/vm)"; finish; }
      qemu=$(field pid </run/vm)
      ask Agent.Status '{}' >/run/status
      check "the keeper" systemd "$(field keeper </run/status)"
      held=$(field heldDescriptors </run/status)
      check "systemd's store has as many" "$held" "$(systemctl show -P NFileDescriptorStore holdfast.service)"
      [ "$held" -ge 1 ] || report "not ok something is held"
      before=$(main_pid)
      systemctl kill -s KILL --kill-whom=main holdfast.service
      until_true '[ "$(main_pid)" != 0 ] && [ "$(main_pid)" != '$before' ] && [ "$(systemctl is-active holdfast.service)" = active ]'
      report "ok systemd started the agent again"
      check "held descriptors after that" "$held" "$(ask Agent.Status '{}' | field heldDescriptors)"
      ask Vm.Show '{"name":"web"}' >/run/vm
      check "the VM" running "$(field state </run/vm)"
      check "its QEMU is the same process" "$qemu" "$(field pid </run/vm)"
      more=--more ask Update.Vmm '{"name":"web"}' >/run/update
      check "an update then" completed "$(field outcome </run/update)"
      ask Vm.Show '{"name":"web"}' >/run/vm
      check "the VM after that" running "$(field state </run/vm)"
      check "its generation" 2 "$(field generation </run/vm)"
      [ "$(field pid </run/vm)" != "$qemu" ] || report "not ok its QEMU is another process"
      check "held descriptors at the end" "$held" "$(ask Agent.Status '{}' | field heldDescriptors)"
      finish
      """;

  @Override
  public void before(Inside in) {
    throw new IllegalStateException("systemd is all of user space");
  }

  @Override
  public void outside(Outside out) throws IOException {
    String _ = out.command(List.of("rm", "-rf", out.run().resolve("root").toString()));
  }
}
