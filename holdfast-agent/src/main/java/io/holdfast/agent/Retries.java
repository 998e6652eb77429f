package io.holdfast.agent;

import io.holdfast.linux.LateLogger;
import java.time.Duration;
import java.util.concurrent.locks.LockSupport;

/**
 * What could not be done, such as the end of an update. Each is tried again on a thread of its own,
 * so that none waits for a QEMU of another, until it is done or its VM is stopped.
 */
final class Retries implements AutoCloseable {
  private static final LateLogger LOG = new LateLogger(Retries.class);
  private static final Duration FIRST = Duration.ofSeconds(1);

  /** Going forward may start a QEMU each time. */
  private static final Duration MOST = Duration.ofSeconds(30);

  private volatile boolean closed;

  /** What is tried again. */
  interface Attempt {
    /**
     * Tries once; bounded by the deadlines of the calls that it makes.
     *
     * @return whether there is nothing left to try
     * @throws Exception if this attempt failed; another follows
     */
    boolean ended() throws Exception;
  }

  /**
   * Tries something again from now on, first in a second, then less and less often.
   *
   * @param what for people: "update ID"
   */
  void add(String what, Attempt attempt) {
    Thread.ofPlatform()
        .daemon()
        .name("tries " + what + " again")
        .start(() -> repeat(what, attempt));
  }

  private void repeat(String what, Attempt attempt) {
    Duration pause = FIRST;
    String last = "";
    while (true) {
      LockSupport.parkNanos(pause.toNanos());
      if (closed) {
        return;
      }
      try {
        if (attempt.ended()) {
          return;
        }
      } catch (Throwable e) {
        // Errors too, such as one for want of a thread: the next attempt may have it.
        String text = String.valueOf(e.getMessage());
        if (!text.equals(last)) {
          last = text;
          LOG.get().log(System.Logger.Level.WARNING, what + " is tried again", e);
        }
      }
      pause = pause.plus(pause).compareTo(MOST) < 0 ? pause.plus(pause) : MOST;
    }
  }

  /** No attempt begins any more; the next agent goes on. */
  @Override
  public void close() {
    closed = true;
  }
}
