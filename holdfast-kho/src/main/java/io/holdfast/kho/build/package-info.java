/**
 * Handovers of our own: a state tree, a map, sessions, written as a kernel writes them.
 *
 * <p>{@link io.holdfast.kho.build.Outgoing} is ordinary objects until it is finalized: its tree
 * grows as its parts need, parts come and go, memory is preserved and dropped. Finalizing writes
 * all of it into pages; cancelling takes those back and lets it be changed again. {@link
 * io.holdfast.kho.build.Damage} breaks what was written, or a copy of what a kernel wrote, to see
 * that whoever reads it finds out.
 */
@NullMarked
package io.holdfast.kho.build;

import org.jspecify.annotations.NullMarked;
