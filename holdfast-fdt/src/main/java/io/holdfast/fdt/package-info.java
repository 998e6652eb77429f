/**
 * Flattened device trees of version 17, as the Devicetree Specification, release v0.4, chapter 5
 * ("Flattened Devicetree (DTB) Format") defines them. The kernel hands its state over in them, and
 * so does Holdfast.
 *
 * <p>{@link io.holdfast.fdt.FdtBlob} reads: it checks a blob once, completely, and then walks it in
 * place. {@link io.holdfast.fdt.FdtTree} is the same in memory, to look things up in, to change and
 * to write. {@link io.holdfast.fdt.FdtSource} prints it as source.
 *
 * <p>Whatever is wrong with a blob, however it came about, is one {@link
 * io.holdfast.fdt.FdtException} that says where.
 */
@NullMarked
package io.holdfast.fdt;

import org.jspecify.annotations.NullMarked;
