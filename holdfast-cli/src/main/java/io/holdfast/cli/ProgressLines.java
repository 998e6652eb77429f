package io.holdfast.cli;

import io.holdfast.cli.Answers.Progress;
import java.io.PrintStream;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/**
 * Shows the progress of an update: on a terminal one line for each state, rewritten as news come
 * in; elsewhere every piece of news as a line of its own, and so too for several updates at once,
 * each line with its VM. Safe for several threads: an interrupt speaks in between.
 */
final class ProgressLines {
  /** Carriage return, and erase to the end of the line (ECMA-48 EL). */
  private static final String REWRITE = "\r\u001b[K";

  private final PrintStream out;
  private final boolean terminal;
  private final int width;
  private final int names;

  /** By update. */
  private final Map<String, String> states = new HashMap<>();

  private boolean open;

  /**
   * @param width columns of the terminal: a live line is cut to it, because a wrapped one can't be
   *     rewritten
   */
  ProgressLines(PrintStream out, boolean terminal, int width) {
    this(out, terminal, width, 0);
  }

  private ProgressLines(PrintStream out, boolean terminal, int width, int names) {
    this.out = out;
    this.terminal = terminal;
    this.width = width;
    this.names = names;
  }

  /**
   * For several updates at once.
   *
   * @param names columns for the VMs' names
   */
  static ProgressLines ofMany(PrintStream out, int names) {
    return new ProgressLines(out, false, 0, names);
  }

  /** Shows a piece of news; one that names no state belongs to the state before it. */
  synchronized void show(Progress progress) {
    String before = states.getOrDefault(progress.id(), "");
    boolean entered = !progress.state().isEmpty() && !progress.state().equals(before);
    String state = entered ? progress.state() : before;
    states.put(progress.id(), state);
    String line = names == 0 ? line(progress, state) : lineOfMany(progress, state);
    if (!terminal) {
      out.println(line);
    } else {
      if (open && entered) {
        out.println();
        open = false;
      }
      out.print(
          (open ? REWRITE : "") + (line.length() < width ? line : line.substring(0, width - 1)));
      open = true;
    }
    out.flush();
  }

  /** Ends a line that is still open, so that what follows starts on one of its own. */
  synchronized void end() {
    if (open) {
      out.println();
      out.flush();
      open = false;
    }
  }

  /** Says something between the news, on a line of its own. */
  synchronized void say(String line) {
    end();
    out.println(Table.clean(line));
    out.flush();
  }

  private static String line(Progress progress, String state) {
    String who = progress.participant().isEmpty() ? "" : progress.participant() + ": ";
    return String.format(
            Locale.ROOT,
            "%10s  %-13s %s",
            DurationText.text(progress.elapsed()),
            Table.clean(state),
            Table.clean(who + progress.message()))
        .stripTrailing();
  }

  private String lineOfMany(Progress progress, String state) {
    String target = Table.clean(progress.target());
    return String.format(
            Locale.ROOT,
            "%10s  %s%s  %-13s %s",
            DurationText.text(progress.elapsed()),
            target,
            " ".repeat(Math.max(0, names - target.length())),
            Table.clean(state),
            Table.clean(progress.message()))
        .stripTrailing();
  }
}
