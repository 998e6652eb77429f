package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Starting, watching, signalling and reaping processes. */
@Timeout(30)
class ProcessesTest {
  private static final Duration LONG = Duration.ofSeconds(20);
  private final Linux linux = Linux.system();

  /** A descriptor that is in the table outlives whoever put it there. */
  @Test
  @Promise("kernel-arrival")
  void aProcessThatSharesDescriptorsHasThoseThatComeLater() throws IOException {
    try (ChildProcess guard = linux.shareDescriptors()) {
      try (Fd later = linux.memfd("made later", 4096)) {
        Path there = Path.of("/proc/" + guard.pid() + "/fd/" + later.number());
        assertThat(Files.readSymbolicLink(there).toString()).contains("made later");
        try (Fd taken = guard.pidfd().take(later.number())) {
          assertThat(linux.identity(taken)).isEqualTo(linux.identity(later));
        }
      } finally {
        var _ = guard.pidfd().signal(Signal.KILL);
        assertThat(guard.waitFor(LONG)).contains(new ExitStatus.Killed(9));
      }
    }
  }

  /** And what outlives it is told by a counter that only goes up. */
  @Test
  void theTimeStampCounterGoesUp() {
    long first = linux.timeStampCounter().orElseThrow();
    assertThat(linux.timeStampCounter().orElseThrow()).isGreaterThan(first);
  }

  @Test
  void theLimitOfDescriptorsIsRaisedAsFarAsItMayBe() throws IOException, InterruptedException {
    long hard = linux.raiseDescriptorLimit();
    String self = Long.toString(ProcessHandle.current().pid());
    Process lowered =
        new ProcessBuilder("prlimit", "--nofile=" + (hard - 1) + ":", "--pid", self).start();
    assertThat(lowered.waitFor()).isZero();
    Linux refusing = new Linux(ScriptedKernel.refusing(Call.SETRLIMIT, Errno.EPERM));
    assertThat(refusing.raiseDescriptorLimit()).isEqualTo(hard - 1);
    assertThat(linux.raiseDescriptorLimit()).isEqualTo(hard);
    assertThat(Files.readString(Path.of("/proc/self/limits")))
        .containsPattern("Max open files +" + hard + " +" + hard + " ");
  }

  @Test
  @Promise("linux-layer")
  void aChildHasTheNamedDescriptorsAndNoOther() throws IOException {
    try (Fd ram = linux.memfd("ram", 10);
        Fd disk = linux.memfd("disk", 10);
        Fd notInherited = linux.memfd("not inherited", 10);
        java.nio.channels.FileChannel javas =
            java.nio.channels.FileChannel.open(Path.of("/proc/self/stat"))) {
      assertThat(javas.isOpen() && notInherited.isOpen()).isTrue();
      Map<Integer, String> got = inherited(Map.of(3, ram, 9, disk, 20, ram));
      assertThat(got)
          .containsOnlyKeys(0, 1, 2, 3, 9, 20)
          .containsEntry(0, "/dev/null")
          .containsEntry(3, "/memfd:ram (deleted)")
          .containsEntry(9, "/memfd:disk (deleted)")
          .containsEntry(20, "/memfd:ram (deleted)");
      assertThat(got.get(1)).startsWith("pipe:").isEqualTo(got.get(2));
    }
  }

  @Test
  void numbersMayCollideWithTheParentsAnyWay() {
    try (Fd a = linux.memfd("a", 10);
        Fd b = linux.memfd("b", 10);
        Fd c = linux.memfd("c", 10)) {
      // Two swapped, one staying where it is.
      Map<Integer, String> got = inherited(Map.of(a.number(), b, b.number(), a, c.number(), c));
      assertThat(got)
          .containsEntry(a.number(), "/memfd:b (deleted)")
          .containsEntry(b.number(), "/memfd:a (deleted)")
          .containsEntry(c.number(), "/memfd:c (deleted)")
          .hasSize(6);
    }
  }

  @Test
  void standardInputCanBeInherited() {
    try (Pipe pipe = linux.pipe()) {
      linux.write(
          pipe.writer(), MemorySegment.ofArray("through cat".getBytes(StandardCharsets.UTF_8)));
      pipe.writer().close();
      assertThat(output(SpawnRequest.of(List.of("cat")).withInherited(Map.of(0, pipe.reader()))))
          .isEqualTo("through cat");
    }
  }

