package io.holdfast.benchmarks;

import io.holdfast.varlink.json.JsonObject;

/**
 * What the observer saw from one mark to the next. All times in nanoseconds.
 *
 * @param label the mark that ended it
 * @param length of the window
 * @param samples how often the counter was read
 * @param late how many samples came more than 200 µs after the one before
 * @param worst the observer's own worst time between two samples
 * @param counted by how much the counter rose
 * @param backwards how often the counter went back
 * @param boots how often the boot id changed: 0 unless the guest rebooted
 * @param cpuids how often the digest of CPUID changed: 0 unless the CPU did
 * @param open for how long the counter had stood still when the window ended
 * @param longest the longest gap in the heartbeat that ended in this window, void or not
 * @param longestSound the longest one that isn't void; {@link Gap#NONE} if all are
 * @param heartbeat the counter itself at the end and what else the heartbeat page said
 */
public record Observation(
    String label,
    long length,
    long samples,
    long late,
    long worst,
    long counted,
    long backwards,
    long boots,
    long cpuids,
    long open,
    Gap longest,
    Gap longestSound,
    Heartbeat heartbeat) {

  /** As the observer writes it. */
  JsonObject json() {
    return JsonObject.of(
        "label", label,
        "length", length,
        "samples", samples,
        "late", late,
        "worst", worst,
        "counted", counted,
        "backwards", backwards,
        "boots", boots,
        "cpuids", cpuids,
        "open", open,
        "longest", json(longest),
        "longestSound", json(longestSound),
        "heartbeat", json(heartbeat));
  }

  private static JsonObject json(Gap gap) {
    return JsonObject.of(
        "atMost", gap.atMost(),
        "atLeast", gap.atLeast(),
        "stall", gap.stall(),
        "start", gap.start(),
        "void", gap.isVoid());
  }

  private static JsonObject json(Heartbeat h) {
    return JsonObject.of(
        "offset", h.offset(),
        "address", h.address(),
        "count", h.count(),
        "boot", h.boot(),
        "clock", h.clock(),
        "cpuid", h.cpuid(),
        "cpuidRuns", h.cpuidRuns(),
        "rewrites", h.rewrites(),
        "patternPages", h.patternPages(),
        "patternFailures", h.patternFailures(),
        "diskSequence", h.diskSequence(),
        "problems", h.problems(),
        "largestGap", h.largestGap());
  }

  /**
   * Reads what {@link #json} wrote.
   *
   * @throws io.holdfast.varlink.json.JsonException if it is something else
   */
  static Observation of(JsonObject o) {
    return new Observation(
        o.string("label"),
        o.number("length"),
        o.number("samples"),
        o.number("late"),
        o.number("worst"),
        o.number("counted"),
        o.number("backwards"),
        o.number("boots"),
        o.number("cpuids"),
        o.number("open"),
        gap(o.object("longest")),
        gap(o.object("longestSound")),
        heartbeat(o.object("heartbeat")));
  }

  private static Gap gap(JsonObject o) {
    return new Gap(o.number("atMost"), o.number("atLeast"), o.number("stall"), o.number("start"));
  }

  private static Heartbeat heartbeat(JsonObject o) {
    return new Heartbeat(
        o.number("offset"),
        o.number("address"),
        o.number("count"),
        o.number("boot"),
        o.number("clock"),
        o.number("cpuid"),
        o.number("cpuidRuns"),
        o.number("rewrites"),
        o.number("patternPages"),
        o.number("patternFailures"),
        o.number("diskSequence"),
        o.number("problems"),
        o.number("largestGap"));
  }
}
