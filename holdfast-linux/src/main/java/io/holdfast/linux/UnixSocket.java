package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * A connected Unix socket, which carries bytes and descriptors (SCM_RIGHTS of unix(7)).
 *
 * <p>One thread may send while another receives; two that send at once may mix what they send. To
 * end a thread that waits here, {@link #shutdown} the socket from another thread.
 */
public final class UnixSocket implements AutoCloseable {
  /** How many descriptors one message can carry (SCM_MAX_FD of the kernel). */
  public static final int MOST_DESCRIPTORS = 253;

  private static final int SOL_SOCKET = 1;
  private static final int SCM_RIGHTS = 1;
  private static final int SO_PEERCRED = 17;
  private static final int SO_PEEK_OFF = 42;
  private static final int SO_SNDBUF = 7;
  private static final int SO_SNDBUFFORCE = 32;
  private static final int SHUT_RDWR = 2;
  private static final int MSG_PEEK = 0x2;
  private static final int MSG_CTRUNC = 0x8;
  private static final int MSG_TRUNC = 0x20;
  private static final int MSG_DONTWAIT = 0x40;
  private static final int MSG_NOSIGNAL = 0x4000;
  private static final int MSG_CMSG_CLOEXEC = 0x40000000;

  // struct msghdr of 64-bit Linux.
  private static final int MSGHDR_BYTES = 56;
  private static final int MSG_IOV = 16;
  private static final int MSG_IOVLEN = 24;
  private static final int MSG_CONTROL = 32;
  private static final int MSG_CONTROLLEN = 40;
  private static final int MSG_FLAGS = 48;
  // struct cmsghdr: its length with its data, level, type, data.
  private static final int CMSG_LEVEL = 8;
  private static final int CMSG_TYPE = 12;
  private static final int CMSG_DATA = 16;

  private final Calls calls;
  private final Fd fd;

  UnixSocket(Calls calls, Fd fd) {
    this.calls = calls;
    this.fd = fd;
  }

  /** The socket, still this object's. */
  public Fd fd() {
    return fd;
  }

  /** Sends bytes without descriptors; as {@link #send(MemorySegment, List)}. */
  public void send(byte[] bytes) {
    send(MemorySegment.ofArray(bytes), List.of());
  }

  /** Sends a part of {@code bytes}; as {@link #send(MemorySegment, List)}. */
  public void send(byte[] bytes, int offset, int length, List<Fd> descriptors) {
    send(MemorySegment.ofArray(bytes).asSlice(offset, length), descriptors);
  }

  /**
   * Sends everything, waiting for room as often as it takes. On failure a part may have been sent.
   *
   * @param bytes at least one: descriptors don't travel alone, and an empty packet can't be told
   *     from the end
   * @param descriptors sent with the first byte; borrowed, the receiver gets duplicates. At most
   *     {@link #MOST_DESCRIPTORS}
   * @throws SystemCallException EPIPE or ECONNRESET if the other side has closed; EMSGSIZE for a
   *     packet that is too long; ETOOMANYREFS
   * @throws IllegalArgumentException without a byte or with too many descriptors
   */
  public void send(MemorySegment bytes, List<Fd> descriptors) {
    boolean _ = send(bytes, descriptors, 0);
  }

  /**
   * As {@link #send(MemorySegment, List)} for one packet, without waiting.
   *
   * @return false if the queue has no room for it: nothing was sent then
   */
  public boolean sendNow(byte[] packet, List<Fd> descriptors) {
    return send(MemorySegment.ofArray(packet), descriptors, MSG_DONTWAIT);
  }

  /**
   * Sets how much may wait in the queue of what is sent here, the kernel's own bookkeeping included
   * (about 1 KiB for a small packet). Without CAP_NET_ADMIN the kernel keeps it to
   * net.core.wmem_max.
   */
  public void sendBuffer(int bytes) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment value = Field.ints(arena, bytes);
      long forced =
          calls.attemptOn(
              Call.SETSOCKOPT, fd, SOL_SOCKET, SO_SNDBUFFORCE, value.address(), value.byteSize());
      if (forced == -Errno.EPERM.number()) {
        calls.on(Call.SETSOCKOPT, fd, SOL_SOCKET, SO_SNDBUF, value.address(), value.byteSize());
      } else {
        SystemCallException.check(forced, Call.SETSOCKOPT, fd.what());
      }
    }
  }

  private boolean send(MemorySegment bytes, List<Fd> descriptors, int flags) {
    if (bytes.byteSize() == 0) {
      throw new IllegalArgumentException("send at least a byte on " + fd.what());
    }
    if (descriptors.size() > MOST_DESCRIPTORS) {
      throw new IllegalArgumentException(
          descriptors.size()
              + " descriptors at once on "
              + fd.what()
              + "; at most "
              + MOST_DESCRIPTORS);
    }
    List<Fd> borrowed = new ArrayList<>();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment data =
          bytes.isNative() ? bytes : arena.allocate(bytes.byteSize()).copyFrom(bytes);
      int controlBytes = descriptors.isEmpty() ? 0 : CMSG_DATA + Integer.BYTES * descriptors.size();
      MemorySegment control =
          arena.allocate(Math.ceilDiv(controlBytes, Long.BYTES) * (long) Long.BYTES, Long.BYTES);
      if (!descriptors.isEmpty()) {
        Field.setLong(control, 0, controlBytes);
        Field.setInt(control, CMSG_LEVEL, SOL_SOCKET);
        Field.setInt(control, CMSG_TYPE, SCM_RIGHTS);
        for (Fd d : descriptors) {
          Field.setInt(control, CMSG_DATA + (long) Integer.BYTES * borrowed.size(), d.borrow());
          borrowed.add(d);
        }
      }
      Message message = new Message(arena, control);
      long sent = 0;
      while (sent < data.byteSize()) {
        MemorySegment header = message.header(data.asSlice(sent), sent == 0);
        long n = calls.attemptOn(Call.SENDMSG, fd, header.address(), MSG_NOSIGNAL | flags);
        if (n == -Errno.EAGAIN.number() && flags != 0) {
          return false;
        }
        sent += SystemCallException.check(n, Call.SENDMSG, fd.what());
      }
      return true;
    } finally {
      borrowed.forEach(Fd::giveBack);
    }
  }

  /**
   * Waits for what comes next: bytes up to the buffer's size from a stream, one packet from
   * packets, and the descriptors that came with them.
   *
   * @return what came; 0 bytes when the other side has closed, or one of both has shut down
   * @throws SystemCallException EMSGSIZE if a packet is longer than the buffer (it is lost); EMFILE
   *     if this process had no room for all descriptors (they and the message are lost);
   *     ECONNRESET. Descriptors that did come are closed
   * @throws IllegalArgumentException if the buffer is empty
   */
  public Received receive(byte[] buffer) {
    return receive(buffer, 0).orElseThrow();
  }

  /** As {@link #receive}, without waiting: empty if nothing has come. */
  public Optional<Received> receiveNow(byte[] buffer) {
    return receive(buffer, MSG_DONTWAIT);
  }

  /**
   * Takes the next packet out of the queue and drops it, with its descriptors. These never become
   * this process's, so it needs none that is free.
   *
   * @return false if there is none
   */
  public boolean discardNow() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment header =
          new Message(arena, MemorySegment.NULL).header(arena.allocate(1), false);
      long n = calls.attemptOn(Call.RECVMSG, fd, header.address(), MSG_DONTWAIT);
      return n != -Errno.EAGAIN.number()
          && SystemCallException.check(n, Call.RECVMSG, fd.what()) > 0;
    }
  }

  /**
   * As {@link #receiveNow}, but leaves everything in the queue: what comes out are copies of the
   * bytes and duplicates of the descriptors, and the same again the next time unless {@link
   * #peekFrom} was called.
   */
  public Optional<Received> peek(byte[] buffer) {
    return receive(buffer, MSG_PEEK | MSG_DONTWAIT);
  }

  /**
   * Lets the next {@link #peek} begin {@code bytes} after the queue's beginning, and each one after
   * it where the one before ended, so that a whole queue can be read without taking it. This holds
   * for everybody who has a duplicate of the socket.
   *
   * @param bytes 0 for the queue's beginning; -1 to let every peek begin there again
   */
  public void peekFrom(int bytes) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment value = Field.ints(arena, bytes);
      calls.on(Call.SETSOCKOPT, fd, SOL_SOCKET, SO_PEEK_OFF, value.address(), value.byteSize());
    }
  }

  private Optional<Received> receive(byte[] buffer, int flags) {
    if (buffer.length == 0) {
      throw new IllegalArgumentException("receive into nothing on " + fd.what());
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment data = arena.allocate(buffer.length);
      long room =
          CMSG_DATA
              + Math.ceilDiv(MOST_DESCRIPTORS * Integer.BYTES, Long.BYTES) * (long) Long.BYTES;
      MemorySegment control = arena.allocate(room, Long.BYTES);
      MemorySegment header = new Message(arena, control).header(data, true);
      long n = calls.attemptOn(Call.RECVMSG, fd, header.address(), flags | MSG_CMSG_CLOEXEC);
      if (n == -Errno.EAGAIN.number() && (flags & MSG_DONTWAIT) != 0) {
        return Optional.empty();
      }
      long bytes = SystemCallException.check(n, Call.RECVMSG, fd.what());
      Received received =
          new Received((int) bytes, descriptors(control, Field.getLong(header, MSG_CONTROLLEN)));
      int happened = Field.getInt(header, MSG_FLAGS);
      if ((happened & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        received.closeDescriptors();
        throw cut(happened, buffer.length, received.descriptors().size());
      }
      MemorySegment.copy(data, ValueLayout.JAVA_BYTE, 0, buffer, 0, (int) bytes);
      return Optional.of(received);
    }
  }

  /**
   * The room is enough for as many descriptors as a message can carry, so only a full table loses
   * some.
   */
  private SystemCallException cut(int flags, int room, int came) {
    return (flags & MSG_CTRUNC) != 0
        ? SystemCallException.failed(
            Call.RECVMSG,
            -Errno.EMFILE.number(),
            fd.what() + " (a message's descriptors, of which " + came + " came before the limit)")
        : new SystemCallException(
            Call.RECVMSG,
            Errno.EMSGSIZE,
            fd.what() + " (a buffer of " + room + " bytes)",
            "The packet is longer than the buffer: the sender does not keep to the protocol, or the buffer is too small.");
  }

  private List<Fd> descriptors(MemorySegment control, long length) {
    List<Fd> found = new ArrayList<>();
    long at = 0;
    while (at + CMSG_DATA <= length) {
      long size = Field.getLong(control, at);
      if (size < CMSG_DATA) {
        break;
      }
      if (Field.getInt(control, at + CMSG_LEVEL) == SOL_SOCKET
          && Field.getInt(control, at + CMSG_TYPE) == SCM_RIGHTS) {
        for (long d = at + CMSG_DATA;
            d + Integer.BYTES <= Math.min(at + size, length);
            d += Integer.BYTES) {
          found.add(calls.own(Field.getInt(control, d), "received on " + fd.what()));
        }
      }
      at += Math.ceilDiv(size, Long.BYTES) * Long.BYTES;
    }
    return found;
  }

  /** Who is at the other end. */
  public PeerCredentials peer() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment ucred = arena.allocate(ValueLayout.JAVA_INT, 3);
      MemorySegment length = Field.ints(arena, (int) ucred.byteSize());
      calls.on(Call.GETSOCKOPT, fd, SOL_SOCKET, SO_PEERCRED, ucred.address(), length.address());
      return new PeerCredentials(
          Field.getInt(ucred, 0), Field.getInt(ucred, 4), Field.getInt(ucred, 8));
    }
  }

  /**
   * Ends the connection in both directions, for everybody who has either end: what was sent can
   * still be received, then comes the end; a thread that waits here or there goes on. Does nothing
   * on a closed or disconnected socket.
   */
  public void shutdown() {
    long result;
    try {
      result = calls.attemptOn(Call.SHUTDOWN, fd, SHUT_RDWR);
    } catch (IllegalStateException closed) {
      return;
    }
    if (result != -Errno.ENOTCONN.number()) {
      SystemCallException.check(result, Call.SHUTDOWN, fd.what());
    }
  }

  /**
   * Closes this end; the other side sees the end unless somebody else has a duplicate of this one.
   * Does not wake a thread that waits here: {@link #shutdown} does.
   */
  @Override
  public void close() {
    fd.close();
  }

  @Override
  public String toString() {
    return fd.toString();
  }

  /** A message's header, filled anew for each call. */
  private record Message(MemorySegment header, MemorySegment vector, MemorySegment control) {
    Message(Arena arena, MemorySegment control) {
      this(
          arena.allocate(MSGHDR_BYTES, Long.BYTES),
          arena.allocate(ValueLayout.JAVA_LONG, 2),
          control);
    }

    MemorySegment header(MemorySegment data, boolean withControl) {
      Field.setLong(vector, 0, Calls.address(data));
      Field.setLong(vector, 8, data.byteSize());
      boolean some = withControl && control.byteSize() > 0;
      Field.setLong(header, MSG_IOV, vector.address());
      Field.setLong(header, MSG_IOVLEN, 1);
      Field.setLong(header, MSG_CONTROL, some ? control.address() : 0);
      Field.setLong(header, MSG_CONTROLLEN, some ? control.byteSize() : 0);
      return header;
    }
  }
}
