package io.holdfast.linux;

import java.time.Duration;

/** Limits a message that may repeat by the thousand to one line a flood. Any thread may use it. */
public final class OncePerFlood {
  private static final Duration QUIET = Duration.ofSeconds(10);

  private boolean any;
  private long last;

  /** Nothing has come yet. */
  public OncePerFlood() {}

  /** Returns whether this occurrence is the first, or the first after ten seconds without one. */
  public synchronized boolean begins() {
    long now = System.nanoTime();
    boolean begins = !any || now - last > QUIET.toNanos();
    any = true;
    last = now;
    return begins;
  }
}
