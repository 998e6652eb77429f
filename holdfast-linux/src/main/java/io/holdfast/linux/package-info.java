/**
 * The Linux system interface: descriptors, memfds, mappings, Unix sockets, processes.
 *
 * <p>Every system call goes through one {@link io.holdfast.linux.Kernel}, so a test can refuse,
 * delay or stop at any of them. A descriptor that a call makes is an {@link io.holdfast.linux.Fd}
 * with one owner, who closes it. On the unhappy path every call here throws {@link
 * io.holdfast.linux.SystemCallException}, and whatever the call had opened until then is closed
 * again.
 *
 * <p>Constants and layouts are those of 64-bit Linux with glibc 2.34 or newer, as on x86-64.
 */
@NullMarked
package io.holdfast.linux;

import org.jspecify.annotations.NullMarked;
