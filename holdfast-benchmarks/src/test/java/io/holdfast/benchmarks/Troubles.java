package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.locks.ReentrantLock;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What befalls a host from outside, and is taken away again. Nothing of it may cost a guest: a QEMU
 * that may run one is stopped at most, never killed, and the process that keeps descriptors is not
 * killed while there is no agent (docs/design.md, 6 to 8).
 */
final class Troubles {
  /** What befalls a host. */
  enum Kind {
    AGENT_KILLED(0),
    /** And the next one while it recovers. */
    AGENT_KILLED_TWICE(0),
    /** In good order. */
    AGENT_ENDED(0),
    /** Of the client of an update; by whoever asked for that update. */
    CLIENT_KILLED(0),
    /** Before the guest may have run in it. */
    SUCCESSOR_KILLED(0),
    KEEPER_KILLED(0),
    AGENT_STOPPED(15_000),
    /** The QEMU that the VM's record names. */
    PREDECESSOR_STOPPED(15_000),
    SUCCESSOR_STOPPED(15_000),
    KEEPER_STOPPED(15_000),
    NO_DESCRIPTORS(10_000),
    NO_SPACE(10_000),
    NO_FILES(10_000),
    STORAGE_STALLED(12_000);

    private final int mostMillis;

    Kind(int mostMillis) {
      this.mostMillis = mostMillis;
    }

    /** How long it lasts at most; 0 for what is over at once. */
    int mostMillis() {
      return mostMillis;
    }

    /** Whether the run directory's file system is full. */
    boolean fills() {
      return this == NO_SPACE || this == NO_FILES;
    }
  }

  /**
   * What befalls a host, and when.
   *
   * @param vm whose QEMU is meant, where one is
   * @param after ms from the begin of the round
   * @param millis how long it lasts, or, of AGENT_KILLED_TWICE, how long the second agent lives
   */
  record Trouble(Kind kind, String vm, int after, int millis) {
    @Override
    public String toString() {
      return "%s (%s) after %d ms for %d ms".formatted(kind, vm, after, millis);
    }
  }

  private static final Pattern DESCRIPTORS = Pattern.compile("Max open files +\\d+ +(\\d+)");
  private static final int FEW_DESCRIPTORS = 8;
  private static final int TOP_UP_MILLIS = 50;

  /** A successor comes up by then, or never. */
  private static final int SUCCESSOR_MILLIS = 2500;

  private final Host host;
  private final Optional<LimitedFileSystem> space;
  private final Optional<StallingFile> storage;

  /**
   * Whoever ends an agent has it until the next one listens; nobody kills the descriptor store
   * meanwhile.
   */
  private final ReentrantLock presence = new ReentrantLock();

  /** No agent is started or let go on meanwhile. */
  private final ReentrantLock silence = new ReentrantLock();

  private final List<String> said = new CopyOnWriteArrayList<>();
  private final List<String> refusals = new CopyOnWriteArrayList<>();

  /**
   * @param space where the run directory lies, if that can be filled up
   * @param storage a disk of a VM, if that can be stalled
   */
  Troubles(Host host, Optional<LimitedFileSystem> space, Optional<StallingFile> storage) {
    this.host = host;
    this.space = space;
    this.storage = storage;
  }

  /** What can befall this host. */
  List<Kind> kinds() {
    List<Kind> kinds = new ArrayList<>(List.of(Kind.values()));
    kinds.removeIf(kind -> kind.fills() && space.isEmpty());
    if (storage.isEmpty()) {
      kinds.remove(Kind.STORAGE_STALLED);
    }
    return kinds;
  }

  /** What agents said when they could not start. */
  List<String> refusals() {
    return List.copyOf(refusals);
  }

  /** What all agents said, the last one last. */
  String said() {
    return String.join("---- the next agent ----\n", said)
        + "---- the last agent ----\n"
        + host.said();
  }

