package io.holdfast.testbed;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * Writes results as KTAP, the kernel's Test Anything Protocol (Documentation/dev-tools/ktap.rst of
 * Linux): a scenario is a test, its checks are the subtests.
 */
final class Ktap {
  private static final String INDENT = "    ";
  private static final int CONSOLE_LINES = 40;

  private final PrintStream out;
  private int number;

  Ktap(PrintStream out) {
    this.out = out;
  }

  /** Writes the head, for so many scenarios. */
  void begin(int scenarios) {
    out.println("KTAP version 1");
    out.println("1.." + scenarios);
    out.flush();
  }

  /** Writes a scenario's result. */
  void result(Result result) {
    number++;
    if (!result.checks().isEmpty()) {
      out.println(INDENT + "KTAP version 1");
      out.println(INDENT + "# Subtest: " + result.name());
      out.println(INDENT + "1.." + result.checks().size());
    }
    comment(INDENT, result.title());
    result.kernels().forEach(k -> comment(INDENT, k));
    result.notes().forEach(n -> comment(INDENT, n));
    int check = 0;
    for (Result.Check c : result.checks()) {
      check++;
      out.println(
          INDENT
              + (c.ok() ? "ok " : "not ok ")
              + check
              + " "
              + c.name()
              // A '#' in what comes last would be read as a directive.
              + c.detail().map(d -> ": " + d.replace('#', '=')).orElse(""));
    }
    String time = "%.1f s".formatted(result.length().toMillis() / 1000.0);
    switch (result.outcome()) {
      case Result.Outcome.Passed() ->
          out.println("ok " + number + " " + result.name() + " # " + time);
      case Result.Outcome.Skipped(String why) ->
          out.println("ok " + number + " " + result.name() + " # SKIP " + why);
      case Result.Outcome.Failed(String why) -> {
        comment(INDENT, why);
        result.run().ifPresent(run -> console(run));
        out.println("not ok " + number + " " + result.name() + " # " + time);
      }
    }
    out.flush();
  }

  private void console(Path run) {
    Path console = run.resolve(Machine.CONSOLE);
    try {
      List<String> lines =
          new String(Files.readAllBytes(console), StandardCharsets.UTF_8)
              .lines()
              .map(Ktap::printable)
              .filter(line -> !line.isBlank())
              .toList();
      int from = Math.max(0, lines.size() - CONSOLE_LINES);
      comment(INDENT, "the console's last lines; all of it: " + console);
      lines.subList(from, lines.size()).forEach(line -> comment(INDENT, "| " + line));
    } catch (IOException e) {
      comment(INDENT, "there is no console: " + e.getMessage());
    }
  }

  private void comment(String indent, String text) {
    text.lines().forEach(line -> out.println(indent + "# " + line));
  }

  /** A console may hold anything; a terminal must not obey it. */
  static String printable(String line) {
    return line.replaceAll("\u001b\\[[0-?]*[ -/]*[@-~]", "").replaceAll("\\p{Cntrl}", "");
  }

  /** The last line: how many of each. */
  static String summary(List<Result> results) {
    long passed = results.stream().filter(Result::passed).count();
    long skipped =
        results.stream().filter(r -> r.outcome() instanceof Result.Outcome.Skipped).count();
    return String.format(
        Locale.ROOT,
        "%d passed, %d failed, %d skipped",
        passed,
        results.size() - passed - skipped,
        skipped);
  }

  /** Why a result is not a pass, in one line; empty for a pass. */
  static Optional<String> why(Result result) {
    return switch (result.outcome()) {
      case Result.Outcome.Passed() -> Optional.empty();
      case Result.Outcome.Failed(String why) -> Optional.of(why);
      case Result.Outcome.Skipped(String why) -> Optional.of(why);
    };
  }
}
