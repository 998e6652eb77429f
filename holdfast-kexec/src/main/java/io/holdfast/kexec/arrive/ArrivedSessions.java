package io.holdfast.kexec.arrive;

import io.holdfast.kexec.manifest.Handover;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.kexec.session.KeptSessions;
import io.holdfast.kexec.session.SessionGuard;
import io.holdfast.kexec.session.StoredSessions;
import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.WholeFile;
import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.LockSupport;

/**
 * Sessions of the previous kernel: in the descriptor store, or still in the kernel. One that is
 * fetched from there is in the descriptor store before anybody uses it. Not for several threads at
 * once.
 */
public final class ArrivedSessions {
  private static final String DEVICE = "/dev/liveupdate";
  private static final LateLogger LOG = new LateLogger(ArrivedSessions.class);

  private final Linux linux;
  private final KeptSessions kept;
  private final SessionGuard guard;
  private final Path settled;
  private final Host host;

  /** Sessions that the descriptor store did not take: closing one would discard what is in it. */
  private final Map<String, IncomingSession> unkept = new HashMap<>();

  /** A session may be open in this process of which nobody has the number. */
  private boolean uncertain;

  /**
   * The host.
   *
   * @param root of its files
   * @param patience how long another program may have the device
   */
  public record Host(Path root, Duration patience) {
    static final Host REAL = new Host(Path.of("/"), Duration.ofSeconds(5));
  }

  /**
   * @param settled the file that says that this kernel has no session of ours any more
   */
  ArrivedSessions(Linux linux, KeptSessions kept, SessionGuard guard, Path settled, Host host) {
    this.linux = linux;
    this.kept = kept;
    this.guard = guard;
    this.settled = settled;
    this.host = host;
  }

  /**
   * Finds the session that tells of all others.
   *
   * @return the caller's to close; empty if nothing arrived, or it is over
   * @throws IOException if there may be one that cannot be had; nothing was changed then
   */
  Optional<IncomingSession> main() throws IOException {
    Optional<IncomingSession> kept = kept(Manifest.SESSION);
    if (kept.isPresent() || isSettled()) {
      return kept;
    }
    if (!Files.exists(device())) {
      checkNoDriver();
      return Optional.empty();
    }
    guard.begin();
    IncomingSession session;
    try {
      session = fetch(Manifest.SESSION);
    } catch (SystemCallException e) {
      refused(e);
      return Optional.empty();
    }
    keep(Manifest.SESSION, session);
    return Optional.of(session);
  }

  /** A kernel that has the device, without the file by which it is opened, may have sessions. */
  private void checkNoDriver() throws IOException {
    Path registered = host.root.resolve("proc/misc");
    Handover handover = Handover.find(host.root);
    if (handover.possible()
        && Files.exists(registered)
        && Files.readAllLines(registered).stream().anyMatch(l -> l.endsWith(" liveupdate"))) {
      throw new IOException(
          "cannot tell whether VMs arrived from the previous kernel: "
              + device()
              + " is missing, and the kernel has that device ("
              + registered
              + "). That kernel may have handed memory over ("
              + handover.evidence()
              + "), so the agent does not start; what may have arrived is untouched. Start the agent"
              + " when udev or devtmpfs has made the file, and where it can see it");
    }
  }

  /** Returns if it is certain that nothing of ours arrived. */
  private void refused(SystemCallException refusal) throws IOException {
    if (refusal.errno() == Errno.ENOENT) {
      if (refusal.call() == Call.IOCTL) {
        settle();
      }
      return;
    }
    Handover handover = Handover.find(host.root);
    Optional<String> nothing = nothing(refusal.errno(), handover);
    if (nothing.isEmpty()) {
      throw new IOException(
          "cannot tell whether VMs arrived from the previous kernel: "
              + sentence(refusal)
              + " That kernel may have handed memory over ("
              + handover.evidence()
              + "), so the agent does not start; what may have arrived is untouched. "
              + advice(refusal.errno()),
          refusal);
    }
    LOG.get()
        .log(
            System.Logger.Level.WARNING,
            "no VM arrived from the previous kernel ("
                + nothing.get()
                + "), although its sessions cannot be retrieved: "
                + refusal.getMessage());
  }

  /** Why it is certain that nothing of ours arrived; empty if it is not. */
  private Optional<String> nothing(Errno errno, Handover handover) {
    if (!handover.possible()) {
      return Optional.of(handover.evidence());
    }
    if (isPermission(errno) && linux.effectiveUser() != 0) {
      return Optional.of("the agent is not root's");
    }
    // Where systemd crosses, sessions come by its descriptor store only, and are not there.
    return errno == Errno.EBUSY
            && Files.exists(host.root.resolve("run/systemd/system"))
            && holds(host.root.resolve("proc/1"), DEVICE)
        ? Optional.of("systemd has taken what did, and its descriptor store has nothing of it")
        : Optional.empty();
  }

