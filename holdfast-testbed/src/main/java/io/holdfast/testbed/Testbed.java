package io.holdfast.testbed;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/**
 * Runs scenarios. One run at a time of a scenario in one base folder; scenarios may run in parallel
 * where there is memory for it.
 */
public final class Testbed {
  private static final String ROOT =
      " root=rootfs rootfstype=9p"
          + " rootflags=trans=virtio,version=9p2000.L,cache=loose,msize=1048576";

  private static final String HEAP = "128m";

  private final Path testbed;
  private final Path base;
  private final Kernels kernels;

  /**
   * A testbed.
   *
   * @param testbed the project's testbed folder, which has {@code init}
   * @param base where each run gets a folder of the scenario's name; an older one is replaced
   * @param kernels what boots
   */
  public Testbed(Path testbed, Path base, Kernels kernels) {
    this.testbed = testbed.toAbsolutePath().normalize();
    this.base = base.toAbsolutePath().normalize();
    this.kernels = kernels;
  }

  /** What a caller may want of a run besides its result. */
  public interface Watcher {
    /** Something happened, for people. */
    default void progress(String text) {}

    /** Something happened, for programs; any thread may tell it. */
    default void fact(String key, String text) {
      progress(key + ": " + text);
    }

    /** The kernel said something on its console. */
    default void console(String line) {}

    /** The run is at its end; the machine is still there, and is ended when this returns. */
    default void ended(Path monitor, Path gdb, long pid) throws IOException {}
  }

  /**
   * The project's testbed folder: HOLDFAST_TESTBED, or found from the working directory upwards.
   */
  public static Path find() {
    String told = System.getenv().getOrDefault("HOLDFAST_TESTBED", "");
    if (!told.isEmpty()) {
      return Path.of(told);
    }
    for (Path p = Path.of("").toAbsolutePath(); p != null; p = p.getParent()) {
      if (Files.exists(p.resolve("testbed/init"))) {
        return p.resolve("testbed");
      }
    }
    throw new IllegalStateException(
        "no testbed folder here or above: set HOLDFAST_TESTBED to the project's testbed folder");
  }

  /**
   * Runs a scenario.
   *
   * @param change changes its machine
   * @throws Kernels.KernelBuildException if the kernel does not build
   */
  public Result run(Scenario scenario, UnaryOperator<Setup> change, Watcher watcher) {
    Run run = new Run(scenario, change.apply(scenario.setup()), watcher);
    Result.Outcome outcome;
    try {
      outcome = run.go();
    } catch (SkippedException e) {
      outcome = new Result.Outcome.Skipped(String.valueOf(e.getMessage()));
    } catch (IOException | RuntimeException e) {
      if (e instanceof Kernels.KernelBuildException failed) {
        throw failed;
      }
      outcome = new Result.Outcome.Failed("outside: " + e);
    }
    return run.result(outcome);
  }

  /** One run. */
  private final class Run {
    private final Scenario scenario;
    private final Setup setup;
    private final Watcher watcher;
    private final Path folder;
    private final List<String> booted = new ArrayList<>();
    private final List<Result.Check> checks = new ArrayList<>();
    private final List<String> notes = new ArrayList<>();
    private final Map<String, String> facts = new ConcurrentHashMap<>();
    private Optional<Trouble> trouble = Optional.empty();
    private Optional<Dumper> dumper = Optional.empty();
    private volatile boolean over;
    private long started;
    private long booting;
    private long kexec;

    Run(Scenario scenario, Setup setup, Watcher watcher) {
      this.scenario = scenario;
      this.setup = setup;
      this.watcher = watcher;
      this.folder = base.resolve(scenario.name());
    }

    Result result(Result.Outcome outcome) {
      over = true;
      Duration length =
          started == 0 ? Duration.ZERO : Duration.ofNanos(System.nanoTime() - started);
      return new Result(
          scenario.name(),
          scenario.title(),
          outcome,
          booted,
          checks,
          notes,
          facts,
          trouble,
          length,
          Files.exists(folder) ? Optional.of(folder) : Optional.empty());
    }