  /** Lets it befall the host, and returns when it is taken away. */
  void strike(Trouble trouble) throws IOException, InterruptedException {
    RunningGuest.pause(trouble.after());
    int millis = trouble.millis();
    switch (trouble.kind()) {
      case AGENT_KILLED -> replaceAgent(host::killAgent);
      case AGENT_KILLED_TWICE ->
          replaceAgent(
              () -> {
                host.killAgent();
                launch();
                RunningGuest.pause(millis);
                host.killAgent();
              });
      case AGENT_ENDED -> replaceAgent(host::endAgent);
      case CLIENT_KILLED -> {}
      case SUCCESSOR_KILLED -> killSuccessor(trouble.vm());
      case KEEPER_KILLED -> killKeeper();
      case AGENT_STOPPED -> stopAgent(millis);
      case PREDECESSOR_STOPPED -> stop(Host.recordedProcess(host.run(), trouble.vm()), millis);
      case SUCCESSOR_STOPPED -> stopSuccessor(trouble.vm(), millis);
      case KEEPER_STOPPED -> stop(host.keeper(), millis);
      case NO_DESCRIPTORS -> takeDescriptors(millis);
      case NO_SPACE, NO_FILES -> fill(trouble.kind(), millis);
      case STORAGE_STALLED -> stall(millis);
    }
  }

  // ---- agents ----

  private interface Ending {
    void run() throws IOException;
  }

  private void replaceAgent(Ending ending) throws IOException {
    presence.lock();
    try {
      ending.run();
      startAgent();
    } finally {
      presence.unlock();
    }
  }

  /** Ends the agent in good order and starts another one. */
  void restartAgent() throws IOException {
    replaceAgent(host::endAgent);
  }

  /** Starts an agent; one that can't start says why, and is tried again, as systemd would. */
  void startAgent() throws IOException {
    launch();
    for (int tries = 1; !host.agentListens(); tries++) {
      assertThat(host.said()).as("an agent that does not start says why").isNotBlank();
      refusals.add(host.said().strip());
      assertThat(tries).as("the agent does not start: %s", refusals).isLessThan(300);
      RunningGuest.pause(200);
      launch();
    }
  }

  private void launch() throws IOException {
    silence.lock();
    try {
      said.add(host.said());
      host.launchAgent();
    } finally {
      silence.unlock();
    }
  }

  private void stopAgent(int millis) {
    Optional<PidFd> agent = find(host.agentPid());
    if (agent.isEmpty()) {
      return;
    }
    try (PidFd process = agent.get()) {
      boolean _ = process.signal(Signal.STOP);
      RunningGuest.pause(millis);
      silence.lock();
      try {
        boolean _ = process.signal(Signal.CONT);
      } finally {
        silence.unlock();
      }
    }
  }

  private void takeDescriptors(int millis) throws IOException, InterruptedException {
    // What an agent has not loaded by then it would never find again (docs/design.md, 9.1).
    Host.await(
        "all to be loaded",
        () -> host.said().contains("descriptors at most") || !host.agentIsAlive());
    long agent = host.agentPid();
    Optional<String> most = mostDescriptors(agent);
    if (most.isPresent()) {
      limit(agent, Integer.toString(FEW_DESCRIPTORS));
      try {
        RunningGuest.pause(millis);
      } finally {
        limit(agent, most.get());
      }
    }
  }

