package io.holdfast.testbed;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/**
 * Writes the machine's memory to a file when the kernel comes to a function: gdb, at QEMU's stub,
 * sets a hardware breakpoint there and has QEMU's monitor dump. Until then it writes down the calls
 * of other functions, if it is told to. The kernel must not be moved (nokaslr).
 */
final class Dumper implements AutoCloseable {
  private static final String LOG = "gdb.log";

  /** What a line about a call begins with. */
  private static final String CALL = "call: ";

  /** So many of its arguments; the stack follows. */
  private static final int ARGUMENTS = 3;

  private static final String ARMED = "Hardware assisted breakpoint";
  private static final long PATIENCE_SECONDS = 60;
  private static final long POLL_MILLIS = 50;

  private final Process gdb;
  private final Path log;

  private Dumper(Process gdb, Path log) {
    this.gdb = gdb;
    this.log = log;
  }

  /** Throws if there is no gdb. */
  static void require() {
    try {
      Process version = new ProcessBuilder("gdb", "--version").redirectErrorStream(true).start();
      version.getInputStream().readAllBytes();
    } catch (IOException e) {
      throw new SkippedException("a dump needs gdb: apt-get install gdb");
    }
  }

  /**
   * Attaches, and returns when the breakpoints are set.
   *
   * @param stub QEMU's
   * @param monitor QEMU's
   * @param recorded functions whose calls are written down
   * @param into the dump's file
   */
  static Dumper arm(
      Path run,
      Path vmlinux,
      Path stub,
      Path monitor,
      List<String> recorded,
      String function,
      Path into)
      throws IOException {
    Path log = run.resolve(LOG);
    Path script = run.resolve("gdb.script");
    Files.write(script, script(stub, recorded, function, into));
    List<String> command =
        List.of(
            "setpriv",
            "--pdeathsig",
            "KILL",
            "gdb",
            "-nx",
            "-batch",
            "-x",
            script.toString(),
            vmlinux.toString());
    // QEMU may not have come to that yet, on a busy machine.
    for (long waited = 0;
        Files.notExists(stub) && waited < PATIENCE_SECONDS * 1000;
        waited += POLL_MILLIS) {
      Inside.sleep(POLL_MILLIS);
    }
    Process gdb =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    gdb.getOutputStream().close();
    Dumper dumper = new Dumper(gdb, log);
    var _ = gdb.onExit().thenAccept(_ -> goOn(log, monitor));
    for (long waited = 0; waited < PATIENCE_SECONDS * 1000; waited += POLL_MILLIS) {
      if (Files.readString(log).contains(ARMED)) {
        return dumper;
      }
      if (!gdb.isAlive()) {
        break;
      }
      Inside.sleep(POLL_MILLIS);
    }
    dumper.close();
    throw new IOException("gdb did not set a breakpoint at " + function + ": " + dumper.said());
  }

  private static List<String> script(Path stub, List<String> recorded, String function, Path into) {
    List<String> script = new ArrayList<>();
    script.add("set pagination off");
    // Writing a dump takes longer than a debugger waits for an answer.
    script.add("set remotetimeout 300");
    script.add("set breakpoint always-inserted on");
    script.add("target remote " + stub);
    recorded.forEach(each -> script.add("hbreak *" + address(each)));
    script.add("hbreak *" + address(function));
    script.add("continue");
    script.add("while $pc != " + address(function));
    for (String each : recorded) {
      script.add("if $pc == " + address(each));
      script.add("printf \"" + CALL + each + " %lx %lx %lx %lx\\n\", $rdi, $rsi, $rdx, $rsp");
      script.add("end");
    }
    script.add("continue");
    script.add("end");
    script.add("monitor dump-guest-memory " + into);
    script.add("delete");
    script.add("detach");
    return script;
  }

  /** The first instruction, before it has touched a register. */
  private static String address(String function) {
    return "(unsigned long)&" + function;
  }

  /** The calls that were written down in a run. */
  static List<Outside.Call> calls(Path run) throws IOException {
    List<Outside.Call> calls = new ArrayList<>();
    String last = "";
    for (String line : Files.readAllLines(run.resolve(LOG))) {
      // A processor that takes an interrupt when it is let go comes to the same breakpoint again:
      // with the same stack, which no other call of the same function right after it has been seen
      // to have with the same arguments, too.
      if (line.startsWith(CALL) && !line.equals(last)) {
        String[] words = line.substring(CALL.length()).split(" ", -1);
        calls.add(
            new Outside.Call(
                words[0],
                Stream.of(words)
                    .skip(1)
                    .limit(ARGUMENTS)
                    .map(each -> Long.parseUnsignedLong(each, 16))
                    .toList()));
      }
      last = line.startsWith(CALL) ? line : last;
    }
    return calls;
  }

  /**
   * Has the machine go on, which detaching alone does not always bring about: it was seen to stay
   * where the breakpoint had been.
   */
  private static void goOn(Path log, Path monitor) {
    try {
      String status = Monitor.ask(monitor, "info status");
      String _ = Monitor.ask(monitor, "cont");
      Files.writeString(log, "\nwhen gdb had ended: " + status + "\n", StandardOpenOption.APPEND);
    } catch (IOException e) {
      // The machine has ended, or its watch says that it hangs.
    }
  }

  private String said() throws IOException {
    return Files.readString(log).strip();
  }

  /**
   * Waits until the dump is written and the machine goes on.
   *
   * @throws IOException if it was not, with what gdb said
   */
  void await(Path into) throws IOException {
    try {
      if (!gdb.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS) || gdb.exitValue() != 0) {
        throw new IOException("the memory was not dumped; gdb said: " + said());
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while the memory was dumped", e);
    }
    if (!Files.exists(into)) {
      throw new IOException("the memory was not dumped; gdb said: " + said());
    }
  }

  @Override
  public void close() {
    gdb.destroyForcibly();
  }
}
