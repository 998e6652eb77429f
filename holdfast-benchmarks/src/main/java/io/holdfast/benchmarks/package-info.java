/**
 * The demo, the benchmarks, and what both look through: an observer that stays apart from the
 * agent.
 *
 * <p>What the test guest does, and how it can be checked, is written in {@code guest/README.md};
 * {@link io.holdfast.benchmarks.GuestMemory} reads its RAM, {@link io.holdfast.benchmarks.Observer}
 * samples its heartbeat from a process of its own, and {@link io.holdfast.benchmarks.Witness}
 * checks what it wrote to its console and its disk.
 */
@NullMarked
package io.holdfast.benchmarks;

import org.jspecify.annotations.NullMarked;
