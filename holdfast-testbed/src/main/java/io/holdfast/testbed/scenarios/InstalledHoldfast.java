package io.holdfast.testbed.scenarios;

import io.holdfast.agent.Agent;
import io.holdfast.agent.AgentPaths;
import io.holdfast.linux.Call;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.SkippedException;
import io.holdfast.testbed.Testbed;
import io.holdfast.testbed.TimeStampCounter;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** The command as it is installed, used inside as an operator would. */
final class InstalledHoldfast {
  static final Path RUN = Path.of("/run/holdfast");
  private static final Path LOG = Path.of("/run/agent.log");
  private static final long PATIENCE_MILLIS = 120_000;

  /** An agent starts in seconds, or in minutes where a busy machine emulates it. */
  private static final long AGENT_MILLIS = 480_000;

  private static final int SIGKILL = 9;
  private static final Path KVM = Path.of("/sys/kernel/debug/kvm");
  private static final int LOOKS = 10;
  private static final long FOLLOW_MILLIS = 250;

  private final Inside in;

  InstalledHoldfast(Inside in) {
    this.in = in;
  }

  private static Path command() {
    return Testbed.find().resolveSibling("target/holdfast/bin/holdfast");
  }

  /** Skips the scenario where something is missing; to be called outside. */
  static void require() {
    if (!Files.exists(command())) {
      throw new SkippedException("Holdfast is not built; `tools/dist` does that");
    }
    if (System.getenv().getOrDefault("HOLDFAST_GUEST", "").isEmpty()) {
      throw new SkippedException(
          "HOLDFAST_GUEST names no test guest; `guest/build` makes it and prints its folder");
    }
  }

  /** Skips the scenario where there is no guest with an agent; to be called outside. */
  static void requireAgent() {
    if (System.getenv().getOrDefault("HOLDFAST_GUEST_AGENT", "").isEmpty()) {
      throw new SkippedException(
          "HOLDFAST_GUEST_AGENT names no guest with an agent; `guest/with-agent` makes it");
    }
  }

  /**
   * What a shell does as soon as there is one: starts the agent, and waits until it is ready or
   * gone. Nothing else runs meanwhile, as where the agent's service comes before the others.
   *
   * @param firmware VMs that have their firmware only, whose disks have to be there
   */
  static String early(String... firmware) {
    StringBuilder disks = new StringBuilder();
    for (String name : firmware) {
      disks.append("truncate -s 16M /run/").append(name).append(".raw; ");
    }
    return disks
        + "'%1$s' agent >%2$s 2>&1 & agent=$!; while kill -0 $agent && ! grep -q 'ready on' %2$s; do sleep 2; done"
            .formatted(command(), LOG);
  }

  /** Waits for an agent that was started {@link #early}. */
  void awaitEarlyAgent() throws IOException {
    long start = System.nanoTime();
    while (!said().contains("ready on")) {
      if (System.nanoTime() - start > AGENT_MILLIS * 1_000_000) {
        throw new IOException("the agent did not get ready: " + said());
      }
      pause(20);
    }
  }

