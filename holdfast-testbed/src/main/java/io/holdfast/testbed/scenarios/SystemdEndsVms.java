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
 * A host with systemd is restarted, not updated: its VMs are ended before its file systems go, with
 * a signal that lets QEMU write its disks out.
 */
@Promise("systemd-hosts")
public final class SystemdEndsVms implements Scenario {
  @Override
  public String title() {
    return "an ordinary restart of the host ends VMs in good order before file systems go";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(2048)
        .withStart(new Setup.Start.Root(SystemdRoot.INIT))
        .withCommandLine("systemd.unit=testbed.target", "systemd.show_status=no")
        .withLimit(Duration.ofMinutes(6));
  }

  @Override
  public void prepare(Outside out) throws IOException {
    SystemdRoot.Host host = SystemdRoot.host(out);
    host.tries(List.of("ended.service"), SCRIPT);
    // Stopped after it.
    host.whenStopped("ended", "Before=holdfast-vms.service", ENDED);
  }

  private static final String SCRIPT =
      """
      report "boot 0 $(uname -r)"
      run_vm
      qemu=$(field pid </run/vm)
      echo "$qemu" >/run/qemu
      systemctl --no-block reboot
      sleep 1000
      """;

  private static final String ENDED =
      """
      check "its QEMU" gone "$([ -e /proc/$(cat /run/qemu) ] && echo there || echo gone)"
      check "signals that it was ended by" 1 "$(grep -c 'terminating on signal 15' /run/holdfast/vms/web/generation-1/qemu.log)"
      report "note $(cat /run/holdfast/vms/web/generation-1/qemu.log | tr '\\n' ' ')"
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
