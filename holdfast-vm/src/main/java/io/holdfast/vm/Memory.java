package io.holdfast.vm;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.stream.LongStream;

/** Whether the host has memory for a VM, or for a successor beside the predecessor. */
public final class Memory {
  /** What a QEMU takes for itself: its own pages, and under TCG its translated code. */
  private static final long OWN = 256L << 20;

  /** Page tables of the mapped guest RAM: 8 bytes for each 4 KiB. */
  private static final int TABLES = 512;

  private Memory() {}

  /**
   * Why a VM can't be started, if so: all of its RAM is taken at its start.
   *
   * @param ram guest RAM in bytes
   */
  public static Optional<String> lacking(long ram) throws IOException {
    long available = available();
    return available - OWN >= ram
        ? Optional.empty()
        : Optional.of(
            "%d MiB of RAM and %d MiB for QEMU itself are needed, and %d MiB are available; free memory, or take less"
                .formatted(ram >> 20, OWN >> 20, available >> 20));
  }

  /** Why a VM's successor can't be started, if so. */
  public static Optional<Obstacle> obstacle(VmSpec spec) throws IOException {
    long needed = forSuccessor(spec);
    long available = available();
    return available >= needed
        ? Optional.empty()
        : Optional.of(
            new Obstacle(
                "host memory",
                "a successor of VM %s needs about %d MiB beside the guest's RAM, and %d MiB are available"
                    .formatted(spec.name(), needed >> 20, available >> 20),
                "Free memory, or move another guest away first."));
  }

  /**
   * How many of these VMs' successors can be there at once, whichever they are.
   *
   * @param available bytes
   */
  public static int fitting(List<VmSpec> promises, long available) {
    long[] needed = largestFirst(promises);
    int fitting = 0;
    long sum = 0;
    while (fitting < needed.length && sum + needed[fitting] <= available) {
      sum += needed[fitting++];
    }
    return fitting;
  }

  /** Why so many successors can't be there at once. */
  public static Obstacle obstacle(
      List<VmSpec> promises, int together, int fitting, long available) {
    long needed = LongStream.of(largestFirst(promises)).limit(together).sum();
    return new Obstacle(
        "host memory",
        "%d successors at once need about %d MiB beside the guests' RAM, and %d MiB are available"
            .formatted(together, needed >> 20, available >> 20),
        fitting == 0
            ? "Free memory, or move a guest away first."
            : "Update fewer at once: --parallel %d fits.".formatted(fitting));
  }

  private static long[] largestFirst(List<VmSpec> promises) {
    return promises.stream()
        .map(Memory::forSuccessor)
        .sorted(Comparator.reverseOrder())
        .mapToLong(Long::longValue)
        .toArray();
  }

  /** What a VM's successor takes besides the guest's RAM, which it shares, in bytes. */
  public static long forSuccessor(VmSpec spec) {
    return OWN + spec.memory() / TABLES;
  }

  /**
   * How much of a memfd has no pages, such as what a guest gave back by its balloon, in bytes.
   * Preserving it allocates all of that (Linux, mm/memfd_luo.c).
   */
  public static long unallocated(Linux linux, Fd memfd) {
    // Opened anew: the position of the one that is held is everybody's.
    try (Fd own = linux.open(Path.of("/proc/self/fd/" + memfd.number()), OpenFlag.READ)) {
      long size = linux.size(own);
      long allocated = 0;
      for (OptionalLong data = linux.nextData(own, 0); data.isPresent(); ) {
        long hole = linux.nextHole(own, data.getAsLong());
        allocated += hole - data.getAsLong();
        data = hole < size ? linux.nextData(own, hole) : OptionalLong.empty();
      }
      return size - allocated;
    }
  }

  /** Whether a part of a memfd has no pages, such as what a guest gave back by its balloon. */
  static boolean hasHoles(Linux linux, Fd memfd) {
    try (Fd own = linux.open(Path.of("/proc/self/fd/" + memfd.number()), OpenFlag.READ)) {
      return linux.nextHole(own, 0) < linux.size(own);
    }
  }

  /** Why memfds can't be preserved that lack so many bytes of pages, if so. */
  public static Optional<Obstacle> forPreserving(long unallocated) throws IOException {
    long available = available();
    return available >= unallocated
        ? Optional.empty()
        : Optional.of(
            new Obstacle(
                "host memory",
                "preserving gives pages to all that guests gave back or never used, %d MiB, and %d MiB are available"
                    .formatted(unallocated >> 20, available >> 20),
                "Free memory, or move a guest away first."));
  }

  /** MemAvailable of /proc/meminfo (proc(5)), in bytes. */
  public static long available() throws IOException {
    return Files.readAllLines(Path.of("/proc/meminfo")).stream()
        .filter(line -> line.startsWith("MemAvailable:"))
        .map(line -> line.replaceAll("[^0-9]", ""))
        .mapToLong(kib -> Long.parseLong(kib) * 1024)
        .findFirst()
        .orElse(Long.MAX_VALUE);
  }
}
