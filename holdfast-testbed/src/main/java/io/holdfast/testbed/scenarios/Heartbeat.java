package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Optional;

/**
 * The test guest's heartbeat page (guest/README.md), read in the guest's memory from outside.
 *
 * @param at where the page lies in the guest's memory
 * @param counter turns of the guest's loop
 * @param boot another one in each boot of the guest
 * @param cpu digest of its CPUID
 * @param cpuRuns how often the digest was computed
 * @param clock its CLOCK_MONOTONIC at the last turn, in nanoseconds
 * @param rewrites pages of its changing pattern that it has rewritten
 * @param pages in that pattern
 * @param wrong pages of its changing pattern that it found wrong
 * @param gap the largest by its own clock, in nanoseconds
 */
record Heartbeat(
    long at,
    long counter,
    long boot,
    long cpu,
    long cpuRuns,
    long clock,
    long rewrites,
    long pages,
    long wrong,
    long gap) {
  /** Where {@link #rewrites} is in the page. */
  static final long REWRITES = 80;

  private static final long PAGE = 4096;
  private static final int SEARCHES = 5;

  /**
   * Reads it. It is looked for several times: a guest that moves its page to where was looked
   * already has one all the same.
   */
  static Heartbeat of(Linux linux, VarlinkClient agent, String vm) throws IOException {
    for (int i = 0; i < SEARCHES; i++) {
      Optional<Heartbeat> found = search(linux, agent, vm);
      if (found.isPresent()) {
        return found.get();
      }
    }
    throw new IOException("VM " + vm + " has no heartbeat page: its guest is not up");
  }

  private static Optional<Heartbeat> search(Linux linux, VarlinkClient agent, String vm)
      throws IOException {
    try (Reply reply = agent.call("io.holdfast.Vm.Memory", JsonObject.of("name", vm), List.of());
        Fd ram = reply.descriptors().take(0);
        Mapping mapping = linux.map(ram, 0, linux.size(ram), Protection.READ)) {
      MemorySegment memory = mapping.segment();
      for (long at = 0; at < memory.byteSize(); at += PAGE) {
        boolean page = true;
        for (int k = 0; page && k < 4; k++) {
          page = memory.get(ValueLayout.JAVA_LONG, at + 8L * k) == Guest.magic(k);
        }
        if (page) {
          return Optional.of(
              new Heartbeat(
                  at,
                  memory.get(ValueLayout.JAVA_LONG, at + 40),
                  memory.get(ValueLayout.JAVA_LONG, at + 48),
                  memory.get(ValueLayout.JAVA_LONG, at + 64),
                  memory.get(ValueLayout.JAVA_LONG, at + 72),
                  memory.get(ValueLayout.JAVA_LONG, at + 56),
                  memory.get(ValueLayout.JAVA_LONG, at + REWRITES),
                  memory.get(ValueLayout.JAVA_LONG, at + 88),
                  memory.get(ValueLayout.JAVA_LONG, at + 104),
                  memory.get(ValueLayout.JAVA_LONG, at + 128)));
        }
      }
      return Optional.empty();
    }
  }
}
