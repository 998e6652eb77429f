package io.holdfast.vm.device;

import io.holdfast.linux.Fd;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.spec.Findings;
import java.io.IOException;
import java.util.Map;

/**
 * What stands behind a device on the host, across the generations of QEMU: its names there, and the
 * descriptors that each generation inherits. One instance per device of a VM in an agent.
 *
 * <p>Names and descriptors exist per generation, so that predecessor and successor never compete
 * for one. In an update the calls come in this order: {@link #plan}, {@link #open} and {@link
 * #prepared} for the successor, {@link #frozen} for the predecessor, and after the commit {@link
 * #switchTo}, {@link #running}, and {@link #drop} for the predecessor. A cancelled update ends with
 * {@link #drop} for the successor, and whatever happened before it must have left the predecessor
 * able to go on. Another agent makes its backends anew from the VM's record and tells them by
 * {@link #attached} which generation runs; what they need from before is in the descriptor store,
 * or in the names that things have on the host.
 *
 * <p>Calls come one at a time. To fail they throw an IOException or a SystemCallException.
 */
public interface Backend extends AutoCloseable {
  /**
   * Opens what the QEMU of a generation inherits. May come again for the same generation, if that
   * QEMU died before the guest ran in it.
   *
   * @return descriptors by the labels that the command line has them under; the caller's to close
   */
  default Map<String, Fd> open(int generation) throws IOException {
    return Map.of();
  }

  /** Says what an update will keep, what it will lose, and what is in its way. */
  default void plan(Findings findings) throws IOException {}

  /**
   * Says what an update of the kernel will keep, lose, and what is in its way; the same as another
   * update unless it knows better. On the other side it is {@link #open}, {@link #switchTo}, {@link
   * #attached} and {@link #running} of the next generation, with nothing kept but what was {@link
   * #packed}.
   */
  default void planCrossing(Findings findings) throws IOException {
    plan(findings);
  }

  /**
   * An update of the kernel: the guest stands still, its state is saved. Changes nothing, as the
   * update may still be cancelled: {@link #stays} then.
   *
   * @return memfds that it needs on the other side, by what the descriptor store's label is there
   *     without the VM's name; the caller's to close
   */
  default Map<String, Fd> packed(int generation) throws IOException {
    return Map.of();
  }

  /** An update of the kernel was cancelled after {@link #frozen}; the guest runs on. */
  default void stays(int generation) throws IOException {}

  /** The QEMU of this generation is up. In an update it waits; the guest runs in the other one. */
  default void prepared(int generation, Qmp qmp) throws IOException {}

  /**
   * This generation runs the guest: just started, or found again by another agent. What the device
   * has to do all the time begins now.
   */
  default void attached(int generation) throws IOException {}

  /** The predecessor has stopped the guest. Blackout; may still be cancelled. */
  default void frozen(int generation) throws IOException {}

  /**
   * From now on this generation, and no other, is the VM's. Blackout: the update is committed, the
   * predecessor is fenced, and the guest does not run yet. Idempotent.
   */
  default void switchTo(int generation) throws IOException {}

  /** The guest runs in this generation. Idempotent. */
  default void running(int generation, Qmp qmp) throws IOException {}

  /** The QEMU of this generation is gone: removes what it had. Idempotent. */
  default void drop(int generation) throws IOException {}

  /** Lets go of everything; the VM goes on. */
  @Override
  default void close() {}
}
