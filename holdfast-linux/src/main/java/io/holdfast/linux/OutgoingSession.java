package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * A session that the kernel will hand to the next one, as long as somebody has it open at the
 * kexec.
 */
public final class OutgoingSession extends LiveUpdateSession {
  OutgoingSession(Calls calls, Fd fd) {
    super(calls, fd);
  }

  /**
   * Preserves a descriptor. From now on until the session is closed a memfd's size and pages are
   * fixed (growing it and punching holes fail with EPERM, holes have been filled); its contents may
   * go on changing, up to the kexec. Contents, size, seals and position reach the next kernel, the
   * close-on-exec flag does not.
   *
   * @param descriptor borrowed; the kernel has its own reference. Linux 7.3 can preserve memfds
   *     that are not of huge pages, and nothing else
   * @param token by which the next kernel finds it; no two of a session may be the same
   * @throws SystemCallException ENOENT if this kernel can't preserve such a descriptor; EEXIST if
   *     the token is taken; EBUSY if the file is preserved already, in any session; EOPNOTSUPP if
   *     the memfd has a seal that the kernel can't carry; EFBIG; ENOSPC if the session is full;
   *     ENOMEM; EINVAL or ENOTTY if the session came from the previous kernel, or is none
   * @throws IllegalStateException if the session or the descriptor was closed
   */
  public void preserve(Fd descriptor, long token) {
    int number = descriptor.borrow();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment arguments = arguments(arena, DESCRIPTOR_BYTES);
      Field.setInt(arguments, FD, number);
      Field.setLong(arguments, TOKEN, token);
      LiveUpdate.ioctl(
          calls,
          LiveUpdate.Operation.PRESERVE,
          fd,
          PRESERVE_FD,
          arguments,
          descriptor.what() + " under token " + Long.toUnsignedString(token) + " in " + fd.what());
    } finally {
      descriptor.giveBack();
    }
  }
}
