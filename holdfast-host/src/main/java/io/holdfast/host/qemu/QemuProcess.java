package io.holdfast.host.qemu;

import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.ExitStatus;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SpawnRequest;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixListener;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * One generation of a VM: a QEMU process, its control channel, and the directory of its names on the host.
 *
 * <p>Closing this object leaves the process running; {@link #end} ends it.
 */
public final class QemuProcess implements AutoCloseable {
  private static final Duration START = Duration.ofSeconds(30);
  private static final Duration DEATH = Duration.ofSeconds(30);

  /**
   * Who a process is, across the death of the agent: a number may be used again, the pair is not.
   *
   * @param pid its number
   * @param startTime when it started, in clock ticks since boot (field 22 of /proc/PID/stat, proc(5))
   */
  public record Identity(int pid, long startTime) {
    /** Reads what {@link #toString} wrote. */
    public static Identity parse(String text) {
      int at = text.indexOf('@');
      return new Identity(Integer.parseInt(text.substring(0, at)), Long.parseLong(text.substring(at + 1)));
    }

    @Override
    public String toString() {
      return pid + "@" + startTime;
    }
  }

  private final Identity identity;
  private final Optional<ChildProcess> child;
  private final PidFd pidfd;
  private final Qmp qmp;
  private final Path directory;
  private final QemuBinary binary;

  private QemuProcess(
      Identity identity, Optional<ChildProcess> child, PidFd pidfd, Qmp qmp, Path directory, QemuBinary binary) {
    this.identity = identity;
    this.child = child;
    this.pidfd = pidfd;
    this.qmp = qmp;
    this.directory = directory;
    this.binary = binary;
  }

  /**
   * Starts a generation and waits until it answers. Guest RAM is mapped and populated by then.
   *
   * @param directory of this generation, existing; gets the control socket and what QEMU prints
   * @param descriptors the VM's, by their number in {@link CommandLine}; borrowed
   * @throws IOException if QEMU does not come up, with what it said; nothing is left of it then
   */
  static QemuProcess start(
      Linux linux,
      QemuBinary binary,
      Promise promise,
      Path directory,
      Path consoleLog,
      Map<Integer, Fd> descriptors,
      boolean incoming)
      throws IOException {
    String who = (incoming ? "the successor of " : "QEMU of ") + promise.name();
    Path socket = socket(directory);
    Path said = output(directory);
    Files.deleteIfExists(socket);
    try (UnixListener listener = linux.listen(socket, 4);
        Fd log = linux.open(said, OpenFlag.CREATE, OpenFlag.WRITE, OpenFlag.APPEND)) {
      Map<Integer, Fd> inherited = new HashMap<>(descriptors);
      inherited.put(CommandLine.QMP, listener.fd());
      List<String> command = CommandLine.build(binary.path(), promise, consoleLog, incoming);
      ChildProcess child = linux.spawn(SpawnRequest.of(command).withInherited(inherited).withOutput(log));
      listener.close();
      try {
        Qmp qmp = Qmp.connect(linux, socket, who, START);
        return new QemuProcess(
            new Identity(child.pid(), startTime(child.pid())),
            Optional.of(child),
            child.pidfd(),
            qmp,
            directory,
            binary);
      } catch (IOException | SystemCallException e) {
        boolean unused = child.pidfd().signal(Signal.KILL);
        Optional<ExitStatus> status = child.waitFor(DEATH);
        child.close();
        throw new IOException(
            who
                + " ("
                + binary.path()
                + ") did not come up: "
                + said(said).orElse(e.getMessage() + status.map(s -> ", " + s).orElse("")),
            e);
      }
    } catch (IOException | SystemCallException e) {
      Files.deleteIfExists(socket);
      throw e;
    }
  }

  /**
   * Finds a generation again that another agent started.
   *
   * @return empty if that process is gone
   * @throws IOException if it is there but does not answer
   */
  static Optional<QemuProcess> attach(Linux linux, Identity identity, QemuBinary binary, Path directory, String who)
      throws IOException {
    Optional<PidFd> found = find(linux, identity);
    if (found.isEmpty()) {
      return Optional.empty();
    }
    PidFd pidfd = found.get();
    try {
      Qmp qmp = Qmp.connect(linux, socket(directory), who, START);
      return Optional.of(new QemuProcess(identity, Optional.empty(), pidfd, qmp, directory, binary));
    } catch (IOException | SystemCallException e) {
      boolean dead = pidfd.hasExited();
      pidfd.close();
      if (dead) {
        return Optional.empty();
      }
      throw new IOException(who + " (process " + identity.pid() + ") runs but does not answer: " + e.getMessage(), e);
    }
  }

  /** A handle of exactly this process, empty if it is gone. */
  static Optional<PidFd> find(Linux linux, Identity identity) {
    PidFd pidfd;
    try {
      pidfd = linux.pidfd(identity.pid());
    } catch (SystemCallException e) {
      return Optional.empty();
    }
    try {
      // Read after the handle is open: the number can't have changed hands in between.
      if (startTime(identity.pid()) == identity.startTime() && !pidfd.hasExited()) {
        return Optional.of(pidfd);
      }
    } catch (IOException e) {
      System.getLogger(QemuProcess.class.getName()).log(System.Logger.Level.DEBUG, "no process " + identity, e);
    }
    pidfd.close();
    return Optional.empty();
  }

  private static long startTime(int pid) throws IOException {
    String stat = Files.readString(Path.of("/proc/" + pid + "/stat"), StandardCharsets.ISO_8859_1);
    // The command name, in parentheses, may itself hold spaces and parentheses.
    String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
    return Long.parseLong(fields[19]);
  }

  private static Path socket(Path directory) {
    return directory.resolve("qmp.sock");
  }

  private static Path output(Path directory) {
    return directory.resolve("qemu.log");
  }

  private static Optional<String> said(Path log) throws IOException {
    String text = Files.exists(log) ? Files.readString(log, StandardCharsets.UTF_8).strip() : "";
    return text.isEmpty() ? Optional.empty() : Optional.of(String.join("; ", text.lines().limit(5).toList()));
  }

  /** Who this process is. */
  public Identity identity() {
    return identity;
  }

  /** The binary that it runs. */
  public QemuBinary binary() {
    return binary;
  }

  /** Its control channel. */
  public Qmp qmp() {
    return qmp;
  }

  /** The directory of this generation's names. */
  public Path directory() {
    return directory;
  }

  /** Whether it has ended. */
  public boolean hasExited() {
    return pidfd.hasExited();
  }

  /** QEMU's run state, such as {@code running}, {@code paused} or {@code postmigrate}. */
  String status() throws QmpException {
    return qmp.execute("query-status").object("return").string("status");
  }

  /** Switches migration capabilities on. */
  void enable(String... capabilities) throws QmpException {
    List<JsonObject> on =
        List.of(capabilities).stream().map(c -> JsonObject.of("capability", c, "state", true)).toList();
    JsonObject unused = qmp.execute("migrate-set-capabilities", JsonObject.of("capabilities", on));
  }

  /**
   * Fences it: from here on no thread of it returns to user mode, and it can't refuse. Much cheaper than killing it,
   * which unmaps the guest's memory; {@link #end} follows when the guest runs again.
   */
  void fence() {
    boolean unused = pidfd.signal(Signal.STOP);
  }

  /**
   * Ends it by SIGKILL, waits until it is gone, and removes its names. Does nothing to one that has ended.
   *
   * @throws IOException if it does not go: it hangs in the kernel
   */
  void end() throws IOException {
    boolean unused = pidfd.signal(Signal.KILL);
    qmp.close();
    if (!pidfd.awaitExit(DEATH)) {
      throw new IOException(
          "process " + identity.pid() + " was killed but does not end: it hangs in the kernel (see /proc/"
              + identity.pid() + "/stack)");
    }
    child.ifPresent(ChildProcess::reap);
    close();
    Files.deleteIfExists(socket(directory));
    Files.deleteIfExists(output(directory));
    Files.deleteIfExists(directory);
  }

  /** How it ended, once it has; empty for one that another agent started. */
  Optional<ExitStatus> exitStatus() {
    return child.flatMap(c -> c.waitFor(DEATH));
  }

  /** What it printed, empty if nothing. */
  Optional<String> said() {
    try {
      return said(output(directory));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  /** Lets go of the process, which goes on. */
  @Override
  public void close() {
    qmp.close();
    child.ifPresentOrElse(ChildProcess::close, pidfd::close);
  }
}
