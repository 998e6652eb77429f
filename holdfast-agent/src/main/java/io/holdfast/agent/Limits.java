package io.holdfast.agent;

import io.holdfast.core.run.Deadlines;
import io.holdfast.core.run.Patience;
import io.holdfast.core.state.Action;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Vm;
import io.holdfast.vm.qemu.QemuProcess;
import java.time.Duration;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * The deadlines of updates on this host: the usual ones, times {@link Patience}. A VM's last
 * updates extend them.
 */
final class Limits {
  /** How many times as long as it took before a call may take now. */
  private static final int TIMES = 5;

  /** How many times its usual limit it may be at most: a paused guest is better off cancelled. */
  private static final int MOST = 3;

  private Limits() {}

  /**
   * Returns the deadlines of a live update of a VM.
   *
   * @param reports of the last updates of that VM that completed
   */
  static Deadlines vmm(Vm vm, List<JsonObject> reports) {
    Duration start = QemuProcess.limit(vm.spec().memory());
    Deadlines usual = vmm();
    // Its successor may be started twice.
    Duration prepare = usual.of(Action.PREPARE).plus(start.multipliedBy(2));
    return extended(usual.with(Action.PREPARE, prepare), reports);
  }

  /** Returns the deadlines of a live update of which nothing is known. */
  static Deadlines vmm() {
    return Deadlines.usual().times(Patience.factor());
  }

  /** Returns the deadlines of an update of the kernel. */
  static Deadlines kernel() {
    return Deadlines.kexec().times(Patience.factor());
  }

  /** Extends the limits to some times what the same calls took in these updates. */
  static Deadlines extended(Deadlines usual, List<JsonObject> reports) {
    Map<Action, Duration> least = new EnumMap<>(Action.class);
    for (JsonObject report : reports) {
      for (JsonObject span : report.array("spans").objects()) {
        String step = span.optionalString("step").orElse("");
        long length = span.optionalNumber("length").orElse(0);
        for (Action action : Action.values()) {
          if (action.words().equals(step)) {
            Duration most = usual.of(action).multipliedBy(MOST);
            Duration wanted = Duration.ofNanos(length).multipliedBy(TIMES);
            least.merge(action, shorter(wanted, most), Limits::longer);
          }
        }
      }
    }
    return usual.atLeast(least);
  }

  private static Duration shorter(Duration a, Duration b) {
    return a.compareTo(b) < 0 ? a : b;
  }

  private static Duration longer(Duration a, Duration b) {
    return a.compareTo(b) < 0 ? b : a;
  }
}
