package io.holdfast.fdt;

/**
 * An entry of the memory reservation block.
 *
 * @param address the physical address, in bytes; unsigned
 * @param size the size in bytes; unsigned
 */
public record FdtReservation(long address, long size) {}
