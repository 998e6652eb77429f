package io.holdfast.testbed.scenarios;

import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.time.Duration;

/**
 * How long a guest stands still in an update of the kernel, and of what that is made: twenty
 * updates under a Linux guest, and after every fourth a plain kexec of the same kernel, the floor.
 * Each kernel starts with nothing in its page cache.
 */
public final class KernelUpdateMeasured implements Scenario {
  private static final String VM = "measured";
  private static final int UPDATES = 20;
  private static final int IN_A_ROW = 4;

  @Override
  public String title() {
    return "twenty updates of the kernel under a guest, and plain kexecs in between";
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
    begin(in, holdfast);
  }

  private static void begin(Inside in, InstalledHoldfast holdfast) throws IOException {
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
    int step = in.boot() % (IN_A_ROW + 1);
    if (step > 0) {
      parts.add(holdfast, VM);
      holdfast.check(VM, true);
      if (step < IN_A_ROW) {
        update(holdfast);
      }
      String _ = holdfast.must("vm", "stop", VM);
      in.kexec();
    }
    parts.addFloor();
    parts.tell();
    if (in.boot() < UPDATES + UPDATES / IN_A_ROW) {
      begin(in, holdfast);
    }
  }
}
