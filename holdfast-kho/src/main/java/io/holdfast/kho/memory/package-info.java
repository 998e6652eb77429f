/**
 * Physical memory, wherever it is: in a file that a hypervisor or kdump wrote, in this machine, or
 * in an arena of our own.
 *
 * <p>Everything that reads a handover reads it through {@link
 * io.holdfast.kho.memory.PhysicalMemory}, so that one reader serves all three. An address is always
 * a physical address, unsigned in principle; none that a processor has sets the highest bit.
 */
@NullMarked
package io.holdfast.kho.memory;

import org.jspecify.annotations.NullMarked;
