/** The host as a participant up to the reboot call: its kernel, its shutdown, its sessions. */
@NullMarked
package io.holdfast.kexec.depart;

import org.jspecify.annotations.NullMarked;