    Result.Outcome go() throws IOException {
      remove(folder);
      Kernel kernel = kernels.get(setup.kernel());
      Kernel next = kernels.get(setup.next());
      if (setup.dumpAt().isPresent()) {
        Dumper.require();
        if (kernel.vmlinux().isEmpty()) {
          throw new SkippedException(
              "a dump needs the kernel's vmlinux, and this is only an image");
        }
      }
      // Waiting for a kernel to be built is not the scenario's time.
      started = System.nanoTime();
      Files.createDirectories(folder);
      Outside outside = new Outside(folder, kernel, next, this::fact);
      Files.createDirectories(outside.exchange());
      List<Long> disks = setup.disks();
      for (int i = 0; i < disks.size(); i++) {
        try (RandomAccessFile disk = new RandomAccessFile(outside.disk(i).toFile(), "rw")) {
          disk.setLength(disks.get(i));
        }
      }
      scenario.prepare(outside);
      List<String> program = program(outside);
      watcher.progress("booting " + kernel.what());
      booting = System.nanoTime();
      Machine.End end;
      try (Machine machine = Machine.start(folder, setup, kernel, program)) {
        try {
          if (!setup.recorded().isEmpty()) {
            arm(outside, machine); // Now, and the debugger starts the processors.
          }
          end = machine.watch(heard(outside, machine), watcher::console);
          if (end instanceof Machine.End.Done && dumper.isPresent()) {
            dumper.get().await(outside.dump());
          }
        } finally {
          dumper.ifPresent(Dumper::close);
        }
        String said = machine.said();
        if (!said.isEmpty()) {
          notes.add("QEMU said: " + said);
        }
        watcher.ended(machine.monitor(), machine.gdb(), machine.pid());
      }
      Result.Outcome outcome = judge(end, outside);
      checks.addAll(outside.checks());
      notes.addAll(outside.notes());
      return outcome instanceof Result.Outcome.Passed ? held() : outcome;
    }

    private Result.Outcome judge(Machine.End end, Outside outside) throws IOException {
      if (scenario.provokes().isPresent()) {
        return provoked(scenario.provokes().get(), end, outside);
      }
      boolean stopsItself = setup.start() instanceof Setup.Start.Initramfs;
      switch (end) {
        case Machine.End.Done() -> {}
        case Machine.End.Stopped(int status) when stopsItself && status == 0 -> {}
        case Machine.End.Stopped(int status) -> {
          return failed(
              "the machine stopped before it was done (QEMU's exit status " + status + ")");
        }
        case Machine.End.Skipped(String reason) -> {
          return new Result.Outcome.Skipped(reason);
        }
        case Machine.End.Failed(String why) -> {
          return failed(why);
        }
        case Machine.End.InTrouble(Trouble seen) -> {
          trouble = Optional.of(seen);
          return failed(seen.toString());
        }
        case Machine.End.Late(String what) -> {
          return failed(what);
        }
      }
      scenario.outside(outside);
      return new Result.Outcome.Passed();
    }

    private Result.Outcome provoked(Trouble.Kind wanted, Machine.End end, Outside outside)
        throws IOException {
      if (end instanceof Machine.End.InTrouble(Trouble seen)) {
        trouble = Optional.of(seen);
        checks.add(
            new Result.Check(
                seen.kind() == wanted,
                "the testbed noticed the " + wanted,
                Optional.of(seen.toString())));
        scenario.outside(outside);
        return new Result.Outcome.Passed();
      }
      if (end instanceof Machine.End.Skipped(String reason)) {
        return new Result.Outcome.Skipped(reason);
      }
      return failed("the testbed did not notice the " + wanted + " that was provoked: " + end);
    }

    private Result.Outcome held() {
      List<Result.Check> broken = checks.stream().filter(c -> !c.ok()).toList();
      if (!broken.isEmpty()) {
        Result.Check first = broken.getFirst();
        return failed(
            broken.size()
                + " of "
                + checks.size()
                + " checks did not hold; the first: "
                + first.name()
                + first.detail().map(d -> " (" + d + ")").orElse(""));
      }
      return checks.isEmpty() ? failed("nothing was checked") : new Result.Outcome.Passed();
    }

    private Result.Outcome failed(String why) {
      return new Result.Outcome.Failed(why);
    }

    private Consumer<Report> heard(Outside outside, Machine machine) {
      return report -> {
        switch (report) {
          case Report.Boot(int number, String release) -> boot(number, release, outside, machine);
          case Report.Checked(Result.Check check) -> checks.add(check);
          case Report.Note(String text) -> {
            notes.add(text);
            watcher.progress(text);
          }
          case Report.Fact(String key, String text) -> fact(key, text);
          case Report.Kexec() -> {
            kexec = System.nanoTime();
            watcher.progress("kexec");
          }
          default -> {}
        }
      };
    }

    private void fact(String key, String text) {
      // A thread of the scenario's may still be telling when the run is over.
      if (!over) {
        facts.put(key, text);
        watcher.fact(key, text);
      }
    }

