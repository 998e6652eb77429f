package io.holdfast.core.run;

import java.time.Instant;
import java.util.List;

/**
 * The orchestrator's only source of time and threads. {@link PlatformWorkers} is the real one;
 * tests run an orchestrator in virtual time through another.
 */
public interface Workers {
  /**
   * The monotonic clock in nanoseconds: on Linux CLOCK_MONOTONIC, so comparable between processes
   * until the next boot.
   */
  long nanoTime();

  /** The time of day. */
  Instant now();

  /**
   * Gets so many tasks ready to run together without creating a thread; called before the blackout.
   */
  void ready(int tasks);

  /**
   * Runs all tasks at the same time, the last on the calling thread, and returns when all have
   * returned. They don't throw.
   */
  void together(List<Runnable> tasks);

  /** A gate that is closed. */
  Gate gate();

  /** An alarm that isn't set, with whatever thread it needs. */
  Alarm alarm(Runnable ring);

  /** Interrupts a thread that runs one of {@link #together}'s tasks. */
  void interrupt(Thread thread);

  /** Forgets an interrupt of the current thread, if there was one. */
  void clearInterrupt();

  /** Tasks wait here for one another. */
  interface Gate {
    /** Lets everyone through from now on. */
    void open();

    /** Waits until it is open; interrupts don't end the wait. */
    void await();
  }

  /**
   * Rings at the time it is set to. A ring may come late or for a setting since replaced: whoever
   * hears it looks at the clock.
   */
  interface Alarm extends AutoCloseable {
    /** Sets it to a time of {@link Workers#nanoTime}, in place of any earlier setting. */
    void set(long nanoTime);

    /** Ends its thread. */
    @Override
    void close();
  }
}
