package io.holdfast.benchmarks;

import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** A guest that Holdfast updates, to the QEMU that it has. */
final class HoldfastContender implements Contender {
  private final RunningGuest guest;

  /** What the controller saw of each update, in ns. */
  private final List<Long> blackouts = new ArrayList<>();

  /** Asked while QEMU runs: the agent's answer waits for one that is stopped. */
  private int qemu;

  HoldfastContender(RunningGuest guest) {
    this.guest = guest;
    this.qemu = pid();
  }

  private int pid() {
    return Math.toIntExact(guest.show().number("pid"));
  }

  /** What the controller saw of each update, in ns. */
  List<Long> blackouts() {
    return blackouts;
  }

  @Override
  public String name() {
    return "holdfast";
  }

  @Override
  public int qemu() {
    return qemu;
  }

  @Override
  public void update() throws IOException {
    JsonObject report = guest.update(Optional.empty(), _ -> {});
    if (!report.string("outcome").equals("completed")) {
      throw new IOException("an update was " + report.string("outcome") + ": " + report);
    }
    blackouts.add(report.number("controllerBlackoutNanos"));
    qemu = pid();
  }
}
