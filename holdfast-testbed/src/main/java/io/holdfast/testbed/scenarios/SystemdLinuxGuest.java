package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/**
 * {@code holdfast update kernel} under systemd with a Linux guest on the machine's KVM, which
 * counts while systemd stops the host, and goes on from there on the next kernel.
 */
@Promise("systemd-hosts")
public final class SystemdLinuxGuest implements Scenario {
  @Override
  public String title() {
    return "systemd stops the host under a Linux guest, which goes on in the next kernel";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withStart(new Setup.Start.Root(SystemdRoot.INIT))
        .withCommandLine("systemd.unit=testbed.target", "systemd.show_status=no")
        .withLimit(Duration.ofMinutes(15));
  }

  @Override
  public boolean onEmulatedKvm() {
    return true;
  }

  @Override
  public void prepare(Outside out) throws IOException {
    InstalledHoldfast.require();
    SystemdRoot.Host host = SystemdRoot.host(out);
    Path guest = Path.of(System.getenv("HOLDFAST_GUEST"));
    SystemdRoot.install(out, host.root(), List.of(guest));
    host.tries(
        List.of(),
        SCRIPT.replace("@GUEST@", guest.toString()),
        "ExecStop=/usr/bin/bash /stopped.sh");
    host.script("stopped.sh", STOPPED);
  }

  private static final String COUNT =
      """
      # How far the guest has counted on its console without a gap; -1 if there is one.
      count() { perl -ne 'if (/^seq (\\d+) \\S+\\s*$/) { $bad = 1 if $1 != $last + 1; $last = $1 } END { print $bad ? -1 : $last + 0 }' /run/holdfast/vms/web/console.log; }
      """;

  /** The host is being stopped: the guest counts on. */
  private static final String STOPPED =
      COUNT
          + """
      [ -e /left ] && [ ! -e /run/came ] || exit 0
      before=$(count)
      until_true '[ "$(count)" -gt '$before' ]'
      report "ok while the host is being stopped the guest counts # from $before to $(count)"
      count >/left
      """;

  private static final String SCRIPT =
      COUNT
          + """
      said() { grep -c "$1" /run/holdfast/vms/web/console.log; }
      if [ ! -e /left ]; then
        report "boot 0 $(uname -r)"
        ask Vm.Run '{"definition":{"name":"web","qemu":"@QEMU@","memory":167772160,"cpus":1,"cpu":"qemu64","accelerator":"kvm",
          "kernel":"@GUEST@/vmlinuz","initrd":"@GUEST@/initramfs.cpio","disks":[],"extra":[],
          "append":"console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable holdfast.pattern=1"}}' >/run/vm 2>&1 \\
          || { report "not ok the VM was started # $(tr '\\n' ' ' </run/vm)"; finish; }
        until_true '[ "$(count)" -ge 3 ]'
        report "ok the guest counts # $(count)"
        line=$(cat /proc/cmdline)
        : >/left
        report kexec
        @HOLDFAST@ update kernel --kernel /next-kernel --from /kernel --append "$line" >/run/update 2>&1
        status=$?
        # Stopped with the host; what comes back before is a failure.
        [ -e /run/holdfast/leaving ] && sleep 1000
        report "not ok the update # ended with $status: $(tr '\\n' '|' </run/update)"
        finish
      fi
      : >/run/came
      report "boot 1 $(uname -r)"
      until_true '[ "$(systemctl is-active holdfast.service)" = active ]'
      ask Vm.Show '{"name":"web"}' >/run/vm
      check "the VM" running "$(field state </run/vm)"
      check "its generation" 2 "$(field generation </run/vm)"
      before=$(cat /left)
      until_true '[ "$(count)" -gt '$((before + 3))' ] || [ "$(count)" = -1 ]'
      report "note before the kexec it had counted to at least $before, now $(count)"
      check "it counts on without a gap, and its heart beats" yes "$([ "$(count)" -gt $((before + 3)) ] && echo yes)"
      check "times it booted: it did not boot again" 1 "$(said '^boot ')"
      check "pages that the guest found wrong" 0 "$(said '^wrong ')"
      ask Update.List '{}' >/run/list
      check "the update" completed "$(field outcome </run/list)"
      report "note $(field message </run/list), blackout $(field blackout </run/list) ns"
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
