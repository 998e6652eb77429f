package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.UUID;

/**
 * {@code holdfast update kernel} on a host whose first program is systemd: that stops the host, the
 * VM runs until file systems are unmounted, and its sessions travel in systemd's store. The VM has
 * nothing but its firmware to run: what guests notice is tested elsewhere.
 */
@Promise("systemd-hosts")
public final class SystemdKernelUpdate implements Scenario {
  @Override
  public String title() {
    return "systemd stops the host for another kernel, the VM goes last, and is there again";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withStart(new Setup.Start.Root(SystemdRoot.INIT))
        .withCommandLine("systemd.unit=testbed.target", "systemd.show_status=no")
        .withLimit(Duration.ofMinutes(12));
  }

  @Override
  public void prepare(Outside out) throws IOException {
    SystemdRoot.Host host = SystemdRoot.host(out);
    Path root = host.root();
    Path units = root.resolve("etc/systemd/system");
    // Somebody else's store is systemd's business, and crosses with it.
    Files.writeString(
        units.resolve("store.service"),
        "[Unit]\n"
            + SystemdRoot.ALONE
            + """
        [Service]
        Type=exec
        NotifyAccess=all
        FileDescriptorStoreMax=8
        FileDescriptorStorePreserve=yes
        ExecStart=/usr/bin/bash /store.sh
        """);
    String content = "content " + UUID.randomUUID();
    Files.writeString(root.resolve("store.sh"), STORE.replace("CONTENT", content));
    host.script("stopped.sh", STOPPED);
    host.tries(
        List.of("store.service"),
        SCRIPT.replace("CONTENT", content),
        "ExecStop=/usr/bin/bash /stopped.sh");
  }

  /** What the other service does; perl makes the memfd (system call 319), which no shell can. */
  private static final String STORE =
      """
      if [ "${LISTEN_FDS:-0}" = 0 ]; then
        perl -e '$^F = 1000; # what is opened stays open in what is executed
          my $name = "stored"; my $fd = syscall(319, $name, 0);
          open(my $m, ">&=", $fd) or die; syswrite($m, "CONTENT");
          exec "systemd-notify", "--fd=$fd", "--fdname=memory", "FDSTORE=1" or die'
      else
        cat /proc/self/fd/3 >/run/stored
      fi
      exec sleep 1000000
      """;

  /** The host is being stopped. */
  private static final String STOPPED =
      """
      [ -e /left ] && [ ! -e /run/came ] || exit 0
      check "while the host is being stopped the VM is" running "$(ask Vm.Qmp '{"name":"web","command":"query-status"}' | field status)"
      """;

  private static final String SCRIPT =
      """
      # The guest's memory among its QEMU's descriptors, by its size: the next kernel names a memfd anew.
      ram() { for fd in /proc/$1/fd/*; do [ "$(stat -L -c %s "$fd" 2>/dev/null)" = 67108864 ] && { echo "$fd"; return; }; done; }
      if [ ! -e /left ]; then
        report "boot 0 $(uname -r)"
        run_vm
        file=$(ram "$(field pid </run/vm)")
        [ -n "$file" ] || { report "not ok guest RAM is a descriptor of QEMU's # $(ls -l /proc/"$(field pid </run/vm)"/fd | tr '\\n' ' ')"; finish; }
        printf 'CONTENT' | dd of="$file" bs=1M seek=48 conv=notrunc status=none
        until_true '[ "$(systemctl show -P NFileDescriptorStore store.service)" = 1 ]'
        line=$(cat /proc/cmdline)
        : >/left
        report kexec
        @HOLDFAST@ update kernel --kernel /next-kernel --from /kernel --append "$line" >/run/update 2>&1
        status=$?
        # Stopped with the host; what comes back before is a failure.
        [ -e /run/holdfast/leaving ] && sleep 1000
        report "not ok the update # ended with $status: $(tr '\\n' '|' </run/update) $(journalctl -u holdfast.service | tail -n 20 | tr '\\n' '|')"
        finish
      fi
      : >/run/came
      report "boot 1 $(uname -r)"
      until_true '[ "$(systemctl is-active holdfast.service)" = active ]'
      ask Vm.Show '{"name":"web"}' >/run/vm
      check "the VM" running "$(field state </run/vm)"
      check "its generation" 2 "$(field generation </run/vm)"
      file=$(ram "$(field pid </run/vm)")
      check "its memory" 'CONTENT' "$(dd if="$file" bs=1M skip=48 count=1 status=none | head -c $(printf 'CONTENT' | wc -c))"
      ask Update.List '{}' >/run/list
      check "the update" completed "$(field outcome </run/list)"
      report "note $(field message </run/list)"
      check "the other service's store" 'CONTENT' "$(cat /run/stored)"
      ask Agent.Status '{}' >/run/status
      check "the keeper" systemd "$(field keeper </run/status)"
      check "systemd's store has as many" "$(field heldDescriptors </run/status)" "$(systemctl show -P NFileDescriptorStore holdfast.service)"
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