  /** Empty if there is no such process any more. */
  private static Optional<String> mostDescriptors(long pid) {
    try {
      Matcher most = DESCRIPTORS.matcher(Files.readString(Path.of("/proc/" + pid + "/limits")));
      return most.find() ? Optional.of(most.group(1)) : Optional.empty();
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  private static void limit(long pid, String descriptors) throws IOException, InterruptedException {
    List<String> command = List.of("prlimit", "--nofile=" + descriptors + ":", "--pid", "" + pid);
    int status = new ProcessBuilder(command).redirectErrorStream(true).start().waitFor();
    assertThat(status == 0 || !Host.alive(pid)).as("%s", command).isTrue();
  }

  private void killKeeper() {
    presence.lock();
    try {
      long store = host.keeper();
      kill(store);
      Host.await(
          "another keeper than " + store + ", by an agent that said: " + host.said(),
          () -> host.keeper() != store && Host.alive(host.keeper()));
    } finally {
      presence.unlock();
    }
  }

  // ---- QEMUs ----

  /** The VM's QEMU processes besides the one that its record names. */
  private List<Long> successors(String vm) {
    List<Long> all = new ArrayList<>(Host.qemus(host.run(), vm));
    all.remove(Host.recordedProcess(host.run(), vm));
    return all;
  }

  private void awaitSuccessor(String vm) {
    long end = System.nanoTime() + SUCCESSOR_MILLIS * 1_000_000L;
    while (successors(vm).isEmpty() && System.nanoTime() - end < 0) {
      RunningGuest.pause(5);
    }
  }

  /**
   * Kills the successor if there is one in which the guest has not run: the journal tells, while
   * the agent, which writes it, is stopped or dead.
   */
  private void killSuccessor(String vm) throws IOException {
    awaitSuccessor(vm);
    silence.lock();
    Optional<PidFd> agent = find(host.agentPid());
    try {
      agent.ifPresent(process -> process.signal(Signal.STOP));
      long pid = host.agentPid();
      Host.await("a stopped agent", () -> Host.stopped(pid) || !Host.alive(pid));
      boolean mayHaveRun = journals().stream().anyMatch(text -> text.contains(" " + vm + " runs "));
      if (!mayHaveRun) {
        successors(vm).forEach(Troubles::kill);
      }
    } finally {
      agent.ifPresent(process -> process.signal(Signal.CONT));
      agent.ifPresent(PidFd::close);
      silence.unlock();
    }
  }

  /** The journals of updates that have not ended. */
  List<String> journals() throws IOException {
    List<String> texts = new ArrayList<>();
    try (DirectoryStream<Path> found =
        Files.newDirectoryStream(host.run().resolve("updates"), "*.journal")) {
      for (Path each : found) {
        texts.add(Files.readString(each, StandardCharsets.US_ASCII));
      }
    } catch (UncheckedIOException e) {
      throw e.getCause();
    }
    return texts;
  }

  private void stopSuccessor(String vm, int millis) {
    awaitSuccessor(vm);
    successors(vm).stream().findFirst().ifPresent(pid -> stop(pid, millis));
  }

  // ---- processes ----

  private static void stop(long pid, int millis) {
    Optional<PidFd> found = find(pid);
    if (found.isPresent()) {
      try (PidFd process = found.get()) {
        boolean _ = process.signal(Signal.STOP);
        RunningGuest.pause(millis);
        boolean _ = process.signal(Signal.CONT);
      }
    }
  }

  private static void kill(long pid) {
    Optional<PidFd> found = find(pid);
    if (found.isPresent()) {
      try (PidFd process = found.get()) {
        boolean _ = process.signal(Signal.KILL);
      }
    }
  }

  /** Empty if there is no such process any more. */
  private static Optional<PidFd> find(long pid) {
    try {
      return Optional.of(Linux.system().pidfd(Math.toIntExact(pid)));
    } catch (SystemCallException _) {
      return Optional.empty();
    }
  }

  // ---- storage ----

  private void fill(Kind kind, int millis) {
    LimitedFileSystem full = space.orElseThrow();
    long end = System.nanoTime() + millis * 1_000_000L;
    try {
      do {
        // What is given back meanwhile is taken too.
        if (kind == Kind.NO_SPACE) {
          full.fill();
        } else {
          full.fillWithFiles();
        }
        RunningGuest.pause(Math.min(TOP_UP_MILLIS, millis));
      } while (System.nanoTime() - end < 0);
    } finally {
      full.free();
    }
  }

  private void stall(int millis) {
    StallingFile stalled = storage.orElseThrow();
    stalled.stall();
    try {
      RunningGuest.pause(millis);
    } finally {
      stalled.goOn();
    }
  }
}
