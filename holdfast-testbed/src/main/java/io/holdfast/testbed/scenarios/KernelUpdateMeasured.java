package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.time.Duration;

/**
 * How long a guest stands still in an update of the kernel, and of what that is made: four updates
 * under a Linux guest, and then a plain kexec of the same kernel, the floor. Each kernel starts
 * with nothing in its page cache. More of them take more machines, one run after the other, as an
 * emulated KVM does not bear many in a row.
 */
@Promise("figures")
public final class KernelUpdateMeasured implements Scenario {
  private static final String VM = "measured";
  private static final int UPDATES = 4;

  @Override
  public String title() {
    return "updates of the kernel under a guest, and a plain kexec, by the parts of their time";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withEarly(InstalledHoldfast.early())
        .withLimit(Duration.ofMinutes(20));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    holdfast.runGuest(VM, "kvm", "");
    in.check("the guest counts before the update", holdfast.awaitCount(VM, 3) >= 3);
    update(holdfast);
  }

  private static void update(InstalledHoldfast holdfast) throws IOException {
    holdfast.remember(VM);
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    holdfast.awaitEarlyAgent();
    BlackoutParts parts = new BlackoutParts(in);
    if (in.boot() > UPDATES) {
      parts.addFloor();
      parts.tell();
      return;
    }
    parts.add(holdfast, VM);
    holdfast.check(VM, true);
    if (in.boot() < UPDATES) {
      update(holdfast);
    }
    String _ = holdfast.must("vm", "stop", VM);
    in.kexec();
  }
}
