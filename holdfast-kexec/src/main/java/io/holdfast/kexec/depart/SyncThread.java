package io.holdfast.kexec.depart;

import io.holdfast.core.participant.Step;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.StorageCalls;
import java.io.IOException;
import java.time.Duration;

/**
 * Writes out all file systems, and stops waiting for that at a deadline. The thread that makes the
 * call is started before the blackout.
 */
final class SyncThread implements AutoCloseable {
  /**
   * Before the deadline of a step, at which its thread is interrupted, so that the reason is told.
   */
  private static final Duration MARGIN = Duration.ofMillis(300);

  private final Linux linux;
  private final StorageCalls calls = StorageCalls.started("sync");

  SyncThread(Linux linux) {
    this.linux = linux;
  }

  /**
   * Writes out all file systems.
   *
   * @throws IOException if that failed, or has not ended shortly before the step's deadline
   */
  void sync(Step step) throws IOException {
    sync(step.remaining().minus(MARGIN));
  }

  /** As {@link #sync(Step)}, within {@code limit}. */
  void sync(Duration limit) throws IOException {
    try {
      boolean _ =
          calls.make(
              "writing out the file systems",
              limit,
              () -> {
                linux.mounts().sync();
                return true;
              });
    } catch (SystemCallException e) {
      throw new IOException("the file systems cannot be written out: " + e.getMessage(), e);
    }
  }

  /** Ends the thread, unless its call hangs. */
  @Override
  public void close() {
    calls.close();
  }
}
