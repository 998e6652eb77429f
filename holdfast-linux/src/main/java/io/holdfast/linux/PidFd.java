package io.holdfast.linux;

import java.time.Duration;
import java.util.List;

/**
 * A handle of a process, which stays that process's even when its number is used again. Any thread
 * may use it.
 */
public final class PidFd implements AutoCloseable {
  private final Calls calls;
  private final int pid;
  private final Fd fd;

  PidFd(Calls calls, int pid, Fd fd) {
    this.calls = calls;
    this.pid = pid;
    this.fd = fd;
  }

  /** The process's number, which is its own only until it has been reaped. */
  public int pid() {
    return pid;
  }

  /**
   * The handle's descriptor, still this object's; it can be read (see {@link Linux#poll}) once the
   * process ended.
   */
  public Fd fd() {
    return fd;
  }

  /**
   * Sends a signal.
   *
   * @return false if the process has ended and been reaped; one that ended but was not reaped takes
   *     the signal without effect
   * @throws SystemCallException EPERM if the process is somebody else's
   */
  public boolean signal(Signal signal) {
    long result = calls.attemptOn(Call.PIDFD_SEND_SIGNAL, fd, signal.number(), 0, 0);
    if (result == -Errno.ESRCH.number()) {
      return false;
    }
    SystemCallException.check(result, Call.PIDFD_SEND_SIGNAL, "SIG" + signal + " to " + fd.what());
    return true;
  }

  /**
   * Waits for the process's end, whoever's child it is.
   *
   * @return whether it ended within the time
   */
  public boolean awaitExit(Duration timeout) {
    return !Polling.poll(calls, List.of(fd), timeout).isEmpty();
  }

  /** Whether the process has ended. */
  public boolean hasExited() {
    return awaitExit(Duration.ZERO);
  }

  /**
   * A duplicate of a descriptor of that process, close-on-exec, the caller's to close. The process
   * is not asked and does not notice.
   *
   * @param descriptor its number in that process
   * @throws SystemCallException EBADF if it has none of this number, EPERM if this process may not
   *     trace it, ESRCH if it has ended, EMFILE
   */
  public Fd take(int descriptor) {
    String what = "descriptor " + descriptor + " of " + fd.what();
    return calls.own(
        SystemCallException.check(
            calls.attemptOn(Call.PIDFD_GETFD, fd, descriptor, 0), Call.PIDFD_GETFD, what),
        what);
  }

  /** Closes the handle; the process goes on. */
  @Override
  public void close() {
    fd.close();
  }

  @Override
  public String toString() {
    return fd.what();
  }
}
