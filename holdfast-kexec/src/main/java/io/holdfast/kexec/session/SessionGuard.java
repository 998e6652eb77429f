package io.holdfast.kexec.session;

import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.store.DescriptorStore;
import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Keeps incoming sessions open over the death of the agent in the moment between the kernel's
 * making their descriptor and the descriptor store's having it: an idle process shares the agent's
 * table of descriptors meanwhile.
 *
 * <p>As long as that process lives, what the dead agent had is open and locked. So the next agent
 * sees to it before anything else. It knows it by the record, a file that is in the shared table:
 * an agent that dies right after the process has begun has nowhere else to say so.
 */
public final class SessionGuard implements AutoCloseable {
  private static final Duration DEATH = Duration.ofSeconds(10);

  /** How the kernel names a session's descriptor ({@code kernel/liveupdate/luo_session.c}). */
  public static final String LINK = "anon_inode:[luo_session] ";

  /** What proc(5) adds to the name of an open file that another one has replaced. */
  private static final String REPLACED = " (deleted)";

  private final Linux linux;
  private final Path record;
  private final Map<String, Fd> found = new HashMap<>();
  private Optional<ChildProcess> process = Optional.empty();
  private Optional<Fd> mark = Optional.empty();

  private SessionGuard(Linux linux, Path record) {
    this.linux = linux;
    this.record = record;
  }

  /**
   * Makes a guard, and takes what those hold whose agents are dead; they are gone then.
   *
   * @param record the file that tells the next agent whose guard there is
   * @throws IOException if one holds something that can't be had
   */
  public static SessionGuard open(Linux linux, Path record) throws IOException {
    SessionGuard guard = new SessionGuard(linux, record);
    if (!Files.exists(record)) {
      return guard;
    }
    Optional<PidFd> agent = ProcessIdentity.parse(Files.readString(record).strip()).find(linux);
    if (agent.isPresent()) {
      // At work: whoever wants this run directory is told so by its lock.
      agent.get().close();
      return guard;
    }
    List<PidFd> left = guard.holders();
    try {
      for (PidFd old : left) {
        guard.take(old);
      }
      if (!guard.found.isEmpty()) {
        // From one hand to the other: this agent may be killed as well.
        guard.begin();
      } else {
        Files.deleteIfExists(record);
      }
      for (PidFd old : left) {
        var _ = old.signal(Signal.KILL);
        var _ = old.awaitExit(DEATH);
      }
    } finally {
      left.forEach(PidFd::close);
    }
    return guard;
  }

  /** The other processes that have a record open, this one or one that it replaced. */
  private List<PidFd> holders() throws IOException {
    String name = record.toRealPath().toString();
    List<PidFd> holders = new ArrayList<>();
    try (DirectoryStream<Path> processes = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
      for (Path each : processes) {
        int pid = Integer.parseInt(each.getFileName().toString());
        if (pid != ProcessHandle.current().pid() && holds(pid, name)) {
          holder(pid, name).ifPresent(holders::add);
        }
      }
    }
    return holders;
  }

  /** Its handle; empty if it went meanwhile. */
  private Optional<PidFd> holder(int pid, String name) {
    PidFd process;
    try {
      process = linux.pidfd(pid);
    } catch (SystemCallException e) {
      return Optional.empty();
    }
    // Once more, now that the number can't change hands.
    if (holds(pid, name)) {
      return Optional.of(process);
    }
    process.close();
    return Optional.empty();
  }

  private static boolean holds(int pid, String name) {
    try (DirectoryStream<Path> all =
        Files.newDirectoryStream(Path.of("/proc", Integer.toString(pid), "fd"))) {
      for (Path each : all) {
        String link = Files.readSymbolicLink(each).toString();
        if (link.equals(name) || link.equals(name + REPLACED)) {
          return true;
        }
      }
    } catch (IOException | DirectoryIteratorException e) {
      // It has ended, is somebody else's, or closes files at this moment, which a guard does not.
      return false;
    }
    return false;
  }

  private void take(PidFd old) throws IOException {
    Path descriptors = Path.of("/proc/" + old.pid() + "/fd");
    try (DirectoryStream<Path> all = Files.newDirectoryStream(descriptors)) {
      for (Path each : all) {
        String link = Files.readSymbolicLink(each).toString();
        if (link.startsWith(LINK)) {
          Fd fd = old.take(Integer.parseInt(each.getFileName().toString()));
          Fd before = found.put(link.substring(LINK.length()), fd);
          if (before != null) {
            before.close();
          }
        }
      }
    }
  }

  /** Gives the descriptor store what was found. */
  public void keep(DescriptorStore store) throws IOException {
    KeptSessions kept = KeptSessions.of(store);
    for (Map.Entry<String, Fd> each : Map.copyOf(found).entrySet()) {
      // The dead agent's own duplicate of one that the descriptor store has is found, too.
      if (!kept.names().contains(each.getKey())) {
        kept.put(each.getKey(), each.getValue());
      }
      // Not before: closing the last one discards what is in the session.
      each.getValue().close();
      found.remove(each.getKey());
    }
    end();
  }

  /** From now on descriptors outlive this process; does nothing if they do. */
  public void begin() throws IOException {
    if (process.isPresent()) {
      return;
    }
    WholeFile.write(record, ProcessIdentity.of((int) ProcessHandle.current().pid()) + "\n");
    mark = Optional.of(linux.open(record, OpenFlag.READ));
    process = Optional.of(linux.shareDescriptors());
  }

  /** From now on this process's death closes what it has open. Idempotent. */
  void end() throws IOException {
    if (process.isPresent()) {
      try (ChildProcess ended = process.get()) {
        var _ = ended.pidfd().signal(Signal.KILL);
        var _ = ended.waitFor(DEATH);
      }
      process = Optional.empty();
    }
    if (mark.isPresent()) {
      // Else the record, if there is one, is that of another agent, which is at work.
      mark.get().close();
      mark = Optional.empty();
      Files.deleteIfExists(record);
    }
  }

  @Override
  public void close() {
    found.values().forEach(Fd::close);
    found.clear();
    try {
      end();
    } catch (IOException | SystemCallException e) {
      System.getLogger(SessionGuard.class.getName())
          .log(System.Logger.Level.WARNING, "left over: " + record, e);
    }
  }
}
