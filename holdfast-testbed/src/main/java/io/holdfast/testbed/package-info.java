/**
 * Live update tested in full: a real kernel boots in a VM over this machine's own root file system,
 * runs one half of a {@link io.holdfast.testbed.Scenario}, really kexecs, runs the other half, and
 * reports outside.
 *
 * <p>A scenario's life, with its unhappy ends:
 *
 * <ol>
 *   <li>{@link io.holdfast.testbed.Testbed} finds the kernels ({@link
 *       io.holdfast.testbed.Kernels}); without one the scenario is skipped, with the reason.
 *   <li>{@link io.holdfast.testbed.Machine} starts QEMU on the kernel. Its root is a folder
 *       outside, read only; one small folder, the exchange, can be written from both sides.
 *       Everything of a run lies in the run's folder, which stays.
 *   <li>Inside, {@code testbed/init} mounts what a Java program needs and starts {@link
 *       io.holdfast.testbed.InsideMain}, which calls the scenario's {@code before}; that ends by
 *       {@link io.holdfast.testbed.Inside#kexec}. The new kernel boots the same way, into {@code
 *       after}.
 *   <li>What the halves find they write to a serial line of its own ({@link
 *       io.holdfast.testbed.Report}). Meanwhile {@link io.holdfast.testbed.ConsoleWatch} reads the
 *       kernel's console: a panic, oops, WARN, lockdep splat or hang ends the scenario as failed,
 *       as do silence, the limit of time, and a machine that stops before its halves are done.
 *   <li>QEMU is ended, whatever happened; then the scenario's {@code outside} may look at what is
 *       left (disks, memory dump, console). If this JVM is killed, the kernel kills QEMU.
 * </ol>
 */
@NullMarked
package io.holdfast.testbed;

import org.jspecify.annotations.NullMarked;
