package io.holdfast.core.run;

import java.time.Duration;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/**
 * Whose turn it is to stand still. Updates that run beside one another prepare side by side; each
 * enters its blackout when it has got its turn, so that no workload stands still for the sake of
 * another's. Safe for use by many threads.
 */
public interface Turns {
  /** Everybody's at any time. */
  Turns FREE =
      new Turns() {
        @Override
        public boolean await(Duration limit) {
          return true;
        }

        @Override
        public void end() {}
      };

  /** So many at once, those that asked first before the others. */
  static Turns of(int most) {
    Semaphore free = new Semaphore(most, true);
    return new Turns() {
      @Override
      public boolean await(Duration limit) throws InterruptedException {
        return free.tryAcquire(limit.toNanos(), TimeUnit.NANOSECONDS);
      }

      @Override
      public void end() {
        free.release();
      }
    };
  }

  /**
   * Waits for a turn; the workload still runs.
   *
   * @return whether it has come; if not, the limit has passed, and there is nothing to end
   * @throws InterruptedException if the thread was interrupted; likewise
   */
  boolean await(Duration limit) throws InterruptedException;

  /**
   * Ends a turn that {@link #await} gave, on any thread. The workload runs again, or never will.
   */
  void end();
}
