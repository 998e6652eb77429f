package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.time.Duration;
import java.util.List;

/**
 * The agent is killed while systemd stops the host for an update of its kernel: systemd starts it
 * again, it undoes the update and aborts the shutdown; the VM runs on, and services that were
 * stopped are started again.
 */
@Promise("kernel-undone")
public final class SystemdAgentKilled implements Scenario {
  @Override
  public String title() {
    return "the agent is killed while systemd stops the host: the host goes on, with its VM";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withStart(new Setup.Start.Root(SystemdRoot.INIT))
        .withCommandLine("systemd.unit=testbed.target", "systemd.show_status=no")
        .withLimit(Duration.ofMinutes(8));
  }

  @Override
  public void prepare(Outside out) throws IOException {
    SystemdRoot.Host host = SystemdRoot.host(out);
    host.tries(List.of("slow.service", "other.service"), SCRIPT);
    host.whenStopped("slow", "", SLOW);
    // Is stopped before the slow one, so it is stopped when the agent dies.
    host.whenStopped("other", "After=slow.service", "touch /run/other-stopped");
  }

  /** As long as this runs the host is being stopped, unless that is aborted. */
  private static final String SLOW =
      """
      touch /run/stopping
      for i in $(seq 1500); do [ ! -e /run/aborted ] || exit 0; sleep 0.2; done
      """;

  private static final String SCRIPT =
      """
      main_pid() { systemctl show -P MainPID holdfast.service; }
      # In the agent's cgroup, so that it lives on like the VM.
      watch() {
        echo $BASHPID >/sys/fs/cgroup/system.slice/holdfast.service/cgroup.procs
        until_true '[ -e /run/stopping ]'
        check "another service" inactive "$(systemctl is-active other.service)"
        check "the host" stopping "$(systemctl is-system-running)"
        before=$(main_pid)
        kill -9 "$before"
        report "note agent $before was killed"
        until_true '[ "$(main_pid)" != 0 ] && [ "$(main_pid)" != '$before' ] && [ "$(systemctl is-active holdfast.service)" = active ]'
        report "ok systemd started the agent again"
        touch /run/aborted
        until_true '[ ! -e /run/holdfast/leaving ]'
        ask Update.List "{}" >/run/list
        check "the update" cancelled "$(field outcome </run/list)"
        report "note $(field message </run/list)"
        ask Vm.Show '{"name":"web"}' >/run/vm2
        check "the VM" running "$(field state </run/vm2)"
        check "its QEMU is the same process" "$(field pid </run/vm)" "$(field pid </run/vm2)"
        until_true '[ "$(systemctl is-active other.service)" = active ]'
        report "ok the other service was started again"
        until_true '[ "$(systemctl is-system-running)" != stopping ]'
        report "ok the host goes on: $(systemctl is-system-running)"
        check "kernels that are loaded" 0 "$(cat /sys/kernel/kexec_loaded)"
        check "the first program" systemd "$(cat /proc/1/comm)"
        finish
      }
      [ ! -e /run/vm ] || sleep 1000 # started again
      report "boot 0 $(uname -r)"
      run_vm
      watch &
      until_true '! grep -q try.service /proc/'$!'/cgroup'
      @HOLDFAST@ update kernel --kernel /next-kernel --from /kernel --append "$(cat /proc/cmdline)" >/run/update 2>&1
      [ -e /run/stopping ] && sleep 1000
      report "not ok the update began # $(tr '\\n' '|' </run/update)"
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
