/**
 * The descriptor store: it has duplicates of the agent's descriptors, so that the agent's death
 * loses none.
 *
 * <p>It is systemd's where the agent is a service that has one, else an idle process. A descriptor
 * is stored before the agent acts on having it. The next agent finds each of them under its {@link
 * io.holdfast.store.StoreKey}.
 */
@NullMarked
package io.holdfast.store;

import org.jspecify.annotations.NullMarked;
