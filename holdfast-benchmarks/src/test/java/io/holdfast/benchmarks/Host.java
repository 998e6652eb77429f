package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * A host for tests: an agent in a process of its own with a run directory of its own, and at most
 * one VM, {@link #VM}, with a real guest. Everything that it starts inherits a mark in its
 * environment, so that whatever is left over is found, whatever its name.
 */
final class Host implements AutoCloseable {
  static final String VM = "vm1";
  static final String READY = "agent: ready";

  private static final String AGENT = "io.holdfast.agent.Agent";

  /** What has not come about by then never will, on however busy a machine. */
  private static final int HANG_SECONDS = 90;

  private static final String MARK = "HOLDFAST_TEST_HOST";

  private final Path directory;
  private final Path run;
  private final Path disk;
  private final List<String> prefix;
  private final String main;
  private volatile Optional<Process> agent = Optional.empty();
  private Witness witness = new Witness();
  private Optional<State> whole = Optional.empty();

  /** What there is of this host: everything here must be the same after a fault as before. */
  record State(
      int processes,
      Set<String> files,
      Map<String, Long> agent,
      Map<String, Long> store,
      long held) {}

  private Host(Path directory, Path run, List<String> prefix, String main) {
    this.directory = directory;
    this.prefix = List.copyOf(prefix);
    this.main = main;
    this.run = run;
    this.disk = directory.resolve("disk.qcow2");
    RunningGuest.image(disk);
  }

  /** A host whose agent runs; no VM yet. */
  static Host start() throws IOException {
    return start(List.of());
  }

  /**
   * As {@link #start()}, everything run in another namespace.
   *
   * @param prefix what runs a command there, in its own place
   */
  static Host start(List<String> prefix) throws IOException {
    Path directory = Files.createTempDirectory("holdfast-host");
    Host host = new Host(directory, directory.resolve("run"), prefix, FaultyAgent.class.getName());
    host.startAgent();
    return host;
  }

  /**
   * A host without an agent yet, whose agents are the real ones: {@link #arm} does nothing.
   *
   * @param directory an existing one, from now on this host's
   * @param run the run directory, in it
   */
  static Host in(Path directory, Path run) {
    return new Host(directory, run, List.of(), AGENT);
  }

  /** The folder with the test guest, as {@code ./test} sets it. */
  static Path guest() {
    String told = System.getenv("HOLDFAST_GUEST");
    String cache = System.getenv("XDG_CACHE_HOME");
    Path folder =
        told != null
            ? Path.of(told)
            : (cache != null ? Path.of(cache) : Path.of(System.getProperty("user.home"), ".cache"))
                .resolve("holdfast/guest");
    return folder;
  }

  /** The machine's own QEMU. */
  static String qemu() {
    String told = System.getenv("HOLDFAST_QEMU");
    return told != null ? told : "/usr/bin/qemu-system-x86_64";
  }

  /**
   * A QEMU whose rings are as long as its devices are told: those of Debian 13's 10.0.13 always
   * have 1024 entries.
   */
  static String tellableQemu() throws IOException {
    Process told = new ProcessBuilder(qemu(), "-version").redirectErrorStream(true).start();
    String version = new String(told.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    if (!version.contains("version 10.0.13")) {
      return qemu();
    }
    String other = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    assumeTrue(!other.isEmpty(), "this QEMU has rings of its own length, and there is no other");
    return other;
  }

  Path directory() {
    return directory;
  }

  Path run() {
    return run;
  }

  /** The guest's disk image, a qcow2. */
  Path disk() {
    return disk;
  }

  // ---- the agent ----

  /** Starts the agent, and returns when it listens. */
  void startAgent() throws IOException {
    Process process = agent();
    await(
        "the agent's start: " + said(),
        () -> {
          assertThat(process.isAlive()).as("agent: %s", said()).isTrue();
          return said().contains(READY);
        });
  }

  /** Starts the agent, and returns when it answers, whatever it is still taking back. */
  void startAgentUntilItAnswers() throws IOException {
    Process process = agent();
    await(
        "an answer of the agent: " + said(),
        () -> {
          assertThat(process.isAlive()).as("agent: %s", said()).isTrue();
          try {
            JsonObject _ = call("Agent.Status", JsonObject.empty());
            return true;
          } catch (VarlinkConnectionException e) {
            return false;
          }
        });
  }

  /** Starts the agent; {@link #agentListens} tells what comes of it. */
  void launchAgent() throws IOException {
    Process _ = agent();
  }

  /** Waits until the agent listens: false if it has ended, and says why. */
  boolean agentListens() {
    await("the agent's start or end", () -> said().contains(READY) || !agentIsAlive());
    return said().contains(READY);
  }

  private Process agent() throws IOException {
    List<String> arguments =
        main.equals(AGENT)
            ? List.of("--run", run.toString())
            : List.of(run.toString(), fault().toString());
    Process process = java(main, directory.resolve("agent.err"), arguments);
    agent = Optional.of(process);
    return process;
  }

  /** Starts the agent, and kills it with SIGKILL after so many milliseconds. */
  void startAgentAndKillIt(long millis) throws IOException {
    Process _ = agent();
    RunningGuest.pause(millis);
    killAgent();
  }

  /** The agent's process. */
  long agentPid() {
    return agent.orElseThrow().pid();
  }

  /** Whether the last agent that was started runs. */
  boolean agentIsAlive() {
    return agent.filter(Process::isAlive).isPresent();
  }

  /** Ends the agent in good order. */
  void endAgent() {
    agent.ifPresent(Process::destroy);
    awaitAgentDeath();
  }

  /** The process that keeps descriptors for the agent. */
  long keeper() {
    return Long.parseLong(read(run.resolve("keeper")).split("@", 2)[0]);
  }

  private Process java(String main, Path output, List<String> arguments) throws IOException {
    return java(main, output, arguments, Map.of());
  }

  private Process java(
      String main, Path output, List<String> arguments, Map<String, String> environment)
      throws IOException {
    List<String> command = new ArrayList<>(prefix);
    command.addAll(
        Jvm.command("io.holdfast.benchmarks", main, List.of("-XX:TieredStopAtLevel=1"), arguments));
    ProcessBuilder builder = new ProcessBuilder(command);
    builder.environment().put(MARK, directory.toString());
    builder.environment().putAll(environment);
    return builder.redirectErrorStream(true).redirectOutput(output.toFile()).start();
  }

  /** Runs an agent that is expected to give up, and returns what it said. */
  String runAgain(List<String> arguments) throws IOException {
    return runAgain(arguments, Map.of());
  }

  /** As {@link #runAgain(List)}, with these variables in its environment. */
  String runAgain(List<String> arguments, Map<String, String> environment) throws IOException {
    Path output = directory.resolve("again.err");
    Process process = java(AGENT, output, arguments, environment);
    await("the end of an agent that can't run", () -> !process.isAlive());
    assertThat(process.exitValue()).isEqualTo(1);
    return Files.readString(output);
  }

  /**
   * Runs a program that takes the place of the agent, which must not run, and waits for its end.
   *
   * @return what it said
   */
  String runInstead(String main, List<String> arguments) throws IOException {
    Path output = directory.resolve("instead.out");
    Process process = java(main, output, arguments);
    agent = Optional.of(process);
    try {
      process.waitFor();
    } catch (InterruptedException e) {
      process.destroyForcibly();
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while " + main + " ran", e);
    }
    String said = Files.readString(output);
    assertThat(process.exitValue()).as(said).isZero();
    return said;
  }

  /** What the agent has printed. */
  String said() {
    try {
      return Files.readString(directory.resolve("agent.err"));
    } catch (IOException e) {
      return "";
    }
  }

  /** Kills the agent with SIGKILL. */
  void killAgent() {
    agent.ifPresent(Process::destroyForcibly);
    awaitAgentDeath();
  }

  /** Waits until the agent has gone. */
  void awaitAgentDeath() {
    await("the agent's death", () -> !agent.orElseThrow().isAlive());
  }

  private Path fault() {
    return directory.resolve("fault");
  }

  /** Lets a fault strike, once. */
  void arm(FaultyAgent.Fault fault) throws IOException {
    Path aside = directory.resolve("fault.new");
    Files.writeString(aside, fault.toString());
    Files.move(aside, fault());
  }

  /** Whether a fault that was armed has not struck yet. */
  boolean armed() {
    return Files.exists(fault());
  }

  /** Takes an armed fault back. */
  void disarm() throws IOException {
    Files.deleteIfExists(fault());
  }

  /** Calls the agent. */
  JsonObject call(String method, JsonObject parameters) {
    try (VarlinkClient client = VarlinkClient.connect(Linux.system(), run.resolve("agent.sock"))) {
      return client.call("io.holdfast." + method, parameters);
    }
  }

  /** Updates the VM and returns the report. */
  JsonObject update(String qemu) {
    return call("Update.Vmm", JsonObject.of("name", VM, "qemu", qemu)).object("report");
  }

  // ---- the VM ----

  /** What the test guest needs. */
  JsonObject definition(String qemu) {
    return JsonObject.of(
        "name",
        VM,
        "qemu",
        qemu,
        "memory",
        160L << 20,
        "cpus",
        1,
        "accelerator",
        "tcg",
        "kernel",
        guest().resolve("vmlinuz").toString(),
        "initrd",
        guest().resolve("initramfs.cpio").toString(),
        "append",
        GuestImage.append() + " holdfast.pattern=4",
        "disks",
        List.of(JsonObject.of("path", disk.toString())),
        "extra",
        List.of());
  }

  /** Runs the VM until its guest works, and remembers what there is now as whole. */
  JsonObject runVm(String qemu) {
    return runVm(definition(qemu));
  }

  /** As {@link #runVm(String)}, for a definition made from {@link #definition}. */
  JsonObject runVm(JsonObject definition) {
    JsonObject vm = call("Vm.Run", JsonObject.of("definition", definition)).object("vm");
    witness = new Witness();
    await(
        "the guest's boot",
        () -> {
          witness.follow(console());
          return witness.ready() && witness.last() > 3;
        });
    whole = Optional.of(state());
    return vm;
  }

  /** Whether the VM was run and not stopped since. */
  boolean runs() {
    return whole.isPresent();
  }

  /** Stops the VM. */
  void stopVm() {
    var _ = call("Vm.Stop", JsonObject.of("name", VM));
    whole = Optional.empty();
  }

  JsonObject show() {
    return call("Vm.Show", JsonObject.of("name", VM)).object("vm");
  }

  /** Whether no operation has the VM, whose guest runs. */
  boolean isFree() {
    try {
      JsonObject _ = call("Vm.Resume", JsonObject.of("name", VM));
      return true;
    } catch (VarlinkException e) {
      return false;
    }
  }

  /** The boot id that the guest's console told. */
  long boot() {
    return witness.boot();
  }

  private Path console() {
    return run.resolve("vms/" + VM + "/console.log");
  }

  /**
   * Checks that the guest goes on in exactly one process with nothing repeated or skipped, and that
   * nothing is left over or missing.
   */
  void assertWhole() {
    assertRuns();
    State before = whole.orElseThrow();
    State[] now = {state()};
    // What only has to be closed by a thread that was woken, or reaped, may take a moment.
    try {
      await(
          "a host as it was",
          () -> {
            now[0] = state();
            return now[0].equals(before);
          });
    } catch (AssertionError _) {
      throw new AssertionError(
          "the host was %s and is %s; processes: %s; agent said: %s"
              .formatted(before, now[0], commands(), said()));
    }
  }

  private void assertRuns() {
    witness.follow(console());
    long from = witness.last();
    await(
        "the guest goes on from " + from + "; " + witness.consoleCheck() + "; agent: " + said(),
        () -> {
          witness.follow(console());
          return witness.last() > from + 5;
        });
    assertThat(witness.consoleCheck()).isInstanceOf(ChainCheck.Unbroken.class);
    assertThat(qemus(run)).as("agent: %s; processes: %s", said(), commands()).hasSize(1);
    JsonObject vm = show();
    assertThat(vm.string("state")).as("%s", vm).isEqualTo("running");
    assertThat(vm.number("pid")).isEqualTo(qemus(run).getFirst());
  }

  /** Kills the VM's QEMU. */
  void killVm() {
    for (long pid : qemus(run)) {
      var _ = ProcessHandle.of(pid).map(ProcessHandle::destroyForcibly);
    }
    assertNothingRuns();
  }

  /** Checks that no QEMU is left. */
  void assertNothingRuns() {
    await("no QEMU", () -> qemus(run).isEmpty());
  }

  /** Checks that nothing is left of the VM: the agent and its descriptor store, holding nothing. */
  void assertEmpty() {
    try {
      await("an agent and its keeper only", () -> processes().size() == 2);
    } catch (AssertionError e) {
      throw new AssertionError(commands() + "; agent: " + said(), e);
    }
    // A new agent rehearses for a moment, and says so.
    await("the rehearsal's end", () -> !files().contains("updates/rehearsal.journal"));
    assertThat(files())
        .containsExactlyInAnyOrder("", "agent.lock", "agent.sock", "keeper", "updates", "vms");
    assertThat(call("Agent.Status", JsonObject.empty()).number("heldDescriptors")).isZero();
  }

  /** Checks the stopped guest's disk against its console. */
  ChainCheck diskCheck() {
    Path raw = directory.resolve("disk.raw");
    Witness.rawCopy(disk, raw);
    return witness.disk(raw, 0);
  }

  /** Reads the rest of the console; its log is gone once the VM is stopped. */
  void followConsole() {
    witness.follow(console());
  }

  /** What the guest itself called a problem. */
  List<String> complaints() {
    followConsole();
    return witness.complaints();
  }

  /** What there is now. */
  State state() {
    return new State(
        processes().size(),
        files(),
        descriptors(agent.orElseThrow().pid()),
        descriptors(keeper()),
        call("Agent.Status", JsonObject.empty()).number("heldDescriptors"));
  }

  private Set<String> files() {
    return files(run);
  }

  /** Names in a run directory, without reports and memory, and generations without number. */
  static Set<String> files(Path run) {
    try (Stream<Path> all = Files.walk(run)) {
      return all.map(each -> run.relativize(each).toString())
          .filter(each -> !(each.startsWith("updates/") && each.endsWith(".json")))
          .filter(each -> !each.equals("failed-pairs"))
          .map(each -> each.replaceFirst("generation-\\d+", "generation-N"))
          .collect(Collectors.toCollection(TreeSet::new));
    } catch (IOException | UncheckedIOException _) {
      // It changes while it is read.
      return new TreeSet<>(List.of("changing"));
    }
  }

  /** Every process of this host: the agent, its children, and whatever else they started. */
  List<Long> processes() {
    String mark = MARK + "=" + directory;
    return pids(
        pid -> List.of(read(Path.of("/proc/" + pid + "/environ")).split("\0")).contains(mark));
  }

  /** The processes of this host with their command lines, for people. */
  List<String> commands() {
    return processes().stream()
        .map(pid -> pid + " " + read(Path.of("/proc/" + pid + "/cmdline")).replace('\0', ' '))
        .toList();
  }

  /** Processes that run a VM of this run directory: what they print goes to a log in it. */
  static List<Long> qemus(Path run) {
    return printingTo(run.resolve("vms"));
  }

  /** Likewise, of one VM. */
  static List<Long> qemus(Path run, String vm) {
    return printingTo(run.resolve("vms").resolve(vm));
  }

  private static List<Long> printingTo(Path directory) {
    return pids(
        pid -> {
          try {
            Path output = Files.readSymbolicLink(Path.of("/proc/" + pid + "/fd/1"));
            return output.startsWith(directory);
          } catch (IOException _) {
            return false;
          }
        });
  }

  /** The process that the VM's record names. */
  static long recordedProcess(Path run) {
    return recordedProcess(run, VM);
  }

  /** The process that this VM's record names. */
  static long recordedProcess(Path run, String vm) {
    String record = read(run.resolve("vms/" + vm + "/vm.json"));
    return Long.parseLong(Json.parse(record).string("process").split("@", 2)[0]);
  }

  private interface PidTest {
    boolean test(long pid);
  }

  private static List<Long> pids(PidTest test) {
    return ProcessHandle.allProcesses().map(ProcessHandle::pid).filter(test::test).toList();
  }

  /** Whether any thread of a process still runs; its first one may be a zombie long before. */
  static boolean alive(long pid) {
    String stat = read(Path.of("/proc/" + pid + "/stat"));
    if (stat.isEmpty() || stat.charAt(stat.lastIndexOf(')') + 2) != 'Z') {
      return !stat.isEmpty();
    }
    try (Stream<Path> threads = Files.list(Path.of("/proc/" + pid + "/task"))) {
      return threads.count() > 1;
    } catch (IOException | UncheckedIOException _) {
      return false;
    }
  }

  /** Whether every thread of a process is stopped by a signal. */
  static boolean stopped(long pid) {
    try (Stream<Path> threads = Files.list(Path.of("/proc/" + pid + "/task"))) {
      return threads.allMatch(
          each -> {
            String stat = read(each.resolve("stat"));
            return stat.isEmpty() || stat.charAt(stat.lastIndexOf(')') + 2) == 'T';
          });
    } catch (IOException | UncheckedIOException _) {
      return false;
    }
  }

  /** A process's descriptors by kind; without the JVM's own files, which it opens as it likes. */
  static Map<String, Long> descriptors(long pid) {
    Map<String, Long> kinds = new TreeMap<>();
    try (Stream<Path> all = Files.list(Path.of("/proc/" + pid + "/fd"))) {
      for (Path each : all.toList()) {
        try {
          String link = Files.readSymbolicLink(each).toString();
          if (!link.endsWith(".jar") && !link.contains("/lib/") && !link.startsWith("/dev/")) {
            var _ = kinds.merge(link.replaceAll("[0-9]+", "N"), 1L, Long::sum);
          }
        } catch (IOException _) {
          // Closed since.
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return kinds;
  }

  /** A file's text; empty if it is gone or somebody else's. */
  private static String read(Path file) {
    try {
      return new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1);
    } catch (IOException _) {
      return "";
    }
  }

  /** Waits for a condition that comes about by itself. */
  static void await(String what, BooleanSupplier condition) {
    await(HANG_SECONDS, what, condition);
  }

  /** As {@link #await(String, BooleanSupplier)}, for what may take longer. */
  static void await(int seconds, String what, BooleanSupplier condition) {
    long end = System.nanoTime() + seconds * 1_000_000_000L;
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() - end > 0) {
        throw new AssertionError("waited " + seconds + " s in vain for " + what);
      }
      try {
        Thread.sleep(20);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new AssertionError("interrupted while waiting for " + what, e);
      }
    }
  }

  /** Ends every process of this host. */
  void endProcesses() {
    await(
        "the end of this host's processes",
        () -> {
          // Again and again: an agent that is still there replaces a descriptor store that was
          // killed.
          List<Long> left = processes();
          left.forEach(pid -> ProcessHandle.of(pid).ifPresent(ProcessHandle::destroyForcibly));
          return left.isEmpty();
        });
  }

  /** Ends every process of this host and removes its directory. */
  @Override
  public void close() throws IOException {
    endProcesses();
    try (Stream<Path> all = Files.walk(directory)) {
      for (Path each : all.sorted(java.util.Comparator.reverseOrder()).toList()) {
        Files.delete(each);
      }
    }
  }
}
