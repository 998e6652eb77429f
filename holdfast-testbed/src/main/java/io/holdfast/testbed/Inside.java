package io.holdfast.testbed;

import io.holdfast.linux.Linux;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Properties;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** What a scenario's inside half has: the machine that it runs on, and how to tell the outside. */
public final class Inside {
  /** The folder that both sides write, inside. */
  static final Path EXCHANGE = Path.of("/run/exchange");

  static final String MACHINE = "machine.properties";
  static final String KERNEL = "kernel";
  static final String NEXT_KERNEL = "next-kernel";
  static final String COMMAND_LINE = "command-line";
  static final String DUMP = "dump";
  static final String BOOT = "holdfast.boot=";

  /** Made by the outside when the debugger is ready to dump. */
  static final String DUMP_ARMED = "dump-armed";

  static final String REMEMBERED = "remembered.properties";
  private static final long DUMP_PATIENCE_MILLIS = 30_000;
  private static final Pattern FIRST_PROGRAM =
      Pattern.compile("\\[ *(\\d+\\.\\d+)\\] Run \\S+ as init process");

  private static final String DEPARTED = "departed";
  private static final long SAMPLE_NANOS = 500_000_000;

  private final int boot;
  private final long startCounter = Linux.system().timeStampCounter().orElse(0);
  private final long startNanos = System.nanoTime();
  private final Properties machine;
  private final String release;
  private volatile boolean quiet;

  Inside() throws IOException {
    String commandLine = Files.readString(Path.of("/proc/cmdline")).strip();
    int at = commandLine.indexOf(BOOT);
    if (at < 0) {
      throw new IOException("not in a testbed: the kernel's command line has no " + BOOT);
    }
    this.boot = Integer.parseInt(commandLine.substring(at + BOOT.length()).split(" ", 2)[0]);
    this.machine = read(EXCHANGE.resolve(MACHINE));
    this.release = Files.readString(Path.of("/proc/sys/kernel/osrelease")).strip();
  }

  /** How many kexecs there were: 0 on the first kernel. */
  public int boot() {
    return boot;
  }

  /** The running kernel's release, as {@code uname -r} says it. */
  public String release() {
    return release;
  }

  /** The system. */
  public Linux linux() {
    return Linux.system();
  }

  /** A folder that the outside sees as well, kept over the kexec; slow, so for small things. */
  public Path exchange() {
    return EXCHANGE;
  }

  /**
   * Tells whether something holds; the scenario goes on if it does not, and fails.
   *
   * @param name what should hold
   */
  public void check(String name, boolean holds) {
    say(new Report.Checked(new Result.Check(holds, name, Optional.empty())));
  }

  /**
   * Tells whether a value is as it should be.
   *
   * @param name what it is
   */
  public void same(String name, Object expected, Object actual) {
    say(new Report.Checked(Result.Check.same(name, expected, actual)));
  }

  /**
   * Tells whether something holds.
   *
   * @param name what should hold
   * @param detail the figures behind it, or what is wrong
   */
  public void check(String name, boolean holds, String detail) {
    say(new Report.Checked(new Result.Check(holds, name, Optional.of(detail))));
  }

  /**
   * Tells something that is worth knowing to a program.
   *
   * @param key a word, by which it is found; the last text counts
   */
  public void fact(String key, String text) {
    say(new Report.Fact(key, text));
  }

  /** Tells something that is worth knowing. */
  public void note(String text) {
    say(new Report.Note(text));
  }

  /** Keeps a value over the kexec, outside. */
  public void remember(String key, Object value) {
    Path file = EXCHANGE.resolve(REMEMBERED);
    Properties all = Files.exists(file) ? read(file) : new Properties();
    all.setProperty(key, value.toString());
    try (Writer out = Files.newBufferedWriter(file)) {
      all.store(out, "kept over the kexec");
    } catch (IOException e) {
      throw new UncheckedIOException("remembering " + key, e);
    }
  }

  /**
   * A value that was kept.
   *
   * @throws IllegalStateException if there is none
   */
  public String recall(String key) {
    return Optional.ofNullable(read(EXCHANGE.resolve(REMEMBERED)).getProperty(key))
        .orElseThrow(() -> new IllegalStateException("nothing was remembered as " + key));
  }

  /** A value that was kept, or {@code otherwise}. */
  public String recall(String key, String otherwise) {
    Path file = EXCHANGE.resolve(REMEMBERED);
    return Files.exists(file) ? read(file).getProperty(key, otherwise) : otherwise;
  }