  @Test
  void argumentsAndEnvironmentArrive() {
    assertThat(output(SpawnRequest.of(List.of("printf", "%s|", "a b", "", "ü"))))
        .isEqualTo("a b||ü|");
    assertThat(
            output(
                SpawnRequest.of(List.of("/usr/bin/env")).withEnvironment(Map.of("ONLY", "x=y ü"))))
        .isEqualTo("ONLY=x=y ü\n");
    assertThat(output(SpawnRequest.of(List.of("sh", "-c", "echo out; echo error >&2"))))
        .isEqualTo("out\nerror\n");
  }

  @Test
  @Promise("linux-layer")
  void aChildIsInItsOwnSession() {
    try (ChildProcess child = linux.spawn(SpawnRequest.of(List.of("sleep", "100")))) {
      assertThat(Self.stat(child.pid()).get(Self.SESSION))
          .isEqualTo(Integer.toString(child.pid()))
          .isNotEqualTo(Self.stat((int) ProcessHandle.current().pid()).get(Self.SESSION));
      child.pidfd().signal(Signal.KILL);
      assertThat(child.waitFor()).isEqualTo(new ExitStatus.Killed(9));
    }
  }

  @Test
  @Promise("linux-layer")
  void aChildHasDefaultSignalsWhateverTheParentIgnoresAndBlocks() throws Exception {
    String none = "0000000000000000";
    CompletableFuture<String> childs = new CompletableFuture<>();
    // On a thread of its own, which takes its blocked signals with it.
    Thread thread =
        Thread.ofPlatform()
            .start(
                () -> {
                  try (Arena arena = Arena.ofConfined()) {
                    MemorySegment usr1 = arena.allocate(128, 8);
                    usr1.set(ValueLayout.JAVA_LONG, 0, 1L << (Signal.USR1.number() - 1));
                    libc("pthread_sigmask", 0, usr1.address(), 0);
                    libc("signal", Signal.USR1.number(), 1, 0); // SIG_IGN
                    String mine = Self.text("/proc/thread-self/status");
                    assertThat(mine)
                        .doesNotContain("SigBlk:\t" + none)
                        .doesNotContain("SigIgn:\t" + none);
                    try (ChildProcess child =
                        linux.spawn(SpawnRequest.of(List.of("sleep", "100")))) {
                      childs.complete(Self.text("/proc/" + child.pid() + "/status"));
                      child.pidfd().signal(Signal.KILL);
                      child.waitFor();
                    }
                  } catch (Throwable t) {
                    childs.completeExceptionally(t);
                  } finally {
                    libc("signal", Signal.USR1.number(), 0, 0);
                  }
                });
    thread.join();
    assertThat(childs.get()).contains("SigBlk:\t" + none).contains("SigIgn:\t" + none);
  }

  /** Calls what Holdfast itself never does. */
  private static void libc(String function, long a, long b, long c) {
    Linker linker = Linker.nativeLinker();
    FunctionDescriptor longs =
        FunctionDescriptor.of(
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG,
            ValueLayout.JAVA_LONG);
    try {
      long result =
          (long)
              linker
                  .downcallHandle(linker.defaultLookup().findOrThrow(function), longs)
                  .invokeExact(a, b, c);
      assertThat(result).isNotEqualTo(-1);
    } catch (Throwable t) {
      throw new AssertionError(function, t);
    }
  }

  @Test
  void endsAreToldApart() {
    assertThat(run("true")).isEqualTo(new ExitStatus.Exited(0)).hasToString("exited with 0");
    assertThat(run("sh", "-c", "exit 77")).isEqualTo(new ExitStatus.Exited(77));
    assertThat(run("sh", "-c", "kill -TERM $$"))
        .isEqualTo(new ExitStatus.Killed(15))
        .hasToString("killed by SIGTERM");
    assertThat(new ExitStatus.Killed(34)).hasToString("killed by signal 34");
    assertThat(
            List.of(
                new ExitStatus.Exited(0).success(),
                new ExitStatus.Exited(1).success(),
                new ExitStatus.Killed(9).success()))
        .containsExactly(true, false, false);
  }

