package io.holdfast.testbed;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * The VM of one run: a QEMU process, what it is told at its start, and the watch over it until it
 * ends or is ended. QEMU is ended by {@link #close}, or by the kernel when the thread that made
 * this object ends (prctl(2), PR_SET_PDEATHSIG): so it never outlives a killed JVM.
 */
final class Machine implements AutoCloseable {
  /** The console's file in the run's folder. */
  static final String CONSOLE = "console.log";

  private static final String REPORT = "report.log";
  private static final String SAID = "qemu.log";
  private static final long POLL_MILLIS = 50;

  /** The rest of what the kernel has to say when it is in trouble. */
  private static final Duration GRACE = Duration.ofSeconds(2);

  /**
   * Of the limit: the inside says every 2 s that it is alive; a boot under emulation, after a dump,
   * on a busy machine is silent for half a minute.
   */
  private static final int SILENT_PART = 3;

  private static final Duration DEATH = Duration.ofSeconds(10);

  /**
   * Room for translated code, as much as QEMU takes. When it is full everything is translated anew,
   * and a guest on the emulated KVM may be lost in that moment (docs/testbed.md).
   */
  private static final int TRANSLATED_MIB = 2047;

  private final Path run;
  private final Path sockets;
  private final Setup setup;
  private final Process qemu;
  private final Follower console;
  private final Follower report;
  private final ConsoleWatch watch = new ConsoleWatch();
  private final Thread atExit = new Thread(this::end, "end the machine");

  /** How the machine's run ended. */
  sealed interface End {
    /** The inside said that it is done. */
    record Done() implements End {}

    /** QEMU ended by itself: the machine was switched off or restarted. */
    record Stopped(int status) implements End {}

    /** The inside said that the scenario can't be shown. */
    record Skipped(String reason) implements End {}

    /** A half ended by an exception. */
    record Failed(String why) implements End {}

    /** The kernel is in trouble. */
    record InTrouble(Trouble trouble) implements End {}

    /** It is not at its end within its limit. */
    record Late(String what) implements End {}
  }

  private Machine(Path run, Path sockets, Setup setup, Process qemu) {
    this.run = run;
    this.sockets = sockets;
    this.setup = setup;
    this.qemu = qemu;
    this.console = new Follower(run.resolve(CONSOLE));
    this.report = new Follower(run.resolve(REPORT));
    Runtime.getRuntime().addShutdownHook(atExit);
  }

  /**
   * Starts it.
   *
   * @param program what else QEMU is told
   * @throws SkippedException if there is no QEMU
   */
  static Machine start(Path run, Setup setup, Kernel kernel, List<String> program)
      throws IOException {
    // Short paths: a Unix socket's has 107 bytes at most.
    Path sockets = Files.createTempDirectory("holdfast-testbed");
    List<String> command =
        new ArrayList<>(
            List.of("setpriv", "--pdeathsig", "KILL", qemu(), "-name", "holdfast-testbed"));
    command.addAll(
        List.of(
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-accel",
            "tcg,thread=multi,tb-size=" + TRANSLATED_MIB,
            "-cpu",
            "max"));
    command.addAll(setup.options(run));
    if (!setup.recorded().isEmpty()) {
      command.add("-S"); // The processors stand until the debugger lets them go.
    }
    command.addAll(
        List.of(
            "-chardev", "file,id=console,path=" + run.resolve(CONSOLE),
            "-serial", "chardev:console",
            "-chardev", "file,id=report,path=" + run.resolve(REPORT),
            "-serial", "chardev:report",
            "-monitor", "unix:" + sockets.resolve("monitor") + ",server=on,wait=off",
            "-gdb", "unix:" + sockets.resolve("gdb") + ",server=on,wait=off",
            "-kernel", kernel.image().toString()));
    command.addAll(program);
    Files.writeString(run.resolve("qemu.command"), String.join(" \\\n  ", command) + "\n");
    // In a session of its own: a Ctrl-C is for this JVM, which then ends QEMU.
    command.addFirst("setsid");
    try {
      Process qemu =
          new ProcessBuilder(command)
              .redirectErrorStream(true)
              .redirectOutput(run.resolve(SAID).toFile())
              .start();
      qemu.getOutputStream().close();
      return new Machine(run, sockets, setup, qemu);
    } catch (IOException e) {
      Files.delete(sockets);
      throw new SkippedException(
          "QEMU can't be started (" + e.getMessage() + "); packages qemu-system-x86, util-linux");
    }
  }

  private static String qemu() {
    return System.getenv().getOrDefault("HOLDFAST_QEMU", "qemu-system-x86_64");
  }

  /** QEMU's monitor, for people: {@code socat - UNIX:…}. */
  Path monitor() {
    return sockets.resolve("monitor");
  }

  /** Where a debugger attaches: {@code target remote …}. */
  Path gdb() {
    return sockets.resolve("gdb");
  }

  /** QEMU's process. */
  long pid() {
    return qemu.pid();
  }

  /**
   * Watches until the end.
   *
   * @param heard gets each report, as it comes
   * @param seen gets each line of the kernel's console
   */
  End watch(Consumer<Report> heard, Consumer<String> seen) throws IOException {
    long start = System.nanoTime();
    long lastSign = start;
    Duration silence = setup.limit().dividedBy(SILENT_PART);
    Optional<Long> trouble = Optional.empty();
    boolean leaving = false;
    while (true) {
      boolean running = qemu.isAlive();
      List<String> consoleLines = console.lines();
      List<String> reports = report.lines();
      long now = System.nanoTime();
      for (String line : consoleLines) {
        seen.accept(line);
        if (watch.line(line).isPresent() && trouble.isEmpty()) {
          trouble = Optional.of(now);
        }
      }
      Optional<End> end = Optional.empty();
      for (String line : reports) {
        Report said = Report.parse(line);
        heard.accept(said);
        leaving = said instanceof Report.Kexec || (leaving && !(said instanceof Report.Boot));
        // A host that is being stopped for another kernel stops the inside, too.
        boolean stopped = leaving && said instanceof Report.Ended;
        end = end.isPresent() || stopped ? end : ends(said);
      }
      if (!consoleLines.isEmpty() || !reports.isEmpty()) {
        lastSign = now;
      }
      if (trouble.isPresent() && (!running || now - trouble.get() > GRACE.toNanos())) {
        return new End.InTrouble(watch.first().orElseThrow());
      }
      if (end.isPresent() && trouble.isEmpty()) {
        return end.get();
      }
      if (!running) {
        return new End.Stopped(qemu.exitValue());
      }
      if (setup.start() instanceof Setup.Start.Inside && now - lastSign > silence.toNanos()) {
        return new End.InTrouble(
            new Trouble(
                Trouble.Kind.HANG,
                "nothing was heard for " + silence.toSeconds() + " s" + processors()));
      }
      if (now - start > setup.limit().toNanos()) {
        return new End.Late(
            "it did not end within " + setup.limit().toSeconds() + " s" + processors());
      }
      Inside.sleep(POLL_MILLIS);
    }
  }

  private static Optional<End> ends(Report said) {
    return switch (said) {
      case Report.Done() -> Optional.of(new End.Done());
      case Report.Skip(String reason) -> Optional.of(new End.Skipped(reason));
      case Report.Fail(String text) -> Optional.of(new End.Failed(text));
      case Report.Ended(String status) ->
          Optional.of(
              new End.Failed(
                  "the inside ended with status " + status + "; the console has its last words"));
      default -> Optional.empty();
    };
  }

  /** Where the processors are, for a machine that does not move; empty if QEMU does not say. */
  private String processors() {
    try {
      String registers = Monitor.ask(monitor(), "info registers -a");
      Files.writeString(run.resolve("registers.txt"), registers);
      List<String> at =
          registers
              .lines()
              .filter(l -> l.startsWith("RIP="))
              .map(l -> l.substring(4).split(" ", 2)[0])
              .toList();
      return at.isEmpty()
          ? ""
          : String.format(
              Locale.ROOT, "; processors at %s (see registers.txt)", String.join(", ", at));
    } catch (IOException e) {
      return "";
    }
  }

  /** What QEMU itself wrote; empty if nothing. */
  String said() throws IOException {
    return Files.readString(run.resolve(SAID), StandardCharsets.UTF_8).strip();
  }

  /** Ends QEMU, and waits until it is gone; also when this JVM exits, by Ctrl-C for instance. */
  @Override
  public void close() throws IOException {
    end();
    try {
      boolean _ = Runtime.getRuntime().removeShutdownHook(atExit);
    } catch (IllegalStateException _) {
      // This JVM is exiting; the hook does the same.
    }
    if (qemu.isAlive()) {
      throw new IOException("QEMU, process " + qemu.pid() + ", was killed but does not end");
    }
  }

  /** Any thread may call this, also twice. */
  private void end() {
    qemu.destroyForcibly();
    try {
      boolean _ = qemu.waitFor(DEATH);
      Files.deleteIfExists(monitor());
      Files.deleteIfExists(gdb());
      Files.deleteIfExists(sockets);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } catch (IOException e) {
      System.getLogger(Machine.class.getName())
          .log(System.Logger.Level.WARNING, "removing " + sockets, e);
    }
  }

  /** Reads a growing file by whole lines. */
  private static final class Follower {
    private final Path file;
    private long position;
    private String rest = "";

    Follower(Path file) {
      this.file = file;
    }

    /** The lines that were completed since the last time. */
    List<String> lines() throws IOException {
      if (!Files.exists(file)) {
        return List.of();
      }
      try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
        ByteBuffer bytes = ByteBuffer.allocate((int) Math.min(1 << 20, channel.size() - position));
        while (bytes.hasRemaining() && channel.read(bytes, position + bytes.position()) > 0) {
          // until full
        }
        position += bytes.position();
        rest += new String(bytes.array(), 0, bytes.position(), StandardCharsets.UTF_8);
      }
      List<String> lines = new ArrayList<>();
      int from = 0;
      for (int end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n', from)) {
        lines.add(rest.substring(from, end).replace("\r", ""));
        from = end + 1;
      }
      rest = rest.substring(from);
      return lines;
    }
  }
}
