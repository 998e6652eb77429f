/**
 * Keepers: whoever holds duplicates of the agent's descriptors, so that the agent's death loses
 * none.
 *
 * <p>systemd's descriptor store where the agent is a service that has one, else an idle process. A
 * descriptor is kept before the agent acts on having it; the next agent finds all of them under
 * their labels, {@code VM/WHAT}.
 */
@NullMarked
package io.holdfast.store;

import org.jspecify.annotations.NullMarked;
