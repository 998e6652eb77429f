package io.holdfast.linux;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Set;

/**
 * Who a process is, across the death of the agent: a number may be used again, the pair is not.
 *
 * @param pid its number
 * @param startTime when it started, in clock ticks since boot (field 22 of /proc/PID/stat, proc(5))
 */
public record ProcessIdentity(int pid, long startTime) {
  /** No process: that of a VM which comes from another kernel. */
  public static final ProcessIdentity NOBODY = new ProcessIdentity(0, 0);

  /** Reads what {@link #toString} wrote. */
  public static ProcessIdentity parse(String text) {
    int at = text.indexOf('@');
    return new ProcessIdentity(
        Integer.parseInt(text.substring(0, at)), Long.parseLong(text.substring(at + 1)));
  }

  /**
   * Reads the identity of a running process.
   *
   * @throws IOException if no process has this id
   */
  public static ProcessIdentity of(int pid) throws IOException {
    String stat = Files.readString(Path.of("/proc/" + pid + "/stat"), StandardCharsets.ISO_8859_1);
    // The command name, in parentheses, may itself hold spaces and parentheses.
    String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ", -1);
    return new ProcessIdentity(pid, Long.parseLong(fields[19]));
  }

  /**
   * A handle of exactly this process, the caller's to close; empty if it is gone.
   *
   * @throws SystemCallException if that cannot be told, as without a free descriptor
   * @throws UncheckedIOException likewise
   */
  public Optional<PidFd> find(Linux linux) {
    if (nobody()) {
      return Optional.empty();
    }
    PidFd found;
    try {
      found = linux.pidfd(pid);
    } catch (SystemCallException e) {
      // EINVAL and, from Linux 6.9 on, ENOENT: a thread of another process has this number now.
      if (Set.of(Errno.ESRCH, Errno.EINVAL, Errno.ENOENT).contains(e.errno())) {
        return Optional.empty();
      }
      throw e;
    }
    try {
      // Read after the handle is open: the number can't have changed hands in between.
      if (of(pid).equals(this) && !found.hasExited()) {
        return Optional.of(found);
      }
    } catch (IOException e) {
      if (!found.hasExited()) {
        found.close();
        throw new UncheckedIOException("looking for process " + this, e);
      }
    }
    found.close();
    return Optional.empty();
  }

  /** Whether this is {@link #NOBODY}. */
  public boolean nobody() {
    return pid == 0;
  }

  @Override
  public String toString() {
    return pid + "@" + startTime;
  }
}
