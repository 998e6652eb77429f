/**
 * The Linux system interface: descriptors, memfds, mappings, Unix sockets, processes.
 *
 * <p>Every system call goes through one {@link Kernel}, so a test can refuse, delay or stop at any of them. A descriptor
 * that a call makes is an {@link Fd} with one owner, who closes it. On the unhappy path every call here throws {@link
 * SystemCallException}, and whatever the call had opened until then is closed again.
 */
@NullMarked
package io.holdfast.linux;

import org.jspecify.annotations.NullMarked;
