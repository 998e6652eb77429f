/** A QEMU process: how it is started, what it says, what its machine is. */
@NullMarked
package io.holdfast.vm.qemu;

import org.jspecify.annotations.NullMarked;
