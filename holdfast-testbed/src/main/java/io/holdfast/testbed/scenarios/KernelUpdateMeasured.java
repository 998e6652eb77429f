package io.holdfast.testbed.scenarios;

import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.time.Duration;

/**
 * How long a guest stands still in an update of the kernel, and of what that is made: twenty
 * updates under one Linux guest, each followed by a plain kexec of the same kernel, the floor. Each
 * kernel starts with nothing in its page cache.
 */
public final class KernelUpdateMeasured implements Scenario {
  private static final String VM = "measured";
  private static final int UPDATES = 20;

  @Override
  public String title() {
    return "twenty updates of the kernel under a guest, in turns with plain kexecs";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withEarly(InstalledHoldfast.early())
        .withLimit(Duration.ofHours(2));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    update(in, holdfast);
  }

  private static void update(Inside in, InstalledHoldfast holdfast) throws IOException {
    holdfast.runGuest(VM, "kvm", "");
    in.check("the guest counts before the update", holdfast.awaitCount(VM, 3) >= 3);
    holdfast.remember(VM);
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    holdfast.awaitEarlyAgent();
    BlackoutParts parts = new BlackoutParts(in);
    if (in.boot() % 2 == 1) {
      parts.add(holdfast, VM);
      holdfast.check(VM, true);
      String _ = holdfast.must("vm", "stop", VM);
      in.kexec();
    }
    parts.addFloor();
    parts.tell();
    if (in.boot() < 2L * UPDATES) {
      update(in, holdfast);
    }
  }
}