  @Test
  void reapingTwiceGivesTheSameAndLeavesNoZombie() {
    ChildProcess child = linux.spawn(SpawnRequest.of(List.of("sleep", "100")));
    assertThat(child.reap()).isEmpty();
    assertThat(child.waitFor(Duration.ofMillis(20))).isEmpty();
    assertThat(child.pidfd().hasExited()).isFalse();
    assertThat(child.pidfd().awaitExit(Duration.ofMillis(20))).isFalse();
    assertThat(child.pidfd().signal(Signal.TERM)).isTrue();
    assertThat(child.pidfd().awaitExit(LONG)).isTrue();
    assertThat(Self.stat(child.pid())).as("a zombie until it is reaped").startsWith("Z");
    assertThat(child.pidfd().signal(Signal.TERM)).as("a zombie takes signals").isTrue();
    assertThat(child.reap()).contains(new ExitStatus.Killed(15));
    assertThat(child.reap()).contains(new ExitStatus.Killed(15));
    assertThat(child.waitFor()).isEqualTo(new ExitStatus.Killed(15));
    assertThat(child.pidfd().signal(Signal.TERM)).isFalse();
    assertThat(Self.children()).doesNotContain(child.pid());
    child.close();
    assertThat(child.reap()).contains(new ExitStatus.Killed(15));
    assertThatIllegalStateException().isThrownBy(() -> child.pidfd().signal(Signal.TERM));
  }

  @Test
  void manyThreadsMayWaitForOneChild() throws Exception {
    try (ChildProcess child = linux.spawn(SpawnRequest.of(List.of("sleep", "0.1")))) {
      List<CompletableFuture<ExitStatus>> waiting =
          List.of(
              CompletableFuture.supplyAsync(child::waitFor),
              CompletableFuture.supplyAsync(child::waitFor),
              CompletableFuture.supplyAsync(child::waitFor));
      for (CompletableFuture<ExitStatus> w : waiting) {
        assertThat(w.get()).isEqualTo(new ExitStatus.Exited(0));
      }
    }
  }

  @Test
  void stopsAndContinues() {
    try (ChildProcess child = linux.spawn(SpawnRequest.of(List.of("sleep", "100")))) {
      child.pidfd().signal(Signal.STOP);
      awaitState(child.pid(), "T");
      assertThat(child.reap()).as("stopped is not ended").isEmpty();
      child.pidfd().signal(Signal.CONT);
      awaitState(child.pid(), "S");
      child.pidfd().signal(Signal.KILL);
      child.waitFor();
    }
  }

  @Test
  void programsThatCannotStartSayWhy(@TempDir Path directory) throws IOException {
    var before = Self.descriptors();
    // A directory of PATH that this user may not search could have the program.
    boolean wholePath =
        Stream.of(System.getenv("PATH").split(":", -1))
            .map(Path::of)
            .allMatch(p -> Files.isExecutable(p) || !hidden(p));
    notStarted(
        wholePath ? Errno.ENOENT : Errno.EACCES,
        wholePath ? "no such program" : "PATH",
        "holdfast-no-such-program");
    notStarted(Errno.ENOENT, "no such program", directory.resolve("missing").toString());
    Path plain = Files.writeString(directory.resolve("plain"), "text");
    notStarted(Errno.EACCES, "chmod +x", plain.toString());
    Files.setPosixFilePermissions(plain, PosixFilePermissions.fromString("rwx------"));
    notStarted(Errno.ENOEXEC, "#!", plain.toString());
    Path script = Files.writeString(directory.resolve("script"), "#!/no/such/interpreter\n");
    Files.setPosixFilePermissions(script, PosixFilePermissions.fromString("rwx------"));
    notStarted(Errno.ENOENT, "interpreter", script.toString());
    Path busy = Files.copy(Path.of("/bin/true"), directory.resolve("busy"));
    try (Fd open = linux.open(busy, OpenFlag.WRITE)) {
      assertThat(open.isOpen()).isTrue();
      notStarted(Errno.ETXTBSY, "open for writing", busy.toString());
    }
    assertThat(Self.descriptors()).isEqualTo(before);
    assertThat(Self.children()).isEmpty();
  }

