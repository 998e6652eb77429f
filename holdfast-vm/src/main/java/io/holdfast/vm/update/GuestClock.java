package io.holdfast.vm.update;

import io.holdfast.core.participant.Step;
import io.holdfast.linux.Linux;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Vm;
import io.holdfast.vm.spec.Findings;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;

/**
 * What a guest's wall clock does in an update. While the guest stands still so do its time stamp
 * counter and all that it counts with; that is right for its monotonic clock, and makes its wall
 * clock lag by as much. With {@link Choice#CORRECT} the guest agent sets it to where it would have
 * been: as far from the host's clock as before the update. Never in the blackout.
 */
public final class GuestClock {
  /** What a user may want. */
  public enum Choice {
    /** The wall clock is set right, where a guest agent can do it. */
    CORRECT,

    /** It is left alone. */
    LAG
  }

  private static final String OFFSET = "clock";
  private static final Duration PATIENCE = Duration.ofSeconds(2);

  /**
   * It sets the hardware clock too, and for that waits for a full second, or two on a busy host.
   */
  private static final Duration SETTING = Duration.ofSeconds(5);

  private static final long PRECISE = 1_000_000;
  private static final int READINGS = 3;

  private final Linux linux;
  private final Path socket;
  private final Choice choice;

  GuestClock(Linux linux, Vm vm, Choice choice) {
    this(linux, GuestAgent.socket(vm), choice);
  }

  /** Of a VM whose guest agent is reached by this socket. */
  GuestClock(Linux linux, Path socket, Choice choice) {
    this.linux = linux;
    this.socket = socket;
    this.choice = choice;
  }

  /**
   * Says what it will do.
   *
   * @param blackout as expected, if that is known
   */
  void plan(Findings findings, Optional<Duration> blackout) {
    String lag =
        "the guest's wall clock will lag by "
            + blackout
                .map(b -> "about " + b.toMillis() + " ms (the blackout)")
                .orElse("the blackout");
    if (choice == Choice.LAG) {
      findings.loss(lag + ", as was asked for");
      return;
    }
    if (!Files.exists(socket)) {
      findings.loss(
          lag
              + ": it has no guest agent that could set it; chrony in the guest, with ptp_kvm, does");
      return;
    }
    try (GuestAgent agent = GuestAgent.connect(linux, socket, PATIENCE)) {
      Reading _ = read(agent);
      findings.preserved("the guest's wall clock: its guest agent sets it after the blackout");
    } catch (IOException | JsonException e) {
      // The guest's word, which may be anything.
      findings.loss(lag + ": " + e.getMessage());
    }
  }

  /**
   * Guest's wall clock less the host's, and how long it took to ask, in ns; the offset is right to
   * half of that.
   */
  private record Reading(long offset, long roundTrip) {}

  private static Reading read(GuestAgent agent) throws IOException {
    Optional<Reading> best = Optional.empty();
    for (int i = 0; i < READINGS; i++) {
      long before = now();
      long guest = agent.execute("guest-get-time", JsonObject.empty(), PATIENCE).number("return");
      long after = now();
      Reading reading = new Reading(guest - (before + after) / 2, after - before);
      if (best.isEmpty() || reading.roundTrip() < best.get().roundTrip()) {
        best = Optional.of(reading);
      }
    }
    return best.orElseThrow();
  }

  private static long now() {
    Instant now = Instant.now();
    return now.getEpochSecond() * 1_000_000_000 + now.getNano();
  }

  /** Before the blackout: writes down how far it is from the host's. */
  void prepare(Step step) {
    if (choice == Choice.LAG || !Files.exists(socket)) {
      return;
    }
    try (GuestAgent agent = GuestAgent.connect(linux, socket, PATIENCE)) {
      step.record(OFFSET, Long.toString(read(agent).offset()));
    } catch (IOException | JsonException e) {
      step.note("clock", "will lag: " + e.getMessage());
    }
  }

  /** After the blackout: sets it, if it was read before. Whatever fails, the guest goes on. */
  void correct(Step step) {
    Optional<String> recorded = step.recorded(OFFSET);
    if (recorded.isEmpty()) {
      return;
    }
    long wanted = Long.parseLong(recorded.get());
    try (GuestAgent agent = GuestAgent.connect(linux, socket, PATIENCE)) {
      Reading reading = read(agent);
      step.note("clock.lag.us", Long.toString((wanted - reading.offset()) / 1000));
      // Twice: the first time it may have taken the guest long to hear of it.
      for (int i = 0; i < 2 && off(reading, wanted); i++) {
        long time = now() + wanted + reading.roundTrip() / 2;
        JsonObject _ = agent.execute("guest-set-time", JsonObject.of("time", time), SETTING);
        reading = read(agent);
      }
      step.note("clock.lag.after.us", Long.toString((wanted - reading.offset()) / 1000));
    } catch (IOException | JsonException e) {
      step.note("clock", "may lag: " + e.getMessage());
    }
  }

  private static boolean off(Reading reading, long wanted) {
    return Math.abs(wanted - reading.offset()) > Math.max(PRECISE, reading.roundTrip() / 2);
  }
}