  /** Replaces the kernel; what outgoing sessions hold is handed over. Does not return. */
  public void kexec() {
    kexec(UnaryOperator.identity());
  }

  /**
   * Replaces the kernel. Does not return.
   *
   * @param commandLine changes the next kernel's command line
   * @throws io.holdfast.linux.SystemCallException if the kernel refuses it
   */
  public void kexec(UnaryOperator<String> commandLine) {
    String next = commandLine.apply(property(COMMAND_LINE) + " " + BOOT + (boot + 1));
    linux().kexec().load(Path.of(property(NEXT_KERNEL)), Optional.empty(), next);
    if (machine.getProperty(DUMP) != null && boot == 0) {
      awaitDebugger();
    }
    quiet = true;
    say(new Report.Kexec());
    remember(DEPARTED, linux().timeStampCounter().orElse(0));
    linux().kexec().execute();
  }

  /**
   * How long it took from the reboot call of {@link #kexec()} to when this kernel ran its first
   * program, by the processor's counter and the kernel's log.
   *
   * @return empty if this machine has no such counter
   * @throws IllegalStateException if the log does not say
   */
  public Optional<Duration> kexecToInit() throws IOException {
    long departed = Long.parseLong(recall(DEPARTED));
    while (System.nanoTime() - startNanos < SAMPLE_NANOS) {
      sleep(50);
    }
    long counter = linux().timeStampCounter().orElse(0);
    long nanos = System.nanoTime();
    double perNano = (counter - startCounter) / (double) (nanos - startNanos);
    if (departed == 0 || perNano <= 0) {
      return Optional.empty();
    }
    Process dmesg = new ProcessBuilder("dmesg").redirectErrorStream(true).start();
    String log = new String(dmesg.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    Matcher ran = FIRST_PROGRAM.matcher(log);
    if (!ran.find()) {
      throw new IllegalStateException("the kernel's log does not say when it ran its init");
    }
    long since = nanos - (long) (Double.parseDouble(ran.group(1)) * 1e9);
    return Optional.of(Duration.ofNanos((long) ((counter - departed) / perNano) - since));
  }

  /**
   * The command that starts another JVM with this one's classes.
   *
   * @param heap as {@code -Xmx} takes it
   */
  public List<String> java(String heap, Class<?> main, String... arguments) {
    return InsideJava.own().command(heap, main.getName(), List.of(arguments));
  }

  /** The kernel that {@link #kexec} goes to. */
  public Path nextKernel() {
    return Path.of(property(NEXT_KERNEL));
  }

  /** The kernel that runs now: the one that booted, or after a kexec the next one. */
  public Path runningKernel() {
    return Path.of(property(boot == 0 ? KERNEL : NEXT_KERNEL));
  }

  /** The command line that it gets. */
  public String nextCommandLine() {
    return property(COMMAND_LINE) + " " + BOOT + (boot + 1);
  }

  /**
   * Somebody else is about to replace the kernel: from now on nothing is heard of this one, and
   * that is as it should be. Does not return, unless nobody does it in time.
   *
   * @throws IllegalStateException if the machine is still here after {@code seconds}
   */
  public void awaitKexec(int seconds) {
    quiet = true;
    say(new Report.Kexec());
    sleep(seconds * 1000L);
    quiet = false;
    throw new IllegalStateException("no kexec within " + seconds + " s");
  }

  private static void awaitDebugger() {
    long deadline = System.nanoTime() + DUMP_PATIENCE_MILLIS * 1_000_000;
    while (!Files.exists(EXCHANGE.resolve(DUMP_ARMED))) {
      if (System.nanoTime() > deadline) {
        throw new IllegalStateException("the debugger outside did not get ready; see gdb.log");
      }
      sleep(100);
    }
  }

  static void sleep(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /** Whether the outside should hear nothing but what is said on purpose. */
  boolean quiet() {
    return quiet;
  }

  /** Writes a line to the outside; it has left this machine when this returns. */
  synchronized void say(Report report) {
    // Closing a serial line waits until it has sent everything.
    try (FileOutputStream out = new FileOutputStream(Report.DEVICE)) {
      out.write((report.line() + "\n").getBytes(StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new UncheckedIOException("telling the outside: " + report, e);
    }
  }

  private String property(String key) {
    return Optional.ofNullable(machine.getProperty(key)).orElseThrow();
  }

  private static Properties read(Path file) {
    Properties properties = new Properties();
    try (Reader in = Files.newBufferedReader(file)) {
      properties.load(in);
    } catch (IOException e) {
      throw new UncheckedIOException("reading " + file, e);
    }
    return properties;
  }
}
