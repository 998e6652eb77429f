package io.holdfast.testbed.scenarios;

import io.holdfast.testbed.Inside;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/** What the blackouts of several updates of the kernel are made of, gathered over the kexecs. */
final class BlackoutParts {
  private static final String FLOOR = "floor";
  private static final String BLACKOUT = "blackout";
  private static final String HOST = "host-kernel";
  private static final String TO_INIT = "kexec-to-init.ms";
  private static final long MILLION = 1_000_000;

  /** In the order in which they come. */
  private static final List<String> PARTS =
      List.of(
          "stop",
          "save",
          "reboot call to init",
          "init to unpacking",
          "unpacking",
          "unpacked to QEMU",
          "QEMU up",
          "load",
          "resume",
          BLACKOUT,
          "brownout",
          FLOOR);

  private final Inside in;

  BlackoutParts(Inside in) {
    this.in = in;
  }

  /**
   * Checks that the update which led here completed, and adds what a VM waited for in it. The first
   * one's report is noted whole.
   */
  void add(InstalledHoldfast holdfast, String vm) throws IOException {
    List<String> ids = InstalledHoldfast.reports();
    in.same("reports of updates that led to this kernel", 1, ids.size());
    JsonObject report;
    try (VarlinkClient agent = holdfast.agent()) {
      report =
          agent
              .call("io.holdfast.Update.Show", JsonObject.of("id", ids.getFirst()))
              .object("report");
    }
    in.same("the update", "completed", report.string("outcome"));
    if (in.boot() == 1) {
      in.note(holdfast.must("update", "show", ids.getFirst()).replace('\n', '|'));
    }
    JsonObject freeze = span(report, vm, "freeze");
    JsonObject restore = span(report, vm, "restore");
    JsonObject resume = span(report, vm, "resume");
    JsonObject arrived = span(report, HOST, "restore").object("notes");
    long init = Long.parseLong(span(report, HOST, "finish").object("notes").string(TO_INIT));
    long agent = Long.parseLong(arrived.string("kexec-to-agent.ms"));
    long stop = micros(restore, "stop.us");
    long up = micros(restore, "qemu-up.us");
    long unpacking = Long.parseLong(arrived.string("unpacking.ms"));
    long whole = report.number("blackout") / MILLION;
    long save = freeze.number("length") / MILLION - stop;
    long load = restore.number("length") / MILLION - up;
    long resuming = resume.number("length") / MILLION;
    add("stop", stop);
    add("save", save);
    add("reboot call to init", init);
    add("init to unpacking", agent - init);
    add("unpacking", unpacking);
    add("unpacked to QEMU", whole - stop - save - agent - unpacking - up - load - resuming);
    add("QEMU up", up);
    add("load", load);
    add("resume", resuming);
    add(BLACKOUT, whole);
    add("brownout", report.number("brownout") / MILLION);
  }

  /** Adds the kexec that led here, on which nothing was handed over. */
  void addFloor() throws IOException {
    add(FLOOR, in.kexecToInit().orElseThrow().toMillis());
  }

  private static JsonObject span(JsonObject report, String participant, String step) {
    return report.array("spans").objects().stream()
        .filter(span -> span.string("participant").equals(participant))
        .filter(span -> span.string("step").equals(step))
        .findFirst()
        .orElseThrow(
            () -> new IllegalStateException("no " + step + " of " + participant + ": " + report));
  }

  private static long micros(JsonObject span, String note) {
    return Long.parseLong(span.object("notes").string(note)) / 1000;
  }

  /** Each is noted at once, as what comes next may fail. */
  private void add(String key, long millis) {
    in.note("%s: %d ms".formatted(key, millis));
    in.remember(key, in.recall(key, "") + " " + millis);
  }

  /** Tells the last of each as a fact, in milliseconds: {@code part.stop} and so on. */
  void tellLast() {
    for (String part : PARTS) {
      String all = in.recall(part, "").strip();
      if (!all.isEmpty()) {
        in.fact("part." + part.replace(' ', '-'), all.substring(all.lastIndexOf(' ') + 1));
      }
    }
  }

  /** Notes the median and the range of each. */
  void tell() {
    for (String part : PARTS) {
      List<Long> all = new ArrayList<>();
      for (String each : in.recall(part, "").strip().split(" ", -1)) {
        if (!each.isEmpty()) {
          all.add(Long.parseLong(each));
        }
      }
      all.sort(Comparator.naturalOrder());
      if (!all.isEmpty()) {
        in.note(
            "%s: median %d ms, %d to %d, of %d"
                .formatted(
                    part, all.get(all.size() / 2), all.getFirst(), all.getLast(), all.size()));
      }
    }
  }
}