  /** What failed, with or without advice, as a whole sentence. */
  static String sentence(Exception e) {
    String message = String.valueOf(e.getMessage());
    return message.endsWith(".") ? message : message + ".";
  }

  private static boolean isPermission(Errno errno) {
    return errno == Errno.EACCES || errno == Errno.EPERM;
  }

  /**
   * Finds a box's session.
   *
   * @return the caller's to close; empty if there is none in this kernel
   * @throws IOException if it cannot be guarded
   * @throws RuntimeException if there is one, or may be one, that cannot be had or kept
   */
  Optional<IncomingSession> box(String name) throws IOException {
    IncomingSession open = unkept.get(name);
    if (open != null) {
      keep(name, open);
      return Optional.of(open);
    }
    Optional<IncomingSession> kept = kept(name);
    if (kept.isPresent() || !Files.exists(device())) {
      return kept;
    }
    guard.begin();
    IncomingSession session;
    try {
      session = fetch(name);
    } catch (SystemCallException e) {
      if (e.errno() == Errno.ENOENT) {
        return Optional.empty();
      }
      throw e;
    }
    keep(name, session);
    return Optional.of(session);
  }

  /** Ends the guard, unless a session is open there and in this process only. */
  void release() {
    if (unkept.isEmpty() && !uncertain) {
      guard.close();
    }
  }

  /** Writes down that no session is left in this kernel, for the next agent of this boot. */
  void settle() throws IOException {
    WholeFile.write(settled, StoredSessions.boot() + "\n");
  }

  private boolean isSettled() throws IOException {
    return Files.exists(settled) && Files.readString(settled).strip().equals(StoredSessions.boot());
  }

  private Path device() {
    return host.root.resolve("dev/liveupdate");
  }

  private Optional<IncomingSession> kept(String name) {
    return kept.find(name).map(linux.liveUpdate()::adoptIncoming);
  }

  /** Puts a session into the descriptor store, or keeps it open if that fails. */
  private void keep(String name, IncomingSession session) {
    unkept.put(name, session);
    kept.put(name, session.fd());
    unkept.remove(name);
    uncertain = false;
  }

  /** Another program that fetches a session of its own has the device open for a moment only. */
  private IncomingSession fetch(String name) {
    long end = System.nanoTime() + host.patience.toNanos();
    while (true) {
      try {
        uncertain = true;
        return linux.liveUpdate().retrieve(name);
      } catch (SystemCallException e) {
        uncertain = false;
        if (e.errno() != Errno.EBUSY || System.nanoTime() - end > 0) {
          throw e;
        }
        LockSupport.parkNanos(5_000_000);
      }
    }
  }

  private String advice(Errno errno) {
    if (errno == Errno.EBUSY) {
      return "End the program that has it open ("
          + holders(DEVICE)
          + "), then start the agent again";
    }
    if (errno == Errno.EINVAL) {
      return "The process that has the session ("
          + holders(SessionGuard.LINK + Manifest.SESSION)
          + ") must release it to an agent of its own run directory (--run): start that agent, and"
          + " this one when the update has ended there";
    }
    if (isPermission(errno)) {
      return "Allow the agent to open /dev/liveupdate (DeviceAllow= of its service, the security"
          + " module), then start it again";
    }
    return "See why in the kernel's log (dmesg | grep -e luo -e KHO), then start the agent again. If"
        + " that does not help, only a reboot does: it discards all that may have arrived";
  }

  /** The processes that have a file open, as far as /proc tells, for people. */
  private String holders(String link) {
    StringBuilder found = new StringBuilder();
    try (DirectoryStream<Path> processes =
        Files.newDirectoryStream(host.root.resolve("proc"), "[0-9]*")) {
      for (Path process : processes) {
        if (holds(process, link)) {
          found.append(found.isEmpty() ? "process " : ", process ");
          found.append(process.getFileName());
        }
      }
    } catch (IOException | DirectoryIteratorException e) {
      LOG.get().log(System.Logger.Level.DEBUG, "looking for who has " + link, e);
    }
    return found.isEmpty() ? "which one is unknown" : found.toString();
  }

  private static boolean holds(Path process, String link) {
    try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(process.resolve("fd"))) {
      for (Path each : descriptors) {
        if (Files.readSymbolicLink(each).toString().equals(link)) {
          return true;
        }
      }
    } catch (IOException | DirectoryIteratorException e) {
      return false; // It has ended meanwhile.
    }
    return false;
  }
}
