package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.Inet4Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.util.OptionalInt;

/**
 * A TCP connection over IPv4. Nothing here waits; {@link Linux#poll(java.util.Map,
 * java.time.Duration)} tells when there is something to do.
 */
public final class TcpSocket implements AutoCloseable {
  static final int AF_INET = 2;
  static final int SOCK_STREAM = 1;
  static final int SOCK_NONBLOCK = 0x800;
  static final int SOL_SOCKET = 1;
  static final int SO_REUSEADDR = 2;
  private static final int SO_ERROR = 4;
  private static final int SO_LINGER = 13;
  private static final int IPPROTO_TCP = 6;
  private static final int TCP_NODELAY = 1;
  private static final int SHUT_WR = 1;

  // struct sockaddr_in: short family, port and address in the network's byte order.
  private static final int SOCKADDR_BYTES = 16;
  private static final int PORT = 2;
  private static final int HOST = 4;

  private final Calls calls;
  private final Fd fd;

  private TcpSocket(Calls calls, Fd fd) {
    this.calls = calls;
    this.fd = fd;
  }

  /** Uses a connection, whose ownership is taken; small pieces go out at once. */
  static TcpSocket of(Calls calls, Fd fd) {
    try {
      option(calls, fd, IPPROTO_TCP, TCP_NODELAY, 1);
      return new TcpSocket(calls, fd);
    } catch (Throwable t) {
      fd.close();
      throw t;
    }
  }

  static TcpSocket connect(Calls calls, InetSocketAddress to) {
    Fd fd = socket(calls, "TCP connection to " + text(to));
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = address(arena, to);
      // Not made again after a signal: the kernel goes on connecting.
      long result = calls.attemptOn(Call.CONNECT, fd, name.address(), name.byteSize());
      if (result != -Errno.EINPROGRESS.number() && result != -Errno.EALREADY.number()) {
        SystemCallException.check(result, Call.CONNECT, fd.what());
      }
      return of(calls, fd);
    } catch (Throwable t) {
      fd.close();
      throw t;
    }
  }

  static Fd socket(Calls calls, String what) {
    return calls.own(
        calls.make(
            Call.SOCKET, what, AF_INET, SOCK_STREAM | SOCK_NONBLOCK | Sockets.SOCK_CLOEXEC, 0),
        what);
  }

  static void option(Calls calls, Fd fd, int level, int name, int value) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment memory = Field.ints(arena, value);
      calls.on(Call.SETSOCKOPT, fd, level, name, memory.address(), memory.byteSize());
    }
  }

  static MemorySegment address(Arena arena, InetSocketAddress address) {
    if (!(address.getAddress() instanceof Inet4Address host)) {
      throw new IllegalArgumentException(address + " is no IPv4 address");
    }
    MemorySegment name = arena.allocate(SOCKADDR_BYTES, Long.BYTES);
    Field.setShort(name, 0, AF_INET);
    name.asByteBuffer().putShort(PORT, (short) address.getPort());
    byte[] bytes = host.getAddress();
    MemorySegment.copy(bytes, 0, name, ValueLayout.JAVA_BYTE, HOST, bytes.length);
    return name;
  }

  static InetSocketAddress ownAddress(Calls calls, Fd fd) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocate(SOCKADDR_BYTES, Long.BYTES);
      MemorySegment size = Field.ints(arena, SOCKADDR_BYTES);
      calls.on(Call.GETSOCKNAME, fd, name.address(), size.address());
      byte[] host = name.asSlice(HOST, Integer.BYTES).toArray(ValueLayout.JAVA_BYTE);
      return new InetSocketAddress(
          InetAddress.getByAddress(host), name.asByteBuffer().getShort(PORT) & 0xffff);
    } catch (UnknownHostException e) {
      throw new IllegalStateException("four bytes are an IPv4 address", e);
    }
  }

  static String text(InetSocketAddress address) {
    return address.getAddress().getHostAddress() + ":" + address.getPort();
  }

  /** The socket, still this object's. */
  public Fd fd() {
    return fd;
  }

  /**
   * Why the connection could not be made, or broke; asked once it can be written after {@link
   * Linux#connect(InetSocketAddress)}.
   *
   * @throws SystemCallException ECONNREFUSED, ETIMEDOUT and what else connect(2) names
   */
  public void check() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment error = arena.allocate(ValueLayout.JAVA_INT);
      MemorySegment size = Field.ints(arena, Integer.BYTES);
      calls.on(Call.GETSOCKOPT, fd, SOL_SOCKET, SO_ERROR, error.address(), size.address());
      int number = Field.getInt(error, 0);
      if (number != 0) {
        throw SystemCallException.failed(Call.CONNECT, -number, fd.what());
      }
    }
  }

  /**
   * Takes what has come.
   *
   * @param into native memory, filled from its beginning
   * @return how many bytes; 0 at the end of what the other side sends; empty if nothing has come
   * @throws SystemCallException ECONNRESET and what else breaks a connection
   */
  public OptionalInt receiveNow(MemorySegment into) {
    long n = calls.attemptOn(Call.READ, fd, Calls.address(into), into.byteSize());
    return n == -Errno.EAGAIN.number()
        ? OptionalInt.empty()
        : OptionalInt.of((int) SystemCallException.check(n, Call.READ, fd.what()));
  }

  /**
   * Sends as much as there is room for.
   *
   * @param from native memory
   * @return how many bytes, from its beginning; 0 if there is no room
   * @throws SystemCallException EPIPE, ECONNRESET and what else breaks a connection
   */
  public int sendNow(MemorySegment from) {
    long n = calls.attemptOn(Call.WRITE, fd, Calls.address(from), from.byteSize());
    return n == -Errno.EAGAIN.number()
        ? 0
        : (int) SystemCallException.check(n, Call.WRITE, fd.what());
  }

  /** Sends the end; the other direction goes on. Does nothing where the other side has gone. */
  public void finishSending() {
    long result = calls.attemptOn(Call.SHUTDOWN, fd, SHUT_WR);
    if (result != -Errno.ENOTCONN.number()) {
      SystemCallException.check(result, Call.SHUTDOWN, fd.what());
    }
  }

  /** Lets {@link #close} reset the connection: the other side gets ECONNRESET, not an end. */
  public void resetOnClose() {
    try (Arena arena = Arena.ofConfined()) {
      // struct linger: on, and no time.
      MemorySegment linger = Field.ints(arena, 1, 0);
      calls.on(Call.SETSOCKOPT, fd, SOL_SOCKET, SO_LINGER, linger.address(), linger.byteSize());
    }
  }

  /** Closes the connection. */
  @Override
  public void close() {
    fd.close();
  }

  @Override
  public String toString() {
    return fd.toString();
  }
}