  /** Whether a directory is there, or may be, but can't be searched by this user. */
  private static boolean hidden(Path directory) {
    for (Path p = directory; p != null; p = p.getParent()) {
      if (Files.exists(p)) {
        return !Files.isExecutable(p);
      }
    }
    return false;
  }

  @Test
  void requestsAreChecked() {
    assertThatIllegalArgumentException().isThrownBy(() -> SpawnRequest.of(List.of()));
    SpawnRequest request = SpawnRequest.of(List.of("true"));
    Fd closed = linux.memfd("a", 1);
    closed.close();
    assertThatIllegalArgumentException()
        .isThrownBy(() -> request.withInherited(Map.of(-1, closed)));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> request.withInherited(Map.of(1024, closed)));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> linux.spawn(SpawnRequest.of(List.of("tr\0ue"))));
    assertThatIllegalStateException()
        .isThrownBy(() -> linux.spawn(request.withInherited(Map.of(5, closed))));
  }

  /** Without a handle nobody could end the child, so it must not be left. */
  @Test
  void aChildThatGetsNoHandleIsKilledAndReaped() {
    Linux full = new Linux(ScriptedKernel.refusing(Call.PIDFD_OPEN, Errno.EMFILE));
    assertThatThrownBy(() -> full.spawn(SpawnRequest.of(List.of("sleep", "100"))))
        .hasMessageContaining("sleep, process ")
        .hasMessageContaining("EMFILE")
        .hasMessageContaining("killed");
    assertThat(Self.children()).isEmpty();
  }

  @Test
  void aHandleOfAnyProcess() {
    int self = (int) ProcessHandle.current().pid();
    try (PidFd me = linux.pidfd(self)) {
      assertThat(me.pid()).isEqualTo(self);
      assertThat(me.hasExited()).isFalse();
      assertThat(me).hasToString("process " + self);
    }
    ChildProcess child = linux.spawn(SpawnRequest.of(List.of("true")));
    child.waitFor();
    child.close();
    assertThatThrownBy(() -> linux.pidfd(child.pid()).close())
        .hasMessageContaining("process " + child.pid())
        .hasMessageContaining("ESRCH");
  }

  @Test
  @Promise("linux-layer")
  void takesDescriptorsOfAChildAfterItsParentClosedThem() {
    Fd ram = linux.memfd("ram", 10);
    FileIdentity identity = linux.identity(ram);
    try (ChildProcess store =
        linux.spawn(SpawnRequest.of(List.of("sleep", "100")).withInherited(Map.of(50, ram)))) {
      ram.close();
      try (Fd taken = store.pidfd().take(50)) {
        assertThat(linux.identity(taken)).isEqualTo(identity);
        assertThat(taken.what()).contains("descriptor 50 of sleep, process " + store.pid());
        assertThat(Self.text("/proc/self/fdinfo/" + taken.number()))
            .containsPattern("flags:\\s+02\\d+");
      }
      assertThatThrownBy(() -> store.pidfd().take(51).close())
          .hasMessageContaining("EBADF")
          .hasMessageContaining("51");
      store.pidfd().signal(Signal.KILL);
      store.waitFor();
      assertThatThrownBy(() -> store.pidfd().take(50).close()).hasMessageContaining("ESRCH");
    }
  }

  /**
   * What the agent's descriptor store does: descriptors wait in a socket's queue that an idle
   * process holds.
   */
  @Test
  @Promise("linux-layer")
  void anIdleProcessKeepsDescriptorsInASocketsQueue() {
    ChildProcess store;
    FileIdentity identity;
    try (FdPair pair = linux.socketPair(SocketType.SEQPACKET);
        Fd ram = linux.memfd("ram", 10)) {
      identity = linux.identity(ram);
      store =
          linux.spawn(
              SpawnRequest.of(List.of("sleep", "100"))
                  .withInherited(Map.of(3, pair.left(), 4, pair.right())));
      try (UnixSocket into = linux.adopt(pair.left())) {
        into.send("ram".getBytes(StandardCharsets.UTF_8), 0, 3, List.of(ram));
      }
    }
    try (store;
        UnixSocket queue = linux.adopt(store.pidfd().take(4))) {
      byte[] label = new byte[10];
      Received peeked = queue.peek(label).orElseThrow();
      assertThat(new String(label, 0, peeked.bytes(), StandardCharsets.UTF_8)).isEqualTo("ram");
      assertThat(peeked.descriptors()).extracting(linux::identity).containsExactly(identity);
      peeked.closeDescriptors();
      store.pidfd().signal(Signal.KILL);
      store.waitFor();
    }
  }

  @Test
  void realTimePriorityOrARefusal() throws Exception {
    Linux ordinary = new Linux(ScriptedKernel.refusing(Call.SCHED_SETSCHEDULER, Errno.EPERM));
    assertThat(ordinary.realTime(10)).isFalse();
    assertThatThrownBy(() -> linux.realTime(1000))
        .hasMessageContaining("EINVAL")
        .hasMessageContaining("1000");
    record Outcome(boolean granted, String schedulingClass, String childs) {}
    CompletableFuture<Outcome> outcome = new CompletableFuture<>();
    Thread thread =
        Thread.ofPlatform()
            .start(
                () -> {
                  try {
                    boolean granted = linux.realTime(10);
                    String policy = field(Self.text("/proc/thread-self/sched"), "policy");
                    try (ChildProcess child =
                        linux.spawn(SpawnRequest.of(List.of("sleep", "100")))) {
                      outcome.complete(
                          new Outcome(
                              granted,
                              policy,
                              field(Self.text("/proc/" + child.pid() + "/sched"), "policy")));
                      child.pidfd().signal(Signal.KILL);
                      child.waitFor();
                    }
                  } catch (Throwable t) {
                    outcome.completeExceptionally(t);
                  }
                });
    thread.join();
    assumeTrue(
        Files.exists(Path.of("/proc/self/sched")), "this kernel does not show a thread's policy");
    Outcome o = outcome.get();
    assertThat(o.schedulingClass).isEqualTo(o.granted ? "1" : "0");
    assertThat(o.childs).as("not inherited").isEqualTo("0");
  }

  private static String field(String sched, String name) {
    Matcher m = Pattern.compile("^" + name + "\\s*:\\s*(\\S+)$", Pattern.MULTILINE).matcher(sched);
    return m.find() ? m.group(1) : "";
  }

  private static void awaitState(int pid, String state) {
    long deadline = System.nanoTime() + LONG.toNanos();
    while (!Self.stat(pid).getFirst().equals(state)) {
      assertThat(System.nanoTime()).as("state %s of %d", state, pid).isLessThan(deadline);
      java.util.concurrent.locks.LockSupport.parkNanos(1_000_000);
    }
  }

  private void notStarted(Errno errno, String says, String program) {
    assertThatThrownBy(() -> linux.spawn(SpawnRequest.of(List.of(program))))
        .isInstanceOfSatisfying(
            SystemCallException.class, e -> assertThat(e.errno()).isEqualTo(errno))
        .hasMessageContaining(program)
        .hasMessageContaining(says);
  }

  private ExitStatus run(String... command) {
    try (ChildProcess child = linux.spawn(SpawnRequest.of(List.of(command)))) {
      return child.waitFor();
    }
  }

  /** What a child writes. */
  private String output(SpawnRequest request) {
    try (Pipe pipe = linux.pipe();
        ChildProcess child = linux.spawn(request.withOutput(pipe.writer()))) {
      pipe.writer().close();
      String text = Self.readAll(linux, pipe.reader());
      assertThat(child.waitFor()).isEqualTo(new ExitStatus.Exited(0));
      return text;
    }
  }

  /** The descriptors a child finds, without the one it lists them through. */
  private Map<Integer, String> inherited(Map<Integer, Fd> descriptors) {
    String listing =
        output(SpawnRequest.of(List.of("ls", "-l", "/proc/self/fd")).withInherited(descriptors));
    Map<Integer, String> found = new TreeMap<>();
    Matcher m = Pattern.compile("(\\d+) -> (.*)").matcher(listing);
    while (m.find()) {
      if (!m.group(2).matches("/proc/\\d+/fd")) {
        found.put(Integer.valueOf(m.group(1)), m.group(2));
      }
    }
    assertThat(Optional.ofNullable(found.get(1))).isPresent();
    return found;
  }
}
