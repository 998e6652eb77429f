package io.holdfast.agent;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.kexec.check.BootChecks;
import io.holdfast.kexec.check.SystemdChecks;
import io.holdfast.kexec.depart.KernelFiles;
import io.holdfast.kexec.depart.NextKernel;
import io.holdfast.kexec.systemd.Systemctl;
import io.holdfast.kho.image.ImageException;
import io.holdfast.kho.image.KernelImage;
import io.holdfast.kho.image.Preflight;
import io.holdfast.kho.image.Refusal;
import io.holdfast.kho.image.RunningKernel;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.linux.SystemCallException;
import io.holdfast.store.DescriptorStore;
import io.holdfast.vm.Memory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;

/**
 * What is in the way of an update of the kernel as far as the host is concerned. A mismatch that it
 * lets through panics the next kernel, or loses all guests without a word: what it can't find out
 * it says.
 */
final class KernelChecks {
  private static final Path CGROUPS = Path.of("/sys/fs/cgroup");

  /** File systems of which nothing is left on the next kernel. */
  private static final Set<String> VANISHING = Set.of("tmpfs", "ramfs", "rootfs");

  /** What the agent itself and the VMs' processes may take besides guests' memory. */
  private static final long BESIDES = 256L << 20;

  private final Linux linux;
  private final DescriptorStore store;
  private final AgentPaths places;
  private final Supplier<Set<Integer>> qemus;

  /**
   * @param qemus the processes of the VMs
   */
  KernelChecks(
      Linux linux, DescriptorStore store, AgentPaths places, Supplier<Set<Integer>> qemus) {
    this.linux = linux;
    this.store = store;
    this.places = places;
    this.qemus = qemus;
  }

  private Optional<Obstacle> unfinished() {
    String what = "the last update of the kernel";
    try {
      return Arrival.unfinished(store)
          ? Optional.of(
              new Obstacle(
                  what,
                  "it has not ended: a VM that it brought here has yet to come back, and would not"
                      + " survive another kexec",
                  "Bring it back with `holdfast update retry`, or stop it with `holdfast vm stop`,"
                      + " then retry."))
          : Optional.empty();
    } catch (IOException e) {
      return Optional.of(
          new Obstacle(
              what,
              "cannot tell whether it has ended: " + e.getMessage(),
              "Repair that, then retry."));
    }
  }

  /**
   * Looks for all of them.
   *
   * @param files of {@code next}; opened by this
   * @param bytes what is to be preserved
   * @param unallocated what of that has no pages yet
   */
  List<Obstacle> obstacles(NextKernel next, KernelFiles files, long bytes, long unallocated) {
    List<Obstacle> found = new ArrayList<>();
    unfinished().ifPresent(found::add);
    if (Systemctl.booted()) {
      found.addAll(
          new SystemdChecks(
                  Systemctl.system(), Path.of("/"), store.describe(), places.run(), places.socket())
              .obstacles(qemus.get()));
    }
    runDirectory().ifPresent(found::add);
    Optional<Obstacle> unable = liveUpdate();
    unable.ifPresent(found::add);
    if (unable.isEmpty()) {
      image(next, files, found);
    }
    memoryLimit(bytes).ifPresent(found::add);
    try {
      Memory.forPreserving(unallocated).ifPresent(found::add);
    } catch (IOException e) {
      found.add(
          new Obstacle("host memory", "cannot be determined: " + e.getMessage(), "Mount /proc."));
    }
    return found;
  }

  /**
   * What is in there, such as sockets and the records of processes, is this kernel's; the next
   * one's agent would take it for its own.
   */
  private Optional<Obstacle> runDirectory() {
    String what = "the run directory " + places.run();
    try {
      String type = Files.getFileStore(places.run()).type();
      return VANISHING.contains(type)
          ? Optional.empty()
          : Optional.of(
              new Obstacle(
                  what,
                  "it is on "
                      + type
                      + ", where what is of this kernel only would be found by the next one's agent",
                  "Run the agent with a directory on a tmpfs, such as /run/holdfast, and its VMs anew"
                      + " under that one."));
    } catch (IOException e) {
      return Optional.of(
          new Obstacle(
              what, "cannot determine its file system: " + e.getMessage(), "Mount /proc."));
    }
  }

