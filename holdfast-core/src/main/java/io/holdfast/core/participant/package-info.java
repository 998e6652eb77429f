/**
 * What takes part in an update, and what it is told and asked. A participant has a role on each
 * side of the update: {@link io.holdfast.core.participant.Source} on the predecessor or the old
 * kernel, {@link io.holdfast.core.participant.Target} on the successor or the new kernel.
 */
@NullMarked
package io.holdfast.core.participant;

import org.jspecify.annotations.NullMarked;
