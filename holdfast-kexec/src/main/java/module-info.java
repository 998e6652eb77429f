/**
 * Updates of the kernel. The kexec carrier: boxes become sessions of the kernel's Live Update
 * Orchestrator, and come back in the next kernel.
 *
 * <p>{@link io.holdfast.kexec.depart.Departure} takes part in an update of the kernel for the host
 * and makes the reboot call; {@link io.holdfast.kexec.arrive.Arrival} unpacks what came from the
 * previous kernel into the descriptor store and the run directory, where it is then what an agent
 * leaves that died after a commit. What travels is in docs/formats.md.
 */
module io.holdfast.kexec {
  requires static transitive org.jspecify;
  requires io.holdfast.fdt;
  requires transitive io.holdfast.kho;
  requires transitive io.holdfast.core;
  requires transitive io.holdfast.store;

  exports io.holdfast.kexec.arrive;
  exports io.holdfast.kexec.check;
  exports io.holdfast.kexec.depart;
  exports io.holdfast.kexec.manifest;
  exports io.holdfast.kexec.session;
  exports io.holdfast.kexec.systemd;
}
