package io.holdfast.vm.device;

import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.spec.Adopted;
import io.holdfast.vm.spec.Findings;

/** Says in each plan what an adopted VM loses by it. */
public final class AdoptedBackend implements Backend {
  private final Adopted adopted;
  private int generation;

  /** Of a QEMU that was adopted, with what its successors lose. */
  public AdoptedBackend(Adopted adopted) {
    this.adopted = adopted;
  }

  @Override
  public void plan(Findings findings) {
    if (generation == 1) {
      adopted.first().forEach(findings::loss);
    }
    adopted.always().forEach(findings::loss);
  }

  @Override
  public void planCrossing(Findings findings) {
    plan(findings);
    findings.obstacle(
        "an adopted VM",
        "what it has open besides its memory can't be carried over a kexec yet",
        "Update its QEMU instead, or stop it and run it by `holdfast vm run`.");
  }

  @Override
  public void attached(int running) {
    generation = running;
  }

  @Override
  public void running(int running, Qmp qmp) {
    generation = running;
  }
}
