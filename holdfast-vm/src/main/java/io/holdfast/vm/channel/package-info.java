/**
 * Channels between a guest and its host (consoles, and named ports such as the guest agent's),
 * which live on while the QEMU at their one end and the agent at the other are replaced.
 *
 * <p>Every byte that is under way is in a kernel object that the descriptor store holds too: a
 * socket pair per generation of QEMU, and pipes. The agent moves bytes from one to the next by
 * splice(2), which a kill finds either done or not begun. So neither end's death loses a byte or
 * doubles one.
 */
@NullMarked
package io.holdfast.vm.channel;

import org.jspecify.annotations.NullMarked;
