package io.holdfast.cli;

import static io.holdfast.cli.Table.Column.left;
import static io.holdfast.cli.Table.Column.right;
import static io.holdfast.cli.Table.clean;

import io.holdfast.agent.rescue.Rescue;
import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/** What {@code holdfast rescue} prints. */
final class RescueRender {
  private RescueRender() {}

  static JsonObject json(Rescue found) {
    return JsonObject.of(
        "waits", found.waits(),
        "sessions", found.sessions().word(),
        "evidence", found.evidence(),
        "runDirectory", found.run().toString(),
        "root", found.root().toString(),
        "agent", found.agent().map(RescueRender::agent),
        "boxes", found.boxes().stream().map(RescueRender::box).toList(),
        "missing", found.missing(),
        "unknown", found.unknown(),
        "steps", found.steps(),
        "warnings", found.warnings());
  }

  private static JsonObject agent(Rescue.Agent agent) {
    Optional<Integer> pid =
        agent.pid().isPresent() ? Optional.of(agent.pid().getAsInt()) : Optional.empty();
    return JsonObject.of("pid", pid, "answers", agent.vms().isPresent());
  }

  private static JsonObject box(Rescue.Box box) {
    OptionalLong known = box.bytes();
    Optional<Long> bytes = known.isPresent() ? Optional.of(known.getAsLong()) : Optional.empty();
    return JsonObject.of(
        "name", box.name(),
        "bytes", bytes,
        "place", box.place().word(),
        "where", box.where(),
        "missing", box.missing());
  }

  static String text(Rescue found) {
    StringBuilder text = new StringBuilder();
    text.append(verdict(found)).append('\n');
    text.append(
            clean(
                "Sessions of the previous kernel: "
                    + found.sessions().word()
                    + "; "
                    + found.evidence()))
        .append('\n');
    if (!found.boxes().isEmpty()) {
      Table table = new Table(left("NAME"), right("MEMORY"), left("WHERE"));
      for (Rescue.Box box : found.boxes()) {
        table.row(
            box.name(),
            box.bytes().isPresent() ? Size.text(box.bytes().getAsLong()) : "-",
            box.where());
      }
      text.append('\n').append(table.text());
    }
    StringBuilder missing = new StringBuilder();
    found.missing().forEach(each -> missing.append(clean("- " + each)).append('\n'));
    for (Rescue.Box box : found.boxes()) {
      box.missing()
          .forEach(each -> missing.append(clean("- " + box.name() + ": " + each)).append('\n'));
    }
    section(text, "Missing here:", missing.toString());
    list(text, "Not known:", found.unknown());
    StringBuilder steps = new StringBuilder();
    for (int i = 0; i < found.steps().size(); i++) {
      steps.append(i + 1).append(". ").append(clean(found.steps().get(i))).append('\n');
    }
    section(text, "Next steps:", steps.toString());
    list(text, "Until then:", found.warnings());
    return text.toString();
  }

  private static void list(StringBuilder text, String heading, List<String> lines) {
    StringBuilder all = new StringBuilder();
    lines.forEach(each -> all.append(clean("- " + each)).append('\n'));
    section(text, heading, all.toString());
  }

  private static void section(StringBuilder text, String heading, String lines) {
    if (!lines.isEmpty()) {
      text.append('\n').append(heading).append('\n').append(lines);
    }
  }

  private static String verdict(Rescue found) {
    if (found.waits()) {
      return found.sessions() == Rescue.Sessions.UNKNOWN && found.boxes().isEmpty()
          ? "VMs may wait in this kernel."
          : "VMs wait to be brought back.";
    }
    if (found.lost()) {
      return "Nothing waits, and something is lost.";
    }
    return found.agent().isPresent() && !found.boxes().isEmpty()
        ? "Nothing waits: an agent has all VMs."
        : "Nothing waits.";
  }
}
