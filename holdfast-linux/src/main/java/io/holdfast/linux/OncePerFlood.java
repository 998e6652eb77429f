package io.holdfast.linux;

import java.time.Duration;

/** Says what is worth a line in the log of what may come by the thousand. Any thread may use it. */
public final class OncePerFlood {
  private static final Duration QUIET = Duration.ofSeconds(10);

  private boolean any;
  private long last;

  /** Nothing has come yet. */
  public OncePerFlood() {}

  /** One more has come; whether it is the first one, or the first after ten seconds of quiet. */
  public synchronized boolean begins() {
    long now = System.nanoTime();
    boolean begins = !any || now - last > QUIET.toNanos();
    any = true;
    last = now;
    return begins;
  }
}
