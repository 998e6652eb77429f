/** A VM as a participant: an update of its QEMU, and the departure of an update of the kernel. */
@NullMarked
package io.holdfast.vm.update;

import org.jspecify.annotations.NullMarked;
