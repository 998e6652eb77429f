package io.holdfast.testbed.scenarios;

import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.time.Duration;

/**
 * {@code holdfast update kernel} as an operator does it: the host gets a new kernel under a running
 * Linux guest, which goes on counting where it stood.
 */
public final class KernelUpdate implements Scenario {
  private static final String VM = "web";

  @Override
  public String title() {
    return "the host gets a new kernel under a running guest, which goes on where it stood";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withEarly(InstalledHoldfast.early())
        .withLimit(Duration.ofMinutes(10));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    holdfast.runGuest(VM, "kvm");
    int before = holdfast.awaitCount(VM, 5);
    in.check("the guest counts before the update", before >= 5);
    holdfast.remember(VM);
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    holdfast.awaitEarlyAgent();
    in.note("the agent says: " + holdfast.said().replace('\n', '|'));
    holdfast.check(VM, true);
    for (String id : InstalledHoldfast.reports()) {
      in.note(holdfast.must("update", "show", id).replace('\n', '|'));
    }
  }
}
