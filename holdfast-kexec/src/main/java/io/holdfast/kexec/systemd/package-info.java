/** A host that systemd runs: its shutdown, and what it is asked. */
@NullMarked
package io.holdfast.kexec.systemd;

import org.jspecify.annotations.NullMarked;
