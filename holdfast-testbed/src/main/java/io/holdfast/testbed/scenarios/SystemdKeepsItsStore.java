package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.UUID;

/**
 * systemd as the first program: a service stores a memfd in its descriptor store, {@code systemctl
 * kexec}, and the service's next start, on the next kernel, finds it there.
 */
@Promise("systemd-hosts")
public final class SystemdKeepsItsStore implements Scenario {
  @Override
  public String title() {
    return "systemd as PID 1 carries a service's descriptor store across systemctl kexec";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withStart(new Setup.Start.Root(SystemdRoot.INIT))
        // A unit of its own as target: what a whole system starts besides is not shown here.
        .withCommandLine("systemd.unit=testbed.target", "systemd.show_status=yes");
  }

  @Override
  public void prepare(Outside out) throws IOException {
    Path root = SystemdRoot.prepare(out);
    Files.copy(out.next().image(), root.resolve("kernel"));
    Path units = root.resolve("etc/systemd/system");
    Files.writeString(
        units.resolve("testbed.target"),
        """
        [Unit]
        Wants=store.service
        """);
    Files.writeString(
        units.resolve("store.service"),
        """
        [Unit]
        Description=stores a memfd
        [Service]
        Type=exec
        NotifyAccess=all
        FileDescriptorStoreMax=8
        FileDescriptorStorePreserve=yes
        StandardOutput=journal+console
        StandardError=journal+console
        ExecStart=/usr/bin/bash /store.sh
        """);
    Files.writeString(root.resolve("store.sh"), script("content " + UUID.randomUUID()));
    Files.setPosixFilePermissions(
        root.resolve("store.sh"), PosixFilePermissions.fromString("rwxr-xr-x"));
  }

  /** What the service does; perl makes the memfd (system call 319), which no shell can. */
  private static String script(String content) {
    return """
        export LC_ALL=C
        exec 2>/dev/ttyS1
        report() { echo "$*" >/dev/ttyS1; }
        check() { if [ "$2" = "$3" ]; then report "ok $1 # $3"; else report "not ok $1 # expected $2, got $3"; report done; sleep 100; fi; }
        if [ "${LISTEN_FDS:-0}" = 0 ]; then
          report "boot 0 $(uname -r)"
          check "the first program" systemd "$(cat /proc/1/comm)"
          perl -e '$^F = 1000; # what is opened stays open in what is executed
            my $name = "stored"; my $fd = syscall(319, $name, 0);
            open(my $m, ">&=", $fd) or die; syswrite($m, "CONTENT");
            exec "systemd-notify", "--fd=$fd", "--fdname=memory", "FDSTORE=1" or die'
          check "storing it" 0 $?
          # Asked for by whoever waits: the descriptors are in the store then.
          systemd-notify --pid=$$ READY=1
          kexec -l -s /kernel --reuse-cmdline
          check "loading the next kernel" 0 $?
          report kexec
          systemctl kexec
          check "systemctl kexec" 0 $?
          sleep 100
        fi
        report "boot 1 $(uname -r)"
        check "descriptors in the store" 1 "$LISTEN_FDS"
        check "its name" memory "$LISTEN_FDNAMES"
        check "its content" "CONTENT" "$(cat /proc/self/fd/3)"
        report "note what it is called: $(readlink /proc/self/fd/3)"
        report done
        sleep 100
        """
        .replace("CONTENT", content);
  }

  @Override
  public void before(Inside in) {
    throw new IllegalStateException("systemd is all of user space");
  }

  @Override
  public void outside(Outside out) throws IOException {
    String _ = out.command(List.of("rm", "-rf", out.run().resolve("root").toString()));
  }
}
