package io.holdfast.benchmarks;

import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Signal;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** A contender with its observer and its figures. */
final class Side {
  private static final long SETTLE_MILLIS = 1000;
  private static final long AFTER_MILLIS = 400;

  private final Contender contender;
  private final ObserverProcess observer;
  private final List<Gap> gaps = new ArrayList<>();

  Side(Contender contender, ObserverProcess observer) {
    this.contender = contender;
    this.observer = observer;
  }

  /** The longest gap in the guest's heartbeat in each turn. */
  List<Gap> gaps() {
    return gaps;
  }

  /** Lets guest and observer go on, or stand still. */
  void signal(Signal signal) {
    for (long pid : List.of(contender.qemu(), Math.toIntExact(observer.pid()))) {
      try (PidFd process = Linux.system().pidfd((int) pid)) {
        boolean _ = process.signal(signal);
      }
    }
  }

  /** Lets the guest go on, updates it, takes the gap, and lets it stand still. */
  void turn() throws IOException {
    signal(Signal.CONT);
    RunningGuest.pause(SETTLE_MILLIS);
    Observation _ = observer.mark("settled");
    contender.update();
    RunningGuest.pause(AFTER_MILLIS);
    Observation seen = observer.mark("updated");
    if (seen.backwards() > 0 || seen.boots() > 0 || seen.counted() <= 0) {
      throw new IOException(contender.name() + " broke its guest: " + seen);
    }
    gaps.add(seen.longest());
    signal(Signal.STOP);
  }
}
