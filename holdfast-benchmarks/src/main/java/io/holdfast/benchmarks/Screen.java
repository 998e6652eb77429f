package io.holdfast.benchmarks;

import java.io.Console;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Optional;

/**
 * Where a demo shows what happens: a terminal, with colour and a passing line, or a plain log
 * without any escape code. Any thread may write; each line is written whole.
 */
final class Screen {
  private static final int WIDTH = 76;

  private final PrintStream out;
  private final boolean terminal;
  private boolean passing;

  /**
   * A screen.
   *
   * @param out borrowed
   * @param terminal whether {@code out} obeys escape codes
   */
  Screen(PrintStream out, boolean terminal) {
    this.out = out;
    this.terminal = terminal;
  }

  /** Standard output: a terminal if it is one and NO_COLOR is not set. */
  static Screen system() {
    return new Screen(
        new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8),
        Optional.ofNullable(System.console()).filter(Console::isTerminal).isPresent()
            && System.getenv().getOrDefault("NO_COLOR", "").isEmpty());
  }

  /** Whether {@link #passing} shows anything. */
  boolean terminal() {
    return terminal;
  }

  /** Writes a headline between two empty lines. */
  void title(String text) {
    line("");
    line(styled("1", text));
    line("");
  }

  /** Writes something that is known, after its name. */
  void fact(String what, String text) {
    line("  %-10s%s".formatted(what, text));
  }

  /** Writes a row of a table, in columns as {@link String#format} takes them. */
  @SuppressWarnings("AnnotateFormatMethod") // The annotation is in no dependency.
  void row(String columns, Object... cells) {
    line("  " + String.format(Locale.ROOT, columns, cells).stripTrailing());
  }

  /** Writes whether something holds, with a tick or a cross. */
  void verdict(Verdict verdict) {
    line(
        "  %s %-46s %s"
            .formatted(
                verdict.holds() ? styled("32", "✓") : styled("31", "✗"),
                verdict.what(),
                styled("2", verdict.why())));
  }

  /** Writes a good end. */
  void good(String text) {
    line(styled("32", text));
  }

  /** Writes what went wrong. */
  void failed(String text) {
    line(styled("31", text));
  }

  /** Shows a line that the next one replaces; nothing but on a terminal. */
  synchronized void passing(String text) {
    if (terminal) {
      out.print(
          "\r\033[K  " + styled("2", text.length() > WIDTH ? text.substring(0, WIDTH) : text));
      out.flush();
      passing = true;
    }
  }

  /** Writes a line. */
  synchronized void line(String text) {
    if (passing) {
      out.print("\r\033[K");
      passing = false;
    }
    out.println(text);
  }

  private String styled(String style, String text) {
    return terminal ? "\033[" + style + "m" + text + "\033[0m" : text;
  }

  static String seconds(long nanos) {
    return String.format(Locale.ROOT, "%.2f s", nanos / 1e9);
  }

  static String millis(long nanos) {
    return String.format(Locale.ROOT, "%.1f ms", nanos / 1e6);
  }

  static String micros(long nanos) {
    return String.format(Locale.ROOT, "%.0f µs", nanos / 1e3);
  }
}
