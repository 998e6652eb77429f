/**
 * Kexec HandOver's formats: what one kernel leaves in memory for the next one.
 *
 * <p>A handover is read in this order. {@link io.holdfast.kho.StartingPoint} finds the state tree,
 * a flattened device tree, in physical memory. It names the root of the preserved-memory map, a
 * radix tree, and the sub-trees: blobs whose owners say what is in them. {@link
 * io.holdfast.kho.Handover} reads all that follows from there: sessions, files, memfds, objects
 * that live as long as files do, reserved regions.
 *
 * <p>Memory of a kernel that crashed, or of one that is at fault, can hold anything. So every
 * pointer, count and length is checked before it is followed, and what is wrong is a {@link
 * io.holdfast.kho.Defect}: the rule, the address, what was found, what was expected. {@link
 * io.holdfast.kho.Handover#read} throws the first one; {@link io.holdfast.kho.Handover#verify}
 * leaves out what it can't follow, goes on, and lists them all.
 *
 * <p>What the formats are is in docs/formats.md, with the kernel's headers that define them.
 */
@NullMarked
package io.holdfast.kho;

import org.jspecify.annotations.NullMarked;
