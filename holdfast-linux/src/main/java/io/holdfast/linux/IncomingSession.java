package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * A session that the previous kernel left. What was not retrieved when its last descriptor is
 * closed is discarded for good, also when whoever held it was killed; and it does not survive the
 * next kexec.
 */
public final class IncomingSession extends LiveUpdateSession {
  IncomingSession(Calls calls, Fd fd) {
    super(calls, fd);
  }

  /**
   * Fetches a descriptor. It can be fetched again until {@link #finish}, as another descriptor of
   * the same open file. The memory is charged to the memory cgroup of the caller.
   *
   * @param token under which it was preserved
   * @return close-on-exec, the caller's to close
   * @throws SystemCallException ENOENT if there is none under the token; EINVAL or ENOTTY if the
   *     session is not from the previous kernel; EMFILE. Any other error is the kernel's failure to
   *     rebuild it: every later attempt gives the same, and what is left of its memory is freed
   * @throws IllegalStateException if the session was closed
   */
  public Fd retrieve(long token) {
    String what = "token " + Long.toUnsignedString(token) + " of " + fd.what();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment arguments = arguments(arena, DESCRIPTOR_BYTES);
      Field.setLong(arguments, TOKEN, token);
      LiveUpdate.ioctl(calls, LiveUpdate.Operation.RETRIEVE_FD, fd, RETRIEVE_FD, arguments, what);
      // The kernel makes it without the flag, which also was not preserved.
      Fd made = calls.own(Field.getInt(arguments, FD), what);
      try {
        calls.on(Call.FCNTL, made, Linux.F_SETFD, Linux.FD_CLOEXEC);
        return made;
      } catch (Throwable t) {
        made.close();
        throw t;
      }
    }
  }

  /**
   * Says that all that is wanted of the session was retrieved: the kernel lets go of it. To be
   * called when whoever uses the descriptors runs again, and not before. What was not retrieved is
   * discarded.
   *
   * @throws SystemCallException EBUSY if a descriptor can't be let go of yet; EINVAL or ENOTTY if
   *     the session is not from the previous kernel
   * @throws IllegalStateException if the session was closed
   */
  public void finish() {
    try (Arena arena = Arena.ofConfined()) {
      LiveUpdate.ioctl(
          calls,
          LiveUpdate.Operation.FINISH,
          fd,
          FINISH,
          arguments(arena, 2 * Integer.BYTES),
          fd.what());
    }
  }
}
