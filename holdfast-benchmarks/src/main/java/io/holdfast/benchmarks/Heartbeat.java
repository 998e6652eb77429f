package io.holdfast.benchmarks;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * The guest's heartbeat page at one moment ({@code guest/README.md}, "Heartbeat page"). Its words
 * are read one after the other, so they may be some nanoseconds apart.
 *
 * @param offset where the page lies in guest RAM's descriptor, in bytes
 * @param address its guest-physical address
 * @param count the heartbeat counter
 * @param boot the boot id, another one in each boot
 * @param clock the guest's CLOCK_MONOTONIC at the last heartbeat, ns
 * @param cpuid digest of CPUID as vCPU 0 sees it
 * @param cpuidRuns how often the digest was computed
 * @param rewrites pattern pages rewritten since boot (T)
 * @param patternPages pages in the pattern (N)
 * @param patternFailures pattern pages that the guest itself found wrong
 * @param diskSequence number of the last record that is safe on the disk
 * @param problems soft problems that the guest counted
 * @param largestGap the largest gap between two heartbeats by the guest's own clock, ns
 */
public record Heartbeat(
    long offset,
    long address,
    long count,
    long boot,
    long clock,
    long cpuid,
    long cpuidRuns,
    long rewrites,
    long patternPages,
    long patternFailures,
    long diskSequence,
    long problems,
    long largestGap) {
  static final int COUNT = 40;
  static final int BOOT = 48;
  static final int CPUID = 64;
  static final int REWRITES = 80;
  static final int PATTERN_PAGES = 88;

  /** Reads the page that lies at {@code offset}. */
  static Heartbeat read(MemorySegment ram, long offset) {
    MemorySegment page = ram.asSlice(offset, GuestFormat.PAGE);
    return new Heartbeat(
        offset,
        word(page, 32),
        word(page, COUNT),
        word(page, BOOT),
        word(page, 56),
        word(page, CPUID),
        word(page, 72),
        word(page, REWRITES),
        word(page, PATTERN_PAGES),
        word(page, 104),
        word(page, 112),
        word(page, 120),
        word(page, 128));
  }

  private static long word(MemorySegment page, long at) {
    return page.get(ValueLayout.JAVA_LONG, at);
  }
}
