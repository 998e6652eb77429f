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
import java.time.Duration;
import java.util.List;

/**
 * An update of the kernel under systemd fails at the last moment, when nothing is left of the host
 * but the agent and its VMs: the VM runs on, and systemd, which would restart the machine, does not
 * get there.
 */
@Promise("kernel-undone")
public class SystemdUpdateFails implements Scenario {
  /** The same for longer than the 90 s that systemd gives its shutdown programs. */
  public static final class ForLong extends SystemdUpdateFails {
    /** Looks again after that. */
    public ForLong() {
      super(Duration.ofSeconds(100));
    }

    @Override
    public String name() {
      return "systemd-update-fails-for-long";
    }
  }

  private final Duration more;

  /** Looks again after a moment. */
  public SystemdUpdateFails() {
    this(Duration.ofSeconds(5));
  }

  private SystemdUpdateFails(Duration more) {
    this.more = more;
  }

  @Override
  public String title() {
    return "an update that fails when systemd has stopped everything else: the VM runs on";
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
    host.tries(List.of(), SCRIPT.replace("@MORE@", Long.toString(more.toSeconds())));
    // The guests freeze as soon as systemd calls this: on a fast day before the script has looked.
    Path program = host.root().resolve("usr/lib/systemd/system-shutdown/holdfast");
    Files.move(program, host.root().resolve("holdfast-shutdown"));
    Files.writeString(
        program,
        """
        #!/bin/sh
        until [ -e /run/unloaded ]; do sleep 0.1; done
        exec /holdfast-shutdown "$@"
        """);
    Files.setPosixFilePermissions(program, PosixFilePermissions.fromString("rwxr-xr-x"));
  }

  private static final String SCRIPT =
      """
      status() { ask Vm.Qmp '{"name":"web","command":"query-status"}' | field status; }
      # In the agent's cgroup, so that it lives on like the VM.
      watch() {
        echo $BASHPID >/sys/fs/cgroup/system.slice/holdfast.service/cgroup.procs
        until [ "$(cat /proc/1/comm)" = systemd-shutdow ]; do sleep 0.5; done
        report "ok systemd is nothing but its shutdown any more"
        check "the VM then" running "$(status)"
        # What comes last of all finds no kernel to start.
        kexec -u -s
        touch /run/unloaded
        until_true 'ask Update.List "{}" >/run/list; grep -q cancelled /run/list'
        report "note $(field message </run/list)"
        check "the VM, when the update has failed" running "$(status)"
        sleep @MORE@
        check "the first program after that" systemd-shutdow "$(cat /proc/1/comm)"
        check "the VM after that" running "$(status)"
        finish
      }
      report "boot 0 $(uname -r)"
      run_vm
      watch &
      until_true '! grep -q try.service /proc/'$!'/cgroup'
      @HOLDFAST@ update kernel --kernel /next-kernel --from /kernel --append "$(cat /proc/cmdline)" >/run/update 2>&1
      [ -e /run/holdfast/leaving ] && sleep 1000
      report "not ok the update began # $(tr '\\n' '|' </run/update)"
      finish
      """;

  @Override
  public void before(Inside in) {
    throw new IllegalStateException("systemd is all of user space");
  }

  @Override
  public void outside(Outside out) throws IOException {
    out.check(
        "the console says why the machine stays as it is",
        out.console().contains("holdfast: the kernel is not updated"));
    String _ = out.command(List.of("rm", "-rf", out.run().resolve("root").toString()));
  }
}
