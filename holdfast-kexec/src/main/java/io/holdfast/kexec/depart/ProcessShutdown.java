package io.holdfast.kexec.depart;

import io.holdfast.core.participant.Step;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/**
 * A host whose first program does not stop services by itself: every process gets SIGTERM, and
 * SIGKILL if it does not end by that, but for the first program, the agent, its ancestors, and
 * those that it names. Then file systems are written out and unmounted, as far as nobody has them
 * open.
 */
public final class ProcessShutdown implements HostShutdown {
  private static final Duration PATIENCE = Duration.ofSeconds(10);
  private static final Duration LIMIT = Duration.ofMinutes(2);
  private static final LateLogger LOG = new LateLogger(ProcessShutdown.class);

  /** What a kernel keeps in memory, or shows; there is nothing to write out. */
  private static final Set<String> VIRTUAL =
      Set.of(
          "autofs",
          "binfmt_misc",
          "bpf",
          "cgroup",
          "cgroup2",
          "configfs",
          "debugfs",
          "devpts",
          "devtmpfs",
          "efivarfs",
          "fusectl",
          "hugetlbfs",
          "mqueue",
          "proc",
          "pstore",
          "ramfs",
          "securityfs",
          "sysfs",
          "tmpfs",
          "tracefs");

  private final Linux linux;
  private final Supplier<Set<Integer>> spared;

  /**
   * @param spared the processes that go on until the kexec: VMs, the descriptor store
   */
  public ProcessShutdown(Linux linux, Supplier<Set<Integer>> spared) {
    this.linux = linux;
    this.spared = spared;
  }

  @Override
  public String describe() {
    return "all processes but the VMs, the agent and those that it descends from get SIGTERM, and after "
        + PATIENCE.toSeconds()
        + " s SIGKILL";
  }

  @Override
  public Duration limit() {
    return LIMIT;
  }

  @Override
  public void stopTheRest(Step step) throws IOException {
    Set<Integer> stays = new HashSet<>(spared.get());
    stays.add(1);
    Map<Integer, Integer> parents = parents();
    for (int pid = (int) ProcessHandle.current().pid();
        pid > 0;
        pid = parents.getOrDefault(pid, 0)) {
      stays.add(pid);
    }
    List<PidFd> left = new ArrayList<>();
    for (Map.Entry<Integer, Integer> each : parents.entrySet()) {
      int pid = each.getKey();
      // 2 is the kernel's own, and the parent of its threads.
      if (!stays.contains(pid) && pid != 2 && each.getValue() != 2) {
        signalled(pid).ifPresent(left::add);
      }
    }
    step.progress("stopping " + left.size() + " processes");
    long end = System.nanoTime() + PATIENCE.toNanos();
    int killed = 0;
    for (PidFd process : left) {
      try (process) {
        Duration patience = Duration.ofNanos(Math.max(0, end - System.nanoTime()));
        if (!process.awaitExit(patience)) {
          killed++;
          var _ = process.signal(Signal.KILL);
          var _ = process.awaitExit(Duration.ofSeconds(1));
        }
      }
    }
    step.note("stopped", Integer.toString(left.size()));
    step.note("killed", Integer.toString(killed));
    try (SyncThread syncing = new SyncThread(linux)) {
      syncing.sync(step);
    }
    unmount(step);
  }

  private java.util.Optional<PidFd> signalled(int pid) {
    try {
      PidFd process = linux.pidfd(pid);
      if (process.signal(Signal.TERM)) {
        return java.util.Optional.of(process);
      }
      process.close();
    } catch (SystemCallException e) {
      LOG.get().log(System.Logger.Level.DEBUG, "process " + pid + " has ended by itself", e);
    }
    return java.util.Optional.empty();
  }

  /** The parent of every process there is. */
  private static Map<Integer, Integer> parents() throws IOException {
    Map<Integer, Integer> parents = new HashMap<>();
    try (DirectoryStream<Path> all = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
      for (Path each : all) {
        try {
          String stat = Files.readString(each.resolve("stat"), StandardCharsets.ISO_8859_1);
          String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ", 3);
          parents.put(Integer.parseInt(each.getFileName().toString()), Integer.parseInt(fields[1]));
        } catch (IOException e) {
          LOG.get().log(System.Logger.Level.DEBUG, each + " has ended", e);
        }
      }
    }
    return parents;
  }

  /** Whatever is still open somewhere stays mounted; it is written out. */
  private void unmount(Step step) throws IOException {
    List<Path> mounted = new ArrayList<>();
    for (String line : Files.readAllLines(Path.of("/proc/self/mounts"), StandardCharsets.UTF_8)) {
      String[] fields = line.split(" ", 4);
      if (!VIRTUAL.contains(fields[2]) && !fields[2].startsWith("fuse")) {
        mounted.add(Path.of(fields[1].replace("\\040", " ").replace("\\011", "\t")));
      }
    }
    mounted.sort(Comparator.comparingInt(Path::getNameCount).reversed());
    List<String> stay = new ArrayList<>();
    for (Path each : mounted) {
      try {
        if (each.getNameCount() == 0) {
          linux.mounts().makeReadOnly(each);
        } else {
          linux.mounts().unmount(each);
        }
      } catch (SystemCallException e) {
        stay.add(each + " (" + e.errno() + ")");
      }
    }
    if (!stay.isEmpty()) {
      step.note("still-mounted", String.join(", ", stay));
    }
  }

  @Override
  public void leave(Linux system) {
    system.kexec().execute();
  }

  @Override
  public void goesOn(String why) {
    // Whose processes these were does not start them again because of us.
  }
}