    private void boot(int number, String release, Outside outside, Machine machine) {
      long since = number == 0 ? booting : kexec;
      booted.add(
          String.format(
              Locale.ROOT,
              "kernel %d: Linux %s, %.1f s after the %s",
              number,
              release,
              (System.nanoTime() - since) / 1e9,
              number == 0 ? "start" : "kexec"));
      watcher.progress(booted.getLast());
      if (number > 0 || setup.dumpAt().isEmpty() || dumper.isPresent()) {
        return;
      }
      try {
        arm(outside, machine);
      } catch (IOException e) {
        throw new java.io.UncheckedIOException(e);
      }
    }

    private void arm(Outside outside, Machine machine) throws IOException {
      dumper =
          Optional.of(
              Dumper.arm(
                  folder,
                  outside.kernel().vmlinux().orElseThrow(),
                  machine.gdb(),
                  machine.monitor(),
                  setup.recorded(),
                  setup.dumpAt().orElseThrow(),
                  outside.dump()));
      Files.createFile(outside.exchange().resolve(Inside.DUMP_ARMED));
    }

    /** QEMU's options for what the kernel starts. */
    private List<String> program(Outside outside) throws IOException {
      String words = String.join(" ", setup.words()) + TimeStampCounter.words();
      return switch (setup.start()) {
        case Setup.Start.Initramfs(String file) ->
            List.of("-append", words, "-initrd", folder.resolve(file).toString());
        case Setup.Start.Root(String init) ->
            List.of(
                "-append",
                words + ROOT + " rw init=" + init,
                "-virtfs",
                "local,path="
                    + escaped(outside.root())
                    + ",mount_tag=rootfs,security_model=passthrough,multidevs=remap",
                "-virtfs",
                "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap");
        case Setup.Start.Inside() -> {
          words += ROOT + " ro init=" + testbed.resolve("init");
          exchange(outside, words);
          yield List.of(
              "-append",
              words + " " + Inside.BOOT + 0,
              "-virtfs",
              "local,path=/,mount_tag=rootfs,security_model=none,readonly=on,multidevs=remap",
              "-virtfs",
              "local,path="
                  + escaped(outside.exchange())
                  + ",mount_tag=exchange,security_model=none");
        }
      };
    }

    private void exchange(Outside outside, String words) throws IOException {
      Properties machine = new Properties();
      machine.setProperty(Inside.KERNEL, outside.kernel().image().toString());
      machine.setProperty(Inside.NEXT_KERNEL, outside.next().image().toString());
      machine.setProperty(Inside.COMMAND_LINE, words);
      setup.dumpAt().ifPresent(function -> machine.setProperty(Inside.DUMP, function));
      try (Writer out = Files.newBufferedWriter(outside.exchange().resolve(Inside.MACHINE))) {
        machine.store(out, "what the inside must know");
      }
      Files.writeString(outside.exchange().resolve("start"), start());
    }

    /** The shell script that {@code testbed/init} runs: starts the inside half. */
    private String start() throws IOException {
      StringBuilder script = new StringBuilder();
      script.append("export HOLDFAST_TESTBED=").append(quoted(testbed.toString())).append("\n");
      for (String variable : List.of("HOLDFAST_GUEST", "HOLDFAST_GUEST_AGENT", "HOLDFAST_QEMU")) {
        String value = System.getenv().getOrDefault(variable, "");
        if (!value.isEmpty()) {
          script.append("export ").append(variable).append("=").append(quoted(value)).append("\n");
        }
      }
      setup
          .early()
          .ifPresent(
              early ->
                  script
                      .append("read -r line </proc/cmdline; case $line in *")
                      .append(Inside.BOOT)
                      .append("0*) ;; *) ")
                      .append(early)
                      .append(" ;; esac\n"));
      InsideJava java = InsideJava.in(base.resolve("java"));
      if (java.cache().isEmpty()) {
        watcher.progress(
            "no AOT cache, JVMs inside start slower: " + InsideJava.LOG + " tells why");
      }
      List<String> command =
          java.command(HEAP, InsideMain.class.getName(), List.of(scenario.getClass().getName()));
      script.append(String.join(" ", command.stream().map(Testbed::quoted).toList())).append("\n");
      return script.toString();
    }
  }

  private static String quoted(String word) {
    return "'" + word.replace("'", "'\\''") + "'";
  }

  private static String escaped(Path path) {
    return path.toString().replace(",", ",,");
  }

  static void remove(Path folder) throws IOException {
    if (!Files.exists(folder)) {
      return;
    }
    try (Stream<Path> all = Files.walk(folder)) {
      for (Path path : all.sorted((a, b) -> b.compareTo(a)).toList()) {
        Files.delete(path);
      }
    }
  }
}
