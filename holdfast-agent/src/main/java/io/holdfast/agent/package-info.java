/**
 * The agent: a daemon that holds the VMs' descriptors, runs updates, and answers on a Unix socket
 * in Varlink.
 *
 * <p>Its death harms no VM: each QEMU is in a session of its own, the descriptor store holds a
 * duplicate of every descriptor, and the run directory (on a tmpfs: it need outlive the agent only)
 * has a record per VM and a journal per update. The next agent reads them, takes the descriptors
 * back, and finishes or undoes the update that the last one left.
 */
@NullMarked
package io.holdfast.agent;

import org.jspecify.annotations.NullMarked;
