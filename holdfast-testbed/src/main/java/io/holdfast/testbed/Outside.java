package io.holdfast.testbed;

import java.io.IOException;
import java.io.Reader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Properties;
import java.util.function.BiConsumer;

/** What a scenario's outside half has: the run's folder and what is in it. */
public final class Outside {
  private final Path run;
  private final Kernel kernel;
  private final Kernel next;
  private final BiConsumer<String, String> facts;
  private Optional<Path> root = Optional.empty();
  private final List<Result.Check> checks = new ArrayList<>();
  private final List<String> notes = new ArrayList<>();

  Outside(Path run, Kernel kernel, Kernel next, BiConsumer<String, String> facts) {
    this.run = run;
    this.facts = facts;
    this.kernel = kernel;
    this.next = next;
  }

  /** The run's folder; it stays. */
  public Path run() {
    return run;
  }

  /** The folder that the inside sees as {@link Inside#exchange}. */
  public Path exchange() {
    return run.resolve("exchange");
  }

  /** The file of a disk, 0 for the first. */
  public Path disk(int number) {
    return Setup.disk(run, number);
  }

  /** The dump of the machine's memory, an ELF core file. */
  public Path dump() {
    return run.resolve("memory.elf");
  }

  /**
   * A call of a function of the kernel.
   *
   * @param function its name
   * @param arguments the first three, as far as it has them: what the registers had
   */
  public record Call(String function, List<Long> arguments) {}

  /**
   * The calls that were recorded ({@link Setup#withRecorded}), in their order.
   *
   * @throws IOException if the debugger's log can't be read
   */
  public List<Call> calls() throws IOException {
    return Dumper.calls(run);
  }

  /**
   * Gives a machine that starts from a root file system of its own ({@link Setup.Start.Root}) that.
   */
  public void root(Path folder) {
    root = Optional.of(folder);
  }

  Path root() {
    return root.orElseThrow(
        () -> new IllegalStateException("the scenario's prepare gave no root file system"));
  }

  /** The kernel that the machine boots. */
  public Kernel kernel() {
    return kernel;
  }

  /** The kernel that it kexecs into. */
  public Kernel next() {
    return next;
  }

  /**
   * What the inside has remembered; as {@link Inside#recall}.
   *
   * @throws IOException if there is no such thing
   */
  public String remembered(String key) throws IOException {
    Properties all = new Properties();
    try (Reader in = Files.newBufferedReader(exchange().resolve(Inside.REMEMBERED))) {
      all.load(in);
    }
    return Optional.ofNullable(all.getProperty(key))
        .orElseThrow(() -> new IOException("nothing was remembered as " + key));
  }

  /** The console up to now. */
  public String console() throws IOException {
    Path console = run.resolve(Machine.CONSOLE);
    return Files.exists(console)
        ? new String(Files.readAllBytes(console), StandardCharsets.ISO_8859_1)
        : "";
  }

  /** Tells whether something holds; as {@link Inside#check}. */
  public void check(String name, boolean holds) {
    checks.add(new Result.Check(holds, name, Optional.empty()));
  }

  /** Tells whether a value is as it should be; as {@link Inside#same}. */
  public void same(String name, Object expected, Object actual) {
    checks.add(Result.Check.same(name, expected, actual));
  }

  /** Tells whether something holds, and the figures; as {@link Inside#check}. */
  public void check(String name, boolean holds, String detail) {
    checks.add(new Result.Check(holds, name, Optional.of(detail)));
  }

  /** Tells something that is worth knowing to a program, at once; any thread may. */
  public void fact(String key, String text) {
    facts.accept(key, text);
  }

  /** Tells something that is worth knowing. */
  public void note(String text) {
    notes.add(text);
  }

  /**
   * Runs a program and waits for it.
   *
   * @return what it wrote, both outputs
   * @throws IOException if it can't be started, or fails: with what it wrote
   */
  public String command(List<String> command) throws IOException {
    Process process =
        new ProcessBuilder(command).redirectErrorStream(true).directory(run.toFile()).start();
    process.getOutputStream().close();
    String said =
        new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    try {
      if (process.waitFor() != 0) {
        throw new IOException(
            String.join(" ", command) + " failed with " + process.exitValue() + ": " + said);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while waiting for " + command.getFirst(), e);
    }
    return said;
  }

  List<Result.Check> checks() {
    return checks;
  }

  List<String> notes() {
    return notes;
  }
}
