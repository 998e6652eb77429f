/**
 * QEMU: what a binary can do, how a VM is started with what its guest was promised, and how one
 * QEMU process takes a running guest over from another.
 *
 * <p>{@link io.holdfast.vm.update.VmUpdate} is the heart: the participant that brings a successor
 * up beside the predecessor (brownout), lets the device state flow from one to the other
 * (blackout), and makes sure that only one of them ever runs the guest. Before the commit every
 * failure ends with the successor killed and the guest running on the predecessor; after it, only
 * the successor may run the guest, and it is started again from the kept device state if it died
 * before it ran.
 */
@NullMarked
package io.holdfast.vm;

import org.jspecify.annotations.NullMarked;