  /** Whether the next kernel would take over what this one hands over. */
  private static void image(NextKernel next, KernelFiles files, List<Obstacle> found) {
    KernelImage from;
    try {
      if (next.running().isPresent()) {
        from = KernelImage.read(next.running().get());
        String runs = Files.readString(Path.of("/proc/version")).strip();
        if (!from.banner().strip().equals(runs)) {
          found.add(
              new Obstacle(
                  "the running kernel",
                  next.running().get()
                      + " is another kernel: that one says \""
                      + from.banner().strip()
                      + "\", and what runs says \""
                      + runs
                      + "\"",
                  "Name the image that was booted."));
          return;
        }
      } else {
        switch (RunningKernel.find(Path.of("/"))) {
          case RunningKernel.Known known -> from = known.image();
          case RunningKernel.Unknown unknown -> {
            found.add(
                new Obstacle(
                    "the running kernel",
                    "what it hands over is not known: " + unknown.reason(),
                    unknown.advice()));
            return;
          }
        }
      }
    } catch (IOException e) {
      found.add(
          new Obstacle(
              "the running kernel",
              "it does not say what it is: " + e.getMessage(),
              "Mount /proc."));
      return;
    } catch (ImageException e) {
      found.add(
          new Obstacle(
              "the running kernel",
              String.valueOf(e.getMessage()),
              "Name the image that was booted with --from."));
      return;
    }
    Optional<String> release = Optional.empty();
    try {
      KernelImage to = to(from, files.open());
      release = Optional.of(to.release());
      for (Refusal refusal : Preflight.check(from, to, next.commandLine())) {
        found.add(new Obstacle("the next kernel", refusal.reason(), refusal.advice()));
      }
    } catch (IOException e) {
      found.add(
          new Obstacle(
              "the next kernel",
              "it can't be read: " + e.getMessage(),
              "Put it where root can read it, such as /boot."));
    } catch (ImageException e) {
      found.add(
          new Obstacle(
              "the next kernel " + next.image(),
              String.valueOf(e.getMessage()).replaceAll("/proc/self/fd/\\d+", "it"),
              "Name a kernel's image."));
    }
    found.addAll(new BootChecks(Path.of("/")).obstacles(next, release));
  }

  /** The next kernel, which may be the same once more: unpacking one takes seconds. */
  private static KernelImage to(KernelImage from, Path next) throws IOException, ImageException {
    return Files.mismatch(from.file(), next) == -1 ? from : KernelImage.read(next);
  }

  /** Whether this kernel can preserve anything, for us. */
  private Optional<Obstacle> liveUpdate() {
    try (OutgoingSession _ = linux.liveUpdate().create("holdfast/plan")) {
      return Optional.empty();
    } catch (SystemCallException e) {
      String advice =
          e.errno() == Errno.ENOENT
              ? "Boot a kernel that has CONFIG_LIVEUPDATE with kho=on liveupdate=on, once."
              : e.errno() == Errno.EBUSY
                  ? "End what has /dev/liveupdate open (fuser /dev/liveupdate), or let that make the"
                      + " update."
                  : "See to what the kernel says of it: dmesg | grep -e luo -e KHO.";
      return Optional.of(
          new Obstacle("the running kernel", String.valueOf(e.getMessage()), advice));
    }
  }

  /**
   * On the other side memory is charged to who retrieves it, and what a limit makes fail there is
   * lost.
   */
  private static Optional<Obstacle> memoryLimit(long bytes) {
    try {
      Path group = CGROUPS;
      Path limiting = group;
      long limit = Long.MAX_VALUE;
      String mine = Files.readString(Path.of("/proc/self/cgroup")).strip();
      for (String part : mine.substring(mine.lastIndexOf("::") + 2).split("/", -1)) {
        group = part.isEmpty() ? group : group.resolve(part);
        Path file = group.resolve("memory.max");
        String text = Files.exists(file) ? Files.readString(file).strip() : "max";
        if (!text.equals("max") && Long.parseLong(text) < limit) {
          limit = Long.parseLong(text);
          limiting = group;
        }
      }
      if (limit < bytes + BESIDES) {
        return Optional.of(
            new Obstacle(
                "the agent's memory limit",
                "cgroup "
                    + limiting
                    + " allows "
                    + (limit >> 20)
                    + " MiB; after the kexec the agent is charged with all that comes back, "
                    + (bytes >> 20)
                    + " MiB, and what a limit refuses then is lost",
                "Run the agent without a limit: no MemoryMax= for its service."));
      }
      return Optional.empty();
    } catch (IOException | NumberFormatException e) {
      return Optional.of(
          new Obstacle(
              "the agent's memory limit",
              "cannot be determined: " + e.getMessage(),
              "Mount the cgroup file system on " + CGROUPS + "."));
    }
  }
}
