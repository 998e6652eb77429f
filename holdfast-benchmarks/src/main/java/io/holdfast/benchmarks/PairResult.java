package io.holdfast.benchmarks;

import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import java.util.stream.Collectors;

/** What came of updating a guest from one QEMU to another. */
sealed interface PairResult {
  /** What the table says of it. */
  String cell();

  /** What is told below the table; empty if there is nothing more to tell. */
  List<String> remarks();

  /** Whether nothing happened to the guest that must not happen. */
  boolean acceptable();

  /**
   * The guest runs in the new QEMU, and all checks hold.
   *
   * @param pause the longest gap in the guest's heartbeat, ns
   * @param blind whether the observer was itself stalled in that gap, so that it says nothing
   * @param corrections what the successor's devices were made to be
   * @param risks what the plan named
   */
  record Passed(long pause, boolean blind, List<String> corrections, List<String> risks)
      implements PairResult {
    public Passed {
      corrections = List.copyOf(corrections);
      risks = List.copyOf(risks);
    }

    @Override
    public String cell() {
      return "ok, "
          + (blind ? "pause not measured" : String.format(Locale.ROOT, "%.0f ms", pause / 1e6))
          + (corrections.isEmpty() ? "" : ", corrected");
    }

    @Override
    public List<String> remarks() {
      List<String> remarks = new ArrayList<>();
      corrections.forEach(each -> remarks.add("corrected: " + each));
      risks.forEach(each -> remarks.add("risk: " + each));
      return remarks;
    }

    @Override
    public boolean acceptable() {
      return true;
    }
  }

  /**
   * The plan refused it.
   *
   * @param why its obstacles
   */
  record Refused(String why) implements PairResult {
    @Override
    public String cell() {
      return "refused";
    }

    @Override
    public List<String> remarks() {
      return List.of("refused by the plan: " + why);
    }

    @Override
    public boolean acceptable() {
      return true;
    }
  }

  /**
   * It was cancelled before the guest was stopped.
   *
   * @param why the update's message
   */
  record Cancelled(String why) implements PairResult {
    @Override
    public String cell() {
      return "cancelled before the blackout";
    }

    @Override
    public List<String> remarks() {
      return List.of("cancelled before the guest was stopped: " + why);
    }

    @Override
    public boolean acceptable() {
      return true;
    }
  }

  /**
   * It failed when the guest was stopped already, or a check does not hold.
   *
   * @param blackout whether it was the update that failed
   * @param why its message, or the check
   */
  record Failed(boolean blackout, String why) implements PairResult {
    @Override
    public String cell() {
      return blackout ? "**FAILED in the blackout**" : "**FAILED**";
    }

    @Override
    public List<String> remarks() {
      return List.of((blackout ? "FAILED in the blackout: " : "FAILED: ") + why);
    }

    @Override
    public boolean acceptable() {
      return false;
    }
  }

  /** What a guest has for devices. */
  enum Devices {
    ALL("all devices"),
    /** For a pair that refuses a guest with all of them. */
    DISKS("disks only");

    private final String text;

    Devices(String text) {
      this.text = text;
    }

    @Override
    public String toString() {
      return text;
    }
  }

  /**
   * One cell of a matrix.
   *
   * @param from where the guest was started
   * @param to where it was updated to
   * @param cpus its number of vCPUs
   * @param machine its machine type
   */
  record Cell(
      String from, String to, int cpus, Devices devices, String machine, PairResult result) {
    String place() {
      return places(List.of(this));
    }

    /** As a run writes it down for the next one. */
    JsonObject json() {
      return JsonObject.of(
          "from",
          from,
          "to",
          to,
          "cpus",
          cpus,
          "devices",
          devices.name(),
          "machine",
          machine,
          "result",
          result.json());
    }

    /** Reads what {@link #json} wrote. */
    static Cell of(JsonObject json) {
      return new Cell(
          json.string("from"),
          json.string("to"),
          Math.toIntExact(json.number("cpus")),
          Devices.valueOf(json.string("devices")),
          json.string("machine"),
          PairResult.of(json.object("result")));
    }
  }

  /** As a run writes it down for the next one. */
  private JsonObject json() {
    return switch (this) {
      case Passed(var pause, var blind, var corrections, var risks) ->
          JsonObject.of(
              "is",
              "passed",
              "pause",
              pause,
              "blind",
              blind,
              "corrections",
              corrections,
              "risks",
              risks);
      case Refused(var why) -> JsonObject.of("is", "refused", "why", why);
      case Cancelled(var why) -> JsonObject.of("is", "cancelled", "why", why);
      case Failed(var blackout, var why) ->
          JsonObject.of("is", "failed", "blackout", blackout, "why", why);
    };
  }

  private static PairResult of(JsonObject json) {
    return switch (json.string("is")) {
      case "passed" ->
          new Passed(
              json.number("pause"),
              json.bool("blind"),
              json.array("corrections").strings(),
              json.array("risks").strings());
      case "refused" -> new Refused(json.string("why"));
      case "cancelled" -> new Cancelled(json.string("why"));
      default -> new Failed(json.bool("blackout"), json.string("why"));
    };
  }

  /** A table of cells of one kind of guest: a row per {@code from}, a column per {@code to}. */
  static String table(List<String> names, List<Cell> cells) {
    StringBuilder text = new StringBuilder("| from \\ to |");
    names.forEach(name -> text.append(' ').append(name).append(" |"));
    text.append("\n| --- |").append(" --- |".repeat(names.size())).append('\n');
    for (String from : names) {
      text.append("| ").append(from).append(" |");
      for (String to : names) {
        text.append(' ')
            .append(
                cells.stream()
                    .filter(cell -> cell.from().equals(from) && cell.to().equals(to))
                    .map(cell -> cell.result().cell())
                    .findFirst()
                    .orElse("–"))
            .append(" |");
      }
      text.append('\n');
    }
    return text.toString();
  }

  /** A list of what the cells' results have to tell, what several have in common told once. */
  static String remarks(List<Cell> cells) {
    return cells.stream()
        .flatMap(cell -> cell.result().remarks().stream())
        .distinct()
        .map(
            (Function<String, String>)
                remark ->
                    "- "
                        + remark
                        + " ("
                        + places(
                            cells.stream()
                                .filter(cell -> cell.result().remarks().contains(remark))
                                .toList())
                        + ")\n")
        .collect(Collectors.joining());
  }

  /** Where cells are, those that differ in the number of vCPUs only in one. */
  private static String places(List<Cell> cells) {
    return cells.stream()
        .collect(
            Collectors.groupingBy(
                cell -> cell.from() + " → " + cell.to() + ", " + cell.devices(),
                LinkedHashMap::new,
                Collectors.mapping(
                    cell -> Integer.toString(cell.cpus()), Collectors.joining(" and "))))
        .entrySet()
        .stream()
        .map(
            place ->
                "%s, %s vCPU%s"
                    .formatted(
                        place.getKey(), place.getValue(), place.getValue().equals("1") ? "" : "s"))
        .collect(Collectors.joining("; "));
  }
}
