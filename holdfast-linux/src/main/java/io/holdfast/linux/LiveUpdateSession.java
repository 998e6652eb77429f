package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;

/**
 * A session of the Live Update Orchestrator: one that will be handed to the next kernel, or one
 * that came from the previous one. Holds its descriptor; any thread may use it.
 *
 * <p>Source: {@code include/uapi/linux/liveupdate.h} of Linux 7.3.
 */
public abstract sealed class LiveUpdateSession implements AutoCloseable
    permits OutgoingSession, IncomingSession {
  private static final int TYPE = 0xBA << 8;
  static final int PRESERVE_FD = TYPE | 0x40;
  static final int RETRIEVE_FD = TYPE | 0x41;
  static final int FINISH = TYPE | 0x42;
  private static final int GET_NAME = TYPE | 0x43;

  // struct liveupdate_session_preserve_fd and ..._retrieve_fd: u32 size, s32 fd, u64 token.
  static final int DESCRIPTOR_BYTES = 16;
  static final int FD = 4;
  static final int TOKEN = 8;

  // struct liveupdate_session_get_name: u32 size, u32 reserved, u8 name[64].
  private static final int NAME_BYTES = 72;
  private static final int NAME = 8;

  final Calls calls;
  final Fd fd;

  LiveUpdateSession(Calls calls, Fd fd) {
    this.calls = calls;
    this.fd = fd;
  }

  /** The session's descriptor, still this object's; a duplicate of it keeps the session open. */
  public final Fd fd() {
    return fd;
  }

  /**
   * Its name, as the kernel has it.
   *
   * @throws SystemCallException ENOTTY if the descriptor is no session's
   * @throws IllegalStateException if it was closed
   */
  public final String name() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment arguments = arguments(arena, NAME_BYTES);
      LiveUpdate.ioctl(calls, LiveUpdate.Operation.GET_NAME, fd, GET_NAME, arguments, fd.what());
      return arguments.getString(NAME, StandardCharsets.UTF_8);
    }
  }

  /** A request's structure, its size filled in. */
  static MemorySegment arguments(Arena arena, int bytes) {
    MemorySegment arguments = arena.allocate(bytes, Long.BYTES);
    Field.setInt(arguments, 0, bytes);
    return arguments;
  }

  /**
   * Closes this descriptor of the session. When it is the last one, an outgoing session is undone,
   * and of an incoming one all is discarded that was not retrieved.
   */
  @Override
  public final void close() {
    fd.close();
  }

  @Override
  public final String toString() {
    return fd.toString();
  }
}
