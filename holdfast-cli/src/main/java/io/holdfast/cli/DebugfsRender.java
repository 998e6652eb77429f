package io.holdfast.cli;

import static io.holdfast.cli.Table.Column.left;
import static io.holdfast.cli.Table.Column.right;
import static io.holdfast.cli.Table.clean;

import io.holdfast.cli.Answers.AgentStatus;
import io.holdfast.cli.Answers.Report;
import io.holdfast.cli.Answers.Span;
import io.holdfast.cli.DebugfsTree.Box;
import io.holdfast.cli.DebugfsTree.Entry;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Optional;

/** The texts of {@code holdfast debugfs}: plain lines, which programs can read as well. */
final class DebugfsRender {
  private static final int PAGE = 4096;

  private DebugfsRender() {}

  /**
   * The agent, and the state of each update that is under way. Nothing in it changes by itself.
   *
   * @param since when the agent was started
   */
  static String state(AgentStatus agent, Instant since, List<Report> underWay) {
    StringBuilder text = new StringBuilder();
    if (underWay.isEmpty()) {
      line(text, "state", "NORMAL");
    }
    for (Report each : underWay) {
      line(
          text,
          "state",
          each.message() + " update " + each.id() + " " + each.kind() + " " + each.target());
    }
    line(text, "version", agent.version());
    line(text, "pid", Long.toString(agent.pid()));
    line(text, "since", since.truncatedTo(ChronoUnit.SECONDS).toString());
    line(text, "run", agent.runDirectory());
    line(text, "keeper", agent.keeper());
    line(text, "held", Long.toString(agent.heldDescriptors()));
    line(text, "vms", Long.toString(agent.vms()));
    return text.toString();
  }

  /** One descriptor that is held. */
  static String entry(Box box, Entry entry) {
    StringBuilder text = new StringBuilder();
    line(text, "kind", entry.kind());
    entry.bytes().ifPresent(bytes -> line(text, "bytes", Long.toString(bytes)));
    entry.present().ifPresent(bytes -> line(text, "present", Long.toString(bytes)));
    box.session().filter(_ -> entry.token().isPresent()).ifPresent(s -> line(text, "session", s));
    entry.token().ifPresent(token -> line(text, "token", Long.toString(token)));
    return text.toString();
  }

  private static void line(StringBuilder text, String name, String value) {
    text.append(name)
        .append(':')
        .append(" ".repeat(9 - name.length()))
        .append(clean(value))
        .append('\n');
  }

  /** What an update of the kernel that began now would preserve. */
  static String preserved(List<Box> boxes) {
    Table table =
        new Table(
            left("SESSION"),
            right("TOKEN"),
            left("BOX"),
            left("LABEL"),
            left("KIND"),
            right("BYTES"),
            right("PAGES"),
            right("PRESENT"));
    long all = 0;
    long there = 0;
    int entries = 0;
    for (Box box : boxes) {
      for (Entry entry : box.entries()) {
        if (box.session().isEmpty() || entry.token().isEmpty()) {
          continue;
        }
        Optional<Long> pages = entry.bytes().map(DebugfsRender::pages);
        Optional<Long> present = entry.present().map(DebugfsRender::pages);
        all += pages.orElse(0L);
        there += present.orElse(0L);
        entries++;
        table.row(
            box.session().get(),
            number(entry.token()),
            box.name(),
            entry.label(),
            entry.kind(),
            number(entry.bytes()),
            number(pages),
            number(present));
      }
    }
    return """
        # What an update of the kernel that began now would preserve, page by page of 4096 bytes. Pages that are not present
        # are made then, and what is no memfd is copied into one. What there is only once guests stand still (device state,
        # console log) is not here. Addresses and orders are the kernel's: those that it has preserved shows `holdfast kho memory`.
        """
        + table.text()
        + "# "
        + entries
        + " entries, "
        + all
        + " pages, "
        + there
        + " of them present\n";
  }

  private static long pages(long bytes) {
    return (bytes + PAGE - 1) / PAGE;
  }

  private static String number(Optional<Long> number) {
    return number.map(each -> Long.toString(each)).orElse("-");
  }

  /** All updates, the oldest first, each with its steps. Times in nanoseconds since it began. */
  static String timeline(List<Report> reports) {
    StringBuilder text = new StringBuilder();
    for (Report report : reports) {
      text.append(
          clean(
              report.id()
                  + " "
                  + report.kind()
                  + " "
                  + report.target()
                  + " "
                  + report.outcome()
                  + " "
                  + Instant.ofEpochMilli(report.started())
                  + " brownout="
                  + report.brownout()
                  + " blackout="
                  + report.blackout()
                  + " "
                  + report.message()));
      text.append('\n');
      for (Span span : report.spans()) {
        StringBuilder line = new StringBuilder();
        line.append(span.start())
            .append(" +")
            .append(span.length())
            .append(' ')
            .append(span.state())
            .append(' ')
            .append(span.phase())
            .append(' ')
            .append(span.participant())
            .append('/')
            .append(span.step().replace(' ', '-'));
        span.notes()
            .forEach((key, value) -> line.append(' ').append(key).append('=').append(value));
        text.append("  ").append(clean(line.toString())).append('\n');
      }
    }
    return text.toString();
  }
}
