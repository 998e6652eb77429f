package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * A process that this one started. Until it is reaped ({@link #reap} or {@link #waitFor} returned
 * its status), its number stays taken after its end. Any thread may use it.
 */
public final class ChildProcess implements AutoCloseable {
  private static final int P_PIDFD = 3;
  private static final int WNOHANG = 1;
  private static final int WEXITED = 4;

  // siginfo_t of 64-bit Linux: si_signo stays 0 if nothing was reaped.
  private static final int SIGINFO_BYTES = 128;
  private static final int SI_SIGNO = 0;
  private static final int SI_CODE = 8;
  private static final int SI_STATUS = 24;
  private static final int CLD_EXITED = 1;

  private final Calls calls;
  private final PidFd pidfd;
  private Optional<ExitStatus> status = Optional.empty();

  ChildProcess(Calls calls, PidFd pidfd) {
    this.calls = calls;
    this.pidfd = pidfd;
  }

  /** Its number. */
  public int pid() {
    return pidfd.pid();
  }

  /** Its handle, closed with this object. */
  public PidFd pidfd() {
    return pidfd;
  }

  /** Waits for its end and reaps it. Every call returns the same. */
  public ExitStatus waitFor() {
    while (true) {
      Optional<ExitStatus> ended = waitFor(Duration.ofDays(1));
      if (ended.isPresent()) {
        return ended.get();
      }
    }
  }

  /** Waits for its end and reaps it; empty if it still runs after the time. */
  public Optional<ExitStatus> waitFor(Duration timeout) {
    Optional<ExitStatus> ended = reap();
    if (ended.isPresent()) {
      return ended;
    }
    Polling.poll(calls, List.of(pidfd.fd()), timeout);
    return reap();
  }

  /**
   * Reaps it if it has ended; empty while it runs. Every call after its end returns the same.
   *
   * @throws SystemCallException ECHILD if somebody else reaped it
   * @throws IllegalStateException if it was closed before it was reaped
   */
  public synchronized Optional<ExitStatus> reap() {
    if (status.isEmpty()) {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment info = arena.allocate(SIGINFO_BYTES, Long.BYTES);
        int number = pidfd.fd().borrow();
        try {
          calls.make(
              Call.WAITID, pidfd.fd().what(), P_PIDFD, number, info.address(), WEXITED | WNOHANG);
        } finally {
          pidfd.fd().giveBack();
        }
        if (Field.getInt(info, SI_SIGNO) != 0) {
          int value = Field.getInt(info, SI_STATUS);
          status =
              Optional.of(
                  Field.getInt(info, SI_CODE) == CLD_EXITED
                      ? new ExitStatus.Exited(value)
                      : new ExitStatus.Killed(value));
        }
      }
    }
    return status;
  }

  /**
   * Closes the handle; the process goes on. One that was not reaped before can't be reaped any
   * more.
   */
  @Override
  public void close() {
    pidfd.close();
  }

  @Override
  public String toString() {
    return pidfd.toString();
  }
}
