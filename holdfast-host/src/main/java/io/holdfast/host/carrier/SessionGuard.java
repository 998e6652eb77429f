package io.holdfast.host.carrier;

import io.holdfast.host.keeper.Keeper;
import io.holdfast.host.qemu.QemuProcess.Identity;
import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * Keeps incoming sessions open over the death of the agent in the moment between the kernel's
 * making their descriptor and the keeper's having it: an idle process shares the agent's table of
 * descriptors meanwhile.
 *
 * <p>As long as that process lives, what the dead agent had is open and locked. So the next agent
 * sees to it before anything else.
 */
public final class SessionGuard implements AutoCloseable {
  private static final Duration DEATH = Duration.ofSeconds(10);

  /** How the kernel names a session's descriptor ({@code kernel/liveupdate/luo_session.c}). */
  static final String LINK = "anon_inode:[luo_session] ";

  private final Linux linux;
  private final Path record;
  private final Map<String, Fd> found = new HashMap<>();
  private Optional<ChildProcess> process = Optional.empty();

  private SessionGuard(Linux linux, Path record) {
    this.linux = linux;
    this.record = record;
  }

  /**
   * Makes a guard, and takes what one holds whose agent is dead; that one is gone then.
   *
   * @param record the file that tells the next agent of it
   * @throws IOException if it holds something that can't be had
   */
  public static SessionGuard open(Linux linux, Path record) throws IOException {
    SessionGuard guard = new SessionGuard(linux, record);
    if (!Files.exists(record)) {
      return guard;
    }
    String[] words = Files.readString(record).strip().split(" ", 2);
    Optional<PidFd> agent = Identity.parse(words[1]).find(linux);
    if (agent.isPresent()) {
      // At work: whoever wants this run directory is told so by its lock.
      agent.get().close();
      return guard;
    }
    Optional<PidFd> left = Identity.parse(words[0]).find(linux);
    if (left.isPresent()) {
      try (PidFd old = left.get()) {
        guard.take(old);
        if (!guard.found.isEmpty()) {
          // From one hand to the other: this agent may be killed as well.
          guard.begin();
        } else {
          Files.deleteIfExists(record);
        }
        var _ = old.signal(Signal.KILL);
        var _ = old.awaitExit(DEATH);
      }
    }
    return guard;
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

  /** Gives the keeper what was found. */
  public void keep(Keeper keeper) throws IOException {
    found.forEach(
        (name, fd) -> {
          try (fd) {
            keeper.keep(Arrival.SESSIONS + name, fd);
          }
        });
    found.clear();
    end();
  }

  /** From now on descriptors outlive this process; does nothing if they do. */
  void begin() throws IOException {
    if (process.isPresent()) {
      return;
    }
    ChildProcess started = linux.shareDescriptors();
    process = Optional.of(started);
    Path aside = record.resolveSibling(record.getFileName() + ".new");
    Files.writeString(
        aside,
        Identity.of(started.pid()) + " " + Identity.of((int) ProcessHandle.current().pid()) + "\n");
    Files.move(aside, record, StandardCopyOption.ATOMIC_MOVE);
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
    Files.deleteIfExists(record);
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