  /** Starts the agent, and returns when it has taken up what there is and listens. */
  Process startAgent() throws IOException {
    Files.createDirectories(RUN);
    Files.deleteIfExists(LOG);
    Process agent =
        new ProcessBuilder(command().toString(), "agent")
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.appendTo(LOG.toFile()))
            .start();
    awaitAgent(agent);
    return agent;
  }

  /** Starts the agent with another root file system, and returns when it is ready. */
  Process startAgentIn(String root) throws IOException {
    Files.deleteIfExists(LOG);
    Process agent =
        new ProcessBuilder("chroot", root, command().toString(), "agent")
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.appendTo(LOG.toFile()))
            .start();
    awaitAgent(agent);
    return agent;
  }

  /** Starts a scenario's own program as the agent, and does not wait; see {@link #serve}. */
  Process startAgent(Class<?> main, String... arguments) throws IOException {
    Files.createDirectories(RUN);
    return new ProcessBuilder(in.java("512m", main, arguments))
        .redirectErrorStream(true)
        .redirectOutput(ProcessBuilder.Redirect.appendTo(LOG.toFile()))
        .start();
  }

  /** What such a program does: it is the agent, on a kernel of the scenario's. Does not return. */
  static void serve(Kernel kernel) throws IOException {
    try (Agent agent =
        new Agent(new Linux(kernel), new AgentPaths(RUN, AgentPaths.defaultSocket(RUN)))) {
      agent.recovered().forEach(System.err::println);
      System.err.println("ready on " + RUN);
      new CountDownLatch(1).await();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Ends a process as nothing it could prepare for. */
  static void kill(long pid) {
    signal(pid, SIGKILL);
  }

  /** Sends a signal by its number (signal(7)). */
  static void signal(long pid, int signal) {
    long _ = Kernel.system().call(Call.KILL, pid, signal, 0, 0, 0, 0);
  }

  /** Whether an agent gets ready; if not, it has ended. */
  boolean readyOrDead(Process agent) throws IOException {
    while (agent.isAlive()) {
      if (said().contains("ready on")) {
        return true;
      }
      pause(20);
    }
    return false;
  }

  void awaitAgent(Process agent) throws IOException {
    awaitAgent(agent, 1);
  }

  /**
   * Waits for an agent.
   *
   * @param number how many there were on this kernel, this one included
   */
  void awaitAgent(Process agent, int number) throws IOException {
    long start = System.nanoTime();
    while (said().split("ready on", -1).length <= number) {
      if (!agent.isAlive() || System.nanoTime() - start > AGENT_MILLIS * 1_000_000) {
        throw new IOException("the agent did not get ready: " + said());
      }
      pause(20);
    }
  }

  /** The ids of the updates that the run directory has reports of. */
  static List<String> reports() throws IOException {
    List<String> ids = new ArrayList<>();
    try (var files = Files.newDirectoryStream(RUN.resolve("updates"), "*.json")) {
      files.forEach(file -> ids.add(file.getFileName().toString().replace(".json", "")));
    }
    return ids;
  }

  /** How much of a guest's console is told when something is wrong with it. */
  private static final int LAST = 4000;

  /** What agents of this kernel have said. */
  String said() throws IOException {
    return Files.exists(LOG) ? Files.readString(LOG) : "";
  }

  /** What a command came to. */
  record Answer(int exit, String out) {}

  /** Starts a command. */
  Process start(String... arguments) throws IOException {
    List<String> line = new ArrayList<>(List.of(command().toString()));
    line.addAll(List.of(arguments));
    return new ProcessBuilder(line).redirectErrorStream(true).start();
  }

  /** Runs a command to its end. */
  Answer holdfast(String... arguments) throws IOException {
    Process process = start(arguments);
    process.getOutputStream().close();
    String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    try {
      return new Answer(process.waitFor(), out);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }

  /** Runs a command that has to succeed. */
  String must(String... arguments) throws IOException {
    Answer answer = holdfast(arguments);
    if (answer.exit() != 0) {
      in.note("the agent said: " + said().replace('\n', ' '));
      throw new IOException(
          String.join(" ", arguments) + " ended with " + answer.exit() + ": " + answer.out());
    }
    return answer.out();
  }

  /** What asks for an update of the kernel. */
  List<String> kernelUpdate() {
    return List.of(
        "update",
        "kernel",
        "--kernel",
        in.nextKernel().toString(),
        "--from",
        in.runningKernel().toString(),
        "--append",
        in.nextCommandLine());
  }

  /** Asks for the update of the kernel, which ends this half; throws if it does not. */
  void updateKernel(String... more) throws IOException {
    updateKernel(_ -> {}, more);
  }

  /**
   * The same.
   *
   * @param heard gets each line that the command writes, on a thread of its own
   */
  void updateKernel(Consumer<String> heard, String... more) throws IOException {
    List<String> line = new ArrayList<>(List.of(command().toString()));
    line.addAll(kernelUpdate());
    line.addAll(List.of(more));
    Path log = Path.of("/run/update.log");
    Process process =
        new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    Thread follower = new Thread(() -> follow(process, log, heard), "what the update says");
    follower.setDaemon(true);
    follower.start();
    try {
      // Refusals and failures come back; what succeeds ends this process, and this machine's
      // kernel.
      new Thread(
              () -> {
                try {
                  if (process.waitFor() != 143) {
                    in.note(
                        "the update came back: "
                            + Files.readString(log).replace('\n', '|')
                            + " agent: "
                            + said().replace('\n', '|'));
                  }
                } catch (InterruptedException | IOException e) {
                  in.note("waiting for the update: " + e);
                }
              })
          .start();
      in.awaitKexec(600);
    } catch (IllegalStateException e) {
      in.note("after all: " + Files.readString(log).replace('\n', '|') + said().replace('\n', '|'));
      throw e;
    }
  }

  private static void follow(Process process, Path log, Consumer<String> heard) {
    int told = 0;
    while (process.isAlive()) {
      pause(FOLLOW_MILLIS);
      try {
        String all = Files.readString(log);
        int end = all.lastIndexOf('\n') + 1;
        all.substring(told, Math.max(told, end)).lines().forEach(heard);
        told = Math.max(told, end);
      } catch (IOException e) {
        heard.accept(String.valueOf(e.getMessage()));
        return;
      }
    }
  }

  /**
   * Runs a VM with the test guest.
   *
   * @param words more words for the guest's kernel
   * @param more options
   */
  void runGuest(String name, String accelerator, String words, String... more) throws IOException {
    runGuest(name, accelerator, guest().resolve("initramfs.cpio").toString(), "160M", words, more);
  }

  /** Like {@link #runGuest}, with QEMU's guest agent in it. */
  void runGuestWithAgent(String name, String accelerator, String words, String... more)
      throws IOException {
    List<String> options = new ArrayList<>(List.of(more));
    options.add("--guest-agent");
    runGuest(
        name,
        accelerator,
        System.getenv("HOLDFAST_GUEST_AGENT"),
        "256M",
        words,
        options.toArray(String[]::new));
  }

  private static Path guest() {
    return Path.of(System.getenv("HOLDFAST_GUEST"));
  }

  private void runGuest(
      String name, String accelerator, String initrd, String memory, String words, String... more)
      throws IOException {
    List<String> line =
        new ArrayList<>(
            List.of(
                "vm",
                "run",
                name,
                "--memory",
                memory,
                "--accel",
                accelerator,
                "--cpu",
                "qemu64",
                "--kernel",
                guest().resolve("vmlinuz").toString(),
                "--initrd",
                initrd,
                "--append",
                "console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable holdfast.pattern=1 "
                    + words
                    // A clock that runs too fast has more ticks than an emulated guest can bear.
                    + (accelerator.equals("tcg") ? TimeStampCounter.rate() : "")));
    line.addAll(List.of(more));
    String _ = must(line.toArray(String[]::new));
  }

  private static final long MARK_AT = 48L << 20;
  private static final int MARK_BYTES = 1 << 20;

  /**
   * Runs a VM that has its firmware only, which finds nothing to boot and waits: for what is not
   * about guests. A part of its memory is filled with what {@link #checkFirmware} looks for.
   */
  void runFirmware(String name) throws IOException {
    runFirmware(name, disk(name));
  }

  /** The same with this raw image. */
  void runFirmware(String name, Path disk) throws IOException {
    String _ =
        must(
            "vm",
            "run",
            name,
            "--memory",
            "64M",
            "--accel",
            "tcg",
            "--cpu",
            "qemu64",
            "--disk",
            disk + ",format=raw");
    mark(name, true);
  }

  /** Makes its disk, which is nothing's but the firmware's and gone with each kernel. */
  static Path disk(String name) throws IOException {
    Path disk = Path.of("/run", name + ".raw");
    try (var file = new RandomAccessFile(disk.toFile(), "rw")) {
      file.setLength(16 << 20);
    }
    return disk;
  }

  /** The process that runs a VM. */
  long qemu(String name) {
    try (VarlinkClient agent = agent()) {
      return agent
          .call("io.holdfast.Vm.Show", JsonObject.of("name", name))
          .object("vm")
          .number("pid");
    }
  }

  /** Checks that it runs, and that its memory is what it was. */
  void checkFirmware(String name) throws IOException {
    checkFirmware(name, "running");
  }

  /** Checks that it is in this state, and that its memory is what it was. */
  void checkFirmware(String name, String expected) throws IOException {
    in.check(name + ": its memory is what it was", mark(name, false));
    try (VarlinkClient agent = agent()) {
      String state =
          agent
              .call("io.holdfast.Vm.Show", JsonObject.of("name", name))
              .object("vm")
              .string("state");
      in.same(name + ": its state", expected, state);
    }
  }

  private boolean mark(String name, boolean write) throws IOException {
    try (VarlinkClient agent = agent();
        Reply reply = agent.call("io.holdfast.Vm.Memory", JsonObject.of("name", name), List.of());
        Fd ram = reply.descriptors().take(0);
        Mapping mapping =
            in.linux().map(ram, MARK_AT, MARK_BYTES, Protection.READ, Protection.WRITE)) {
      SplittableRandom random = new SplittableRandom(name.hashCode());
      boolean same = true;
      for (long at = 0; at < MARK_BYTES; at += 8) {
        long word = random.nextLong();
        if (write) {
          mapping.segment().set(ValueLayout.JAVA_LONG, at, word);
        }
        same &= mapping.segment().get(ValueLayout.JAVA_LONG, at) == word;
      }
      return same;
    }
  }

  /** A connection to the agent. */
  VarlinkClient agent() {
    return VarlinkClient.connect(in.linux(), RUN.resolve("agent.sock"));
  }

  /** What a guest's memory says of it. */
  Heartbeat heartbeat(String vm) throws IOException {
    try (VarlinkClient agent = agent()) {
      return Heartbeat.of(in.linux(), agent, vm);
    }
  }

  /** Writes down, outside, what a guest is to go on from. */
  void remember(String vm) throws IOException {
    Heartbeat heart = heartbeat(vm);
    in.remember(vm + ".counter", heart.counter());
    in.remember(vm + ".boot", heart.boot());
    in.remember(vm + ".cpu", heart.cpu());
    in.remember(vm + ".clock", heart.clock());
    int seq = counted(vm);
    if (seq < 0) {
      // Nothing to wait for.
      throw new IOException(vm + ": that it did not boot again does not hold before the update");
    }
    in.remember(vm + ".seq", seq);
  }

  /**
   * Checks that a guest is the same that was {@link #remember remembered}, and has gone on.
   *
   * @param runs whether it shall be running now
   */
  void check(String vm, boolean runs) throws IOException {
    Heartbeat heart;
    try {
      heart = heartbeat(vm);
    } catch (IOException e) {
      in.note("the guest says: " + lastWords(vm));
      throw e;
    }
    long counter = Long.parseLong(in.recall(vm + ".counter"));
    in.check(
        vm + ": its heartbeat did not go back: " + heart.counter() + " after " + counter,
        heart.counter() >= counter);
    long clock = Long.parseLong(in.recall(vm + ".clock"));
    in.check(
        vm + ": its monotonic clock did not go back: " + heart.clock() + " after " + clock,
        heart.clock() >= clock);
    long boot = Long.parseLong(in.recall(vm + ".boot"));
    if (heart.boot() != boot) {
      String log = Files.readString(console(vm), StandardCharsets.ISO_8859_1);
      int again = Math.max(0, log.lastIndexOf("\nboot "));
      in.note("before it booted again the guest said: " + end(log.substring(0, again)));
    }
    in.same(vm + ": it did not boot again", boot, heart.boot());
    in.same(vm + ": its CPU is the same", Long.parseLong(in.recall(vm + ".cpu")), heart.cpu());
    in.same(vm + ": pages that the guest found wrong", 0L, heart.wrong());
    in.same(vm + ": what else the guest complained of", List.of(), problems(vm));
    boolean beats = beats(vm, heart.counter(), runs ? PATIENCE_MILLIS : 1000);
    if (runs && !beats) {
      in.note(standing(vm));
    }
    in.same(vm + ": its heart beats", runs, beats);
    if (runs) {
      int seq = Integer.parseInt(in.recall(vm + ".seq"));
      int now = awaitCount(vm, seq + 3);
      in.check(
          vm + ": its console goes on without a gap, from " + seq + " to " + now, now >= seq + 3);
    }
    in.note(vm + ": largest gap by the guest's own clock " + heart.gap() / 1_000_000 + " ms");
  }

  /** Whether a guest counts on within some time. */
  private boolean beats(String vm, long from, long millis) throws IOException {
    long start = System.nanoTime();
    boolean beats = false;
    while (!beats && System.nanoTime() - start < millis * 1_000_000) {
      pause(200);
      beats = heartbeat(vm).counter() > from;
    }
    return beats;
  }

  /**
   * What a guest has complained of on its console, but for timers that came late: under emulation a
   * guest says that at any time, with or without an update.
   */
  static List<String> problems(String vm) throws IOException {
    Path log = RUN.resolve("vms").resolve(vm).resolve("console.log");
    return new String(Files.readAllBytes(log), StandardCharsets.ISO_8859_1)
        .lines()
        .filter(line -> line.startsWith("problem"))
        .filter(line -> !line.contains("hrtimer: interrupt took"))
        .filter(line -> !line.contains("clocksource: "))
        .limit(5)
        .toList();
  }

  /** What QEMU and KVM say of a guest that should run and does not, every second for some time. */
  private String standing(String vm) {
    StringBuilder said = new StringBuilder(vm + " stands:");
    ProcessHandle.allProcesses()
        .filter(p -> p.info().command().orElse("").contains("qemu"))
        .forEach(p -> said.append(" ").append(p.pid()).append(": ").append(p.info()));
    for (int i = 0; i < LOOKS; i++) {
      said.append(" counted ");
      try {
        said.append(counted(vm));
      } catch (IOException e) {
        said.append(e.getMessage());
      }
      said.append("; ").append(exits());
      said.append("; ").append(qmp(vm, "query-status", JsonObject.empty()));
      said.append("; ")
          .append(
              qmp(vm, "human-monitor-command", JsonObject.of("command-line", "info registers")));
      pause(1000);
    }
    return said.toString();
  }

  private String qmp(String vm, String command, JsonObject arguments) {
    try (VarlinkClient agent = agent()) {
      return agent
          .call(
              "io.holdfast.Vm.Qmp",
              JsonObject.of("name", vm, "command", command, "arguments", arguments))
          .toString();
    } catch (RuntimeException e) {
      return e.toString();
    }
  }

  private static String exits() {
    try (Stream<Path> all = Files.walk(KVM, 2)) {
      return all.filter(Files::isRegularFile)
          .map(InstalledHoldfast::value)
          .filter(text -> !text.endsWith("=0"))
          .sorted()
          .collect(Collectors.joining(" "));
    } catch (IOException | UncheckedIOException e) {
      return e.toString();
    }
  }

  private static String value(Path file) {
    try {
      return file.getFileName() + "=" + Files.readString(file).strip();
    } catch (IOException e) {
      return "=0";
    }
  }

  /** The end of what a guest has said, in one line. */
  private static String end(String log) {
    return log.substring(Math.max(0, log.length() - LAST)).replace('\n', '|');
  }

  /** The end of what a guest has said on its console, in one line. */
  static String lastWords(String vm) throws IOException {
    return end(Files.readString(console(vm), StandardCharsets.ISO_8859_1));
  }

  /** Where what a guest has said is. */
  static Path console(String vm) {
    return RUN.resolve("vms").resolve(vm).resolve("console.log");
  }

  /** How far a guest has counted on its console without a gap from 1; -1 if there is one. */
  static int counted(String name) throws IOException {
    Path log = RUN.resolve("vms").resolve(name).resolve("console.log");
    if (!Files.exists(log)) {
      return 0;
    }
    int last = 0;
    String console = new String(Files.readAllBytes(log), StandardCharsets.ISO_8859_1);
    for (String line : console.lines().filter(l -> l.startsWith("seq ")).toList()) {
      String[] words = line.split(" ", -1);
      if (words.length != 3) {
        continue; // the last one, half written
      }
      if (!words[1].equals(Integer.toString(last + 1))) {
        return -1;
      }
      last++;
    }
    return last;
  }

  /** Waits until a guest has counted so far. */
  int awaitCount(String name, int least) throws IOException {
    return awaitCount(name, least, Duration.ofMillis(PATIENCE_MILLIS));
  }

  /** The same, for so long at most. */
  int awaitCount(String name, int least, Duration patience) throws IOException {
    long start = System.nanoTime();
    int now = counted(name);
    while (now >= 0 && now < least && System.nanoTime() - start < patience.toNanos()) {
      pause(200);
      now = counted(name);
    }
    return now;
  }

  static void pause(long millis) {
    try {
      boolean _ = new CountDownLatch(1).await(millis, TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
