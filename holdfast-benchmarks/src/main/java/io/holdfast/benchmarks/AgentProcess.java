package io.holdfast.benchmarks;

import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SpawnRequest;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * An agent of its own, with its own run directory, in a session of its own: Ctrl-C does not reach
 * it, whoever started it ends it.
 *
 * <p>It is the installed one if HOLDFAST_BIN names the {@code holdfast} command, else this JVM's
 * own classes. {@link #close} leaves nothing of it: no VM, no process, no file.
 */
public final class AgentProcess implements AutoCloseable {
  private static final Duration START = Duration.ofSeconds(30);
  private static final Duration END = Duration.ofSeconds(15);
  private static final Duration POLL = Duration.ofMillis(20);

  private final Linux linux;
  private final Path directory;
  private final ChildProcess process;
  private final Thread atExit = new Thread(this::close, "end the agent");
  private Duration startTime = Duration.ZERO;
  private volatile boolean closed;
  private boolean ended;

  private AgentProcess(Linux linux, Path directory, ChildProcess process) {
    this.linux = linux;
    this.directory = directory;
    this.process = process;
  }

  /**
   * Starts an agent and waits until its socket answers. When this JVM exits, also by Ctrl-C, the
   * agent is ended as by {@link #close}.
   *
   * @param directory an existing one, from now on this object's: the run directory is made in it,
   *     disks may lie there too, and all is removed at the end
   * @throws IllegalStateException if it doesn't come up, with what it said
   * @throws UncheckedIOException if the directory can't be made
   */
  public static AgentProcess start(Linux linux, Path directory) {
    try {
      Files.createDirectories(run(directory));
    } catch (IOException e) {
      throw new UncheckedIOException("making the agent's run directory in " + directory, e);
    }
    long started = System.nanoTime();
    ChildProcess process;
    try (Fd log =
        linux.open(
            directory.resolve("agent.log"), OpenFlag.CREATE, OpenFlag.WRITE, OpenFlag.APPEND)) {
      process = linux.spawn(SpawnRequest.of(command(directory)).withOutput(log));
    }
    AgentProcess agent = new AgentProcess(linux, directory, process);
    Runtime.getRuntime().addShutdownHook(agent.atExit);
    try {
      agent.awaitSocket(started);
    } catch (RuntimeException e) {
      agent.close();
      throw e;
    }
    return agent;
  }

  private static List<String> command(Path directory) {
    List<String> arguments =
        List.of("--run", run(directory).toString(), "--socket", socket(directory).toString());
    String installed = System.getenv().getOrDefault("HOLDFAST_BIN", "");
    if (installed.isEmpty()) {
      return Jvm.command(
          "io.holdfast.agent",
          "io.holdfast.agent.Agent",
          List.of("-XX:TieredStopAtLevel=1", "-Xmx64m"),
          arguments);
    }
    List<String> command = new ArrayList<>(List.of(installed, "agent"));
    command.addAll(arguments);
    return command;
  }

  private static Path run(Path directory) {
    return directory.resolve("run");
  }

  private static Path socket(Path directory) {
    return run(directory).resolve("agent.sock");
  }

  private void awaitSocket(long started) {
    while (true) {
      try (VarlinkClient client = client()) {
        JsonObject _ = client.call("io.holdfast.Agent.Status", JsonObject.empty());
        startTime = Duration.ofNanos(System.nanoTime() - started);
        return;
      } catch (VarlinkConnectionException e) {
        boolean late = System.nanoTime() - started > START.toNanos();
        if (late || process.waitFor(POLL).isPresent()) {
          throw new IllegalStateException(
              "the agent did not come up%s; it said: %s"
                  .formatted(late ? " within " + START.toSeconds() + " s" : "", said()),
              e);
        }
      }
    }
  }

  /** A new connection to it, the caller's to close. */
  public VarlinkClient client() {
    return VarlinkClient.connect(linux, socket(directory));
  }

  /** The directory that it was given. */
  public Path directory() {
    return directory;
  }

  /** Its process. */
  public int pid() {
    return process.pid();
  }

  /** How long it took from its start to its first answer. */
  public Duration startTime() {
    return startTime;
  }

  /** What it wrote on its standard output and error. */
  public String said() {
    try {
      return Files.readString(directory.resolve("agent.log")).strip();
    } catch (IOException e) {
      return "nothing that can be read: " + e;
    }
  }

  /** Whether it has been ended, or is being. */
  public boolean isClosed() {
    return closed;
  }

  /**
   * Stops its VMs, ends it, ends whatever it started and left, and removes its directory. Does
   * nothing the second time. May be called from any thread; returns when it is done.
   */
  @Override
  public void close() {
    closed = true;
    synchronized (atExit) {
      if (!ended) {
        end();
        ended = true;
      }
    }
    if (Thread.currentThread() != atExit) {
      try {
        boolean _ = Runtime.getRuntime().removeShutdownHook(atExit);
      } catch (IllegalStateException _) {
        // This JVM is exiting; the hook has run or finds nothing to do.
      }
    }
  }

  private void end() {
    List<ProcessHandle> started =
        ProcessHandle.of(process.pid()).stream().flatMap(ProcessHandle::descendants).toList();
    if (process.reap().isEmpty()) {
      stopVms();
      boolean _ = process.pidfd().signal(Signal.TERM);
      if (process.waitFor(END).isEmpty()) {
        boolean _ = process.pidfd().signal(Signal.KILL);
        var _ = process.waitFor();
      }
    }
    // Handles know when their process started, so a number used again is left alone.
    started.stream().filter(ProcessHandle::isAlive).forEach(ProcessHandle::destroyForcibly);
    process.close();
    remove(directory);
  }

  private void stopVms() {
    try (VarlinkClient client = client()) {
      for (JsonObject vm :
          client.call("io.holdfast.Vm.List", JsonObject.empty()).array("vms").objects()) {
        JsonObject _ = client.call("io.holdfast.Vm.Stop", JsonObject.of("name", vm.string("name")));
      }
    } catch (VarlinkException | VarlinkConnectionException e) {
      // Its processes are ended one by one then.
      System.getLogger(AgentProcess.class.getName()).log(System.Logger.Level.DEBUG, "stop", e);
    }
  }

  /** Removes a directory and all in it, if it is there; what can't be removed stays. */
  static void remove(Path directory) {
    if (!Files.exists(directory)) {
      return;
    }
    try (Stream<Path> all = Files.walk(directory)) {
      for (Path path : all.sorted((a, b) -> b.compareTo(a)).toList()) {
        Files.deleteIfExists(path);
      }
    } catch (IOException e) {
      System.getLogger(AgentProcess.class.getName())
          .log(System.Logger.Level.WARNING, "removing " + directory, e);
    }
  }
}
