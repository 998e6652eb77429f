package io.holdfast.vm.qemu;

import io.holdfast.core.run.Patience;
import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.ExitStatus;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SpawnRequest;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixListener;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * One generation of a VM: a QEMU process, its control channel, and the directory of its names on
 * the host.
 *
 * <p>Closing this object leaves the process running; {@link #end} ends it.
 */
public final class QemuProcess implements AutoCloseable {
  /** What a start may take besides the population of guest RAM. */
  private static final Duration START = Duration.ofSeconds(30);

  /** What the population of a GiB may take: a host that needs longer fills 100 MiB a second. */
  private static final Duration START_OF_A_GIB = Duration.ofSeconds(10);

  private static final Duration ANSWER = Patience.of(Duration.ofSeconds(5));

  /** How long an orderly end may take before the process is killed. */
  private static final Duration QUIT = Duration.ofSeconds(10);

  /** How long it is waited for a process that was killed. */
  public static final Duration DEATH = Duration.ofSeconds(30);

  private final ProcessIdentity identity;
  private final Optional<ChildProcess> child;
  private final Optional<PidFd> pidfd;
  private final Optional<Qmp> qmp;
  private final Path directory;
  private final QemuBinary binary;
  private volatile boolean ended;

  private QemuProcess(
      ProcessIdentity identity,
      Optional<ChildProcess> child,
      Optional<PidFd> pidfd,
      Optional<Qmp> qmp,
      Path directory,
      QemuBinary binary) {
    this.identity = identity;
    this.child = child;
    this.pidfd = pidfd;
    this.qmp = qmp;
    this.directory = directory;
    this.binary = binary;
  }

  /**
   * Starts a generation and waits until it answers. Guest RAM is mapped by then.
   *
   * @param credentials what it may do on the host; the same as the agent if empty
   * @param directory of this generation, existing; gets the control socket and what QEMU prints
   * @param descriptors what it inherits, by label; borrowed
   * @param remaining what is left of the step that it is a part of; empty if it is not part of one
   * @throws IOException if QEMU does not come up within {@link #limit}, with what it said; nothing
   *     is left of it then
   */
  public static QemuProcess start(
      Linux linux,
      QemuBinary binary,
      VmSpec spec,
      Optional<Credentials> credentials,
      Path directory,
      Map<String, Fd> descriptors,
      CommandLine.Start start,
      Optional<Duration> remaining)
      throws IOException {
    Duration limit = limit(spec.memory(), start, remaining);
    String who = (start.incoming ? "the successor of " : "QEMU of ") + spec.name();
    Path socket = socket(directory);
    Path said = output(directory);
    Files.createDirectories(directory);
    Files.deleteIfExists(socket);
    ChildProcess child;
    try (UnixListener listener = linux.listen(socket, 4);
        Fd log = linux.open(said, OpenFlag.CREATE, OpenFlag.WRITE, OpenFlag.APPEND)) {
      Map<String, Fd> all = new HashMap<>(descriptors);
      all.put(CommandLine.QMP, listener.fd());
      Map<String, Integer> numbers = CommandLine.numbers(all);
      Map<Integer, Fd> inherited = new HashMap<>();
      all.forEach((label, fd) -> inherited.put(numbers.get(label), fd));
      List<String> command = new ArrayList<>();
      if (credentials.isPresent()) {
        int agent = Math.toIntExact(ProcessHandle.current().pid());
        command.addAll(credentials.get().before(Credentials.of(agent)));
      }
      command.addAll(CommandLine.of(binary.path(), spec, numbers, start));
      child = linux.spawn(SpawnRequest.of(command).withInherited(inherited).withOutput(log));
    } catch (IOException | SystemCallException | IllegalArgumentException e) {
      removeNames(directory);
      throw e;
    }
    try {
      // It listens already, if only QEMU's end: this connects now and is answered once QEMU is up.
      Qmp qmp = Qmp.connect(linux, socket, who, limit);
      return new QemuProcess(
          ProcessIdentity.of(child.pid()),
          Optional.of(child),
          Optional.of(child.pidfd()),
          Optional.of(qmp),
          directory,
          binary);
    } catch (IOException | SystemCallException e) {
      var _ = child.pidfd().signal(Signal.KILL);
      Optional<ExitStatus> status = child.waitFor(DEATH);
      child.close();
      String why = QemuLog.gist(said).orElse(e.getMessage() + status.map(s -> ", " + s).orElse(""));
      removeNames(directory);
      throw new IOException(who + " (" + binary.path() + ") did not come up: " + why, e);
    }
  }

  /**
   * Returns how long QEMU may take until it answers: 30 s, and 10 s more for each GiB of guest RAM,
   * or part of one, if it populates the RAM before it answers; at most what is left of the step.
   *
   * @param memory guest RAM in bytes
   */
  static Duration limit(long memory, CommandLine.Start start, Optional<Duration> remaining) {
    Duration limit = start.populates ? limit(memory) : Patience.of(START);
    return remaining.filter(left -> left.compareTo(limit) < 0).orElse(limit);
  }

  /**
   * Returns how long a QEMU may take until it answers that populates the guest RAM.
   *
   * @param memory guest RAM in bytes
   */
  public static Duration limit(long memory) {
    return Patience.of(START.plus(START_OF_A_GIB.multipliedBy(gibs(memory))));
  }

  private static long gibs(long bytes) {
    return Math.ceilDiv(bytes, 1L << 30);
  }

  /**
   * Finds a generation again that another agent started. One that has ended is found as such:
   * {@link #hasExited}.
   *
   * @throws IOException if it is there but does not answer
   */
  public static QemuProcess attach(
      Linux linux, ProcessIdentity identity, QemuBinary binary, Path directory, String who)
      throws IOException {
    Optional<PidFd> pidfd = identity.find(linux);
    if (pidfd.isEmpty()) {
      return new QemuProcess(
          identity, Optional.empty(), pidfd, Optional.empty(), directory, binary);
    }
    try {
      if (stopped(identity)) {
        // A fenced one can't answer and never will; it can still be ended.
        return new QemuProcess(
            identity, Optional.empty(), pidfd, Optional.empty(), directory, binary);
      }
      Qmp qmp = Qmp.connect(linux, socket(directory), who, ANSWER);
      return new QemuProcess(
          identity, Optional.empty(), pidfd, Optional.of(qmp), directory, binary);
    } catch (IOException | SystemCallException e) {
      if (pidfd.get().hasExited() || stopped(identity)) {
        return new QemuProcess(
            identity, Optional.empty(), pidfd, Optional.empty(), directory, binary);
      }
      pidfd.get().close();
      throw new IOException(
          who + " (process " + identity.pid() + ") runs but does not answer: " + e.getMessage(), e);
    }
  }

  /**
   * Takes a process that somebody else started for a generation.
   *
   * @param directory of the generation, existing; gets a link to the control socket
   * @param control where it listens; nobody else may be connected
   * @throws IOException if it has ended or does not answer
   */
  public static QemuProcess adopt(
      Linux linux, ProcessIdentity identity, QemuBinary binary, Path directory, Path control)
      throws IOException {
    Files.deleteIfExists(socket(directory));
    Files.createSymbolicLink(socket(directory), control);
    QemuProcess process =
        attach(linux, identity, binary, directory, "the adopted QEMU on " + control);
    if (process.qmp.isEmpty()) {
      process.close();
      throw new IOException("process " + identity.pid() + " has ended, or is stopped by a signal");
    }
    return process;
  }

  private static boolean stopped(ProcessIdentity identity) throws IOException {
    String stat =
        Files.readString(Path.of("/proc/" + identity.pid() + "/stat"), StandardCharsets.ISO_8859_1);
    return stat.charAt(stat.lastIndexOf(')') + 2) == 'T';
  }

  /**
   * Finds a generation whose identity was never written down, because the agent died just after it
   * had started it.
   *
   * @return empty if there is none: nothing listens on its socket
   */
  public static Optional<QemuProcess> attachUnknown(
      Linux linux, QemuBinary binary, Path directory, String who) throws IOException {
    Optional<ProcessIdentity> found = runningOn(directory);
    return found.isPresent()
        ? Optional.of(attach(linux, found.get(), binary, directory, who))
        : Optional.empty();
  }

  /**
   * Ends a generation whose identity was never written down, if there is one, and removes its
   * names.
   */
  public static void endUnknown(Linux linux, Path directory, Duration patience) throws IOException {
    Optional<ProcessIdentity> found = runningOn(directory);
    if (found.isPresent()) {
      endKnown(linux, found.get(), directory, patience);
    }
    removeNames(directory);
  }

  /**
   * Ends a generation that another agent started, whether it answers or not, and removes its names.
   *
   * @throws IOException if it does not go
   */
  public static void endKnown(
      Linux linux, ProcessIdentity identity, Path directory, Duration patience) throws IOException {
    Optional<PidFd> found = identity.find(linux);
    if (found.isPresent()) {
      try (PidFd process = found.get()) {
        var _ = process.signal(Signal.KILL);
        if (!process.awaitExit(patience)) {
          throw hangs(identity);
        }
      }
    }
    removeNames(directory);
  }

  /**
   * Who listens on the control socket of a generation: the process that has it open under {@link
   * CommandLine#QMP_NUMBER}, as /proc/net/unix and /proc/PID/fd tell (proc(5)).
   */
  private static Optional<ProcessIdentity> runningOn(Path directory) throws IOException {
    String path = socket(directory).toString();
    // A connection that the dead agent made has the same name until QEMU has noticed its end.
    List<String> sockets =
        Files.readAllLines(Path.of("/proc/net/unix")).stream()
            .filter(line -> line.endsWith(" " + path))
            .map(line -> "socket:[" + line.trim().split(" +", -1)[6] + "]")
            .toList();
    if (sockets.isEmpty()) {
      return Optional.empty();
    }
    try (DirectoryStream<Path> processes = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
      for (Path process : processes) {
        if (holds(process.resolve("fd/" + CommandLine.QMP_NUMBER), sockets)) {
          return Optional.of(
              ProcessIdentity.of(Integer.parseInt(process.getFileName().toString())));
        }
      }
    }
    return Optional.empty();
  }

  private static boolean holds(Path descriptor, List<String> sockets) {
    try {
      return sockets.contains(Files.readSymbolicLink(descriptor).toString());
    } catch (IOException e) {
      // Somebody else's process, or one that has no such descriptor.
      return false;
    }
  }

  /** Removes a generation's names; for one whose process is gone. */
  public static void removeNames(Path directory) throws IOException {
    Files.deleteIfExists(socket(directory));
    Files.deleteIfExists(output(directory));
    Files.deleteIfExists(directory);
  }

  private static Path socket(Path directory) {
    return directory.resolve("qmp.sock");
  }

  private static Path output(Path directory) {
    return directory.resolve("qemu.log");
  }

  /** Who this process is. */
  public ProcessIdentity identity() {
    return identity;
  }

  /** The binary that it runs. */
  public QemuBinary binary() {
    return binary;
  }

  /**
   * Its control channel.
   *
   * @throws QmpException if it had ended, or a signal had stopped it, when this agent found it
   */
  public Qmp qmp() throws QmpException {
    return qmp.orElseThrow(
        () ->
            new QmpException(
                "Closed",
                "process "
                    + identity.pid()
                    + " does not answer: it had ended, or was stopped by a signal, when this agent"
                    + " found it"));
  }

  /** Passes its QMP events on, if it answers at all. */
  public void follow(Consumer<JsonObject> listener) {
    qmp.ifPresent(channel -> channel.listen(listener));
  }

  /** Where it works, against which relative paths of it are meant; the root if it has ended. */
  public Path workingDirectory() {
    try {
      return Files.readSymbolicLink(Path.of("/proc/" + identity.pid() + "/cwd"));
    } catch (IOException e) {
      return Path.of("/");
    }
  }

  /** The directory of this generation's names. */
  public Path directory() {
    return directory;
  }

  /** Whether a signal had stopped it when this agent found it, so that it could not be asked. */
  public boolean stopped() {
    return qmp.isEmpty() && pidfd.isPresent() && !hasExited();
  }

  /** Whether it has ended. */
  public boolean hasExited() {
    return ended || pidfd.isEmpty() || pidfd.get().hasExited();
  }

  /** What it says of its guest. */
  public RunState runState() throws QmpException {
    return RunState.of(askRunState().await(Qmp.COMMAND));
  }

  /** Asks what its guest does, without waiting; {@link RunState#of(JsonObject)} reads the reply. */
  public Qmp.Pending askRunState() throws QmpException {
    return qmp().send("query-status", JsonObject.empty(), List.of());
  }

  /** Switches migration capabilities on. */
  public void enable(String... capabilities) throws QmpException {
    List<JsonObject> states =
        List.of(capabilities).stream()
            .map(c -> JsonObject.of("capability", c, "state", true))
            .toList();
    var _ = qmp().execute("migrate-set-capabilities", JsonObject.of("capabilities", states));
  }

  /**
   * Fences it: from here on no thread of it returns to user mode, and it can't refuse. Much cheaper
   * than killing it, which unmaps the guest's memory; {@link #end} follows when the guest runs
   * again.
   */
  public void fence() {
    var _ = !ended && pidfd.isPresent() && pidfd.get().signal(Signal.STOP);
  }

  /**
   * Ends it by SIGKILL, waits until it is gone, and removes its names. Does nothing to one that has
   * ended.
   *
   * @throws IOException if it does not go: it hangs in the kernel
   */
  public void end() throws IOException {
    end(DEATH);
  }

  /** As {@link #end()}, with another limit to how long it is waited for. */
  public void end(Duration patience) throws IOException {
    if (ended) {
      removeNames(directory);
      return;
    }
    var _ = pidfd.isPresent() && pidfd.get().signal(Signal.KILL);
    qmp.ifPresent(Qmp::close);
    if (pidfd.isPresent() && !pidfd.get().awaitExit(patience)) {
      throw hangs(identity);
    }
    var _ = child.flatMap(ChildProcess::reap);
    ended = true;
    close();
    removeNames(directory);
  }

  private static IOException hangs(ProcessIdentity identity) {
    return new IOException(
        "process "
            + identity.pid()
            + " was killed but does not end: it hangs in the kernel (see /proc/"
            + identity.pid()
            + "/stack)");
  }

  /**
   * Ends it in good order, so that its disk images are complete; by {@link #end} if that takes too
   * long.
   */
  public void quit() throws IOException {
    if (!hasExited() && qmp.isPresent()) {
      try {
        var _ = qmp().execute("quit", JsonObject.empty(), QUIT, List.of());
      } catch (QmpException e) {
        // It may go before it answers; what counts is whether it goes.
        System.getLogger(QemuProcess.class.getName()).log(System.Logger.Level.DEBUG, "quit", e);
      }
      var _ = pidfd.isPresent() && pidfd.get().awaitExit(QUIT);
    }
    end();
  }

  /** How it ended, once it has; empty for one that another agent started. */
  public Optional<ExitStatus> exitStatus() {
    return child.flatMap(c -> c.waitFor(DEATH));
  }

  /** What it printed, empty if nothing. */
  public Optional<String> said() {
    try {
      return QemuLog.gist(output(directory));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  /** Lets go of the process, which goes on. */
  @Override
  public void close() {
    qmp.ifPresent(Qmp::close);
    child.ifPresentOrElse(ChildProcess::close, () -> pidfd.ifPresent(PidFd::close));
  }
}
