/**
 * The kexec carrier: boxes become sessions of the kernel's Live Update Orchestrator, and come back
 * in the next kernel.
 *
 * <p>{@link io.holdfast.kexec.Departure} takes part in an update of the kernel for the host and
 * makes the reboot call; {@link io.holdfast.kexec.Arrival} unpacks what came from the previous
 * kernel into the keeper and the run directory, where it is then what an agent leaves that died
 * after a commit. What travels is in docs/formats.md.
 */
@NullMarked
package io.holdfast.kexec;

import org.jspecify.annotations.NullMarked;
