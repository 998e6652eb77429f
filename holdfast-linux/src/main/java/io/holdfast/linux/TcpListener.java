package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.InetSocketAddress;
import java.util.Optional;

/** A socket that listens for TCP connections over IPv4. It never waits. */
public final class TcpListener implements AutoCloseable {
  private final Calls calls;
  private final Fd fd;

  TcpListener(Calls calls, Fd fd) {
    this.calls = calls;
    this.fd = fd;
  }

  static TcpListener listen(Calls calls, InetSocketAddress address, int backlog) {
    Fd fd = TcpSocket.socket(calls, "TCP " + TcpSocket.text(address) + " (listening)");
    try (Arena arena = Arena.ofConfined()) {
      // Connections of an earlier listener that are still ending must not keep this one away.
      TcpSocket.option(calls, fd, TcpSocket.SOL_SOCKET, TcpSocket.SO_REUSEADDR, 1);
      MemorySegment name = TcpSocket.address(arena, address);
      calls.on(Call.BIND, fd, name.address(), name.byteSize());
      calls.on(Call.LISTEN, fd, backlog);
      return new TcpListener(calls, fd);
    } catch (Throwable t) {
      fd.close();
      throw t;
    }
  }

  /** The socket, still this object's; it can be read while a connection waits. */
  public Fd fd() {
    return fd;
  }

  /** Where it listens. */
  public InetSocketAddress address() {
    return TcpSocket.ownAddress(calls, fd);
  }

  /**
   * Takes the next connection that waits.
   *
   * @return the caller's to close; empty if none waits (any more)
   * @throws SystemCallException EMFILE, ENFILE, ENOMEM: the connection still waits and can be
   *     accepted later
   */
  public Optional<TcpSocket> acceptNow() {
    long number =
        calls.attemptOn(Call.ACCEPT4, fd, 0, 0, Sockets.SOCK_CLOEXEC | TcpSocket.SOCK_NONBLOCK);
    if (number == -Errno.EAGAIN.number() || number == -Errno.ECONNABORTED.number()) {
      return Optional.empty();
    }
    long checked = SystemCallException.check(number, Call.ACCEPT4, fd.what());
    return Optional.of(TcpSocket.of(calls, calls.own(checked, "connection on " + fd.what())));
  }

  /**
   * Closes the socket, not for those who have a duplicate of it: as long as there is one,
   * connections wait in the backlog.
   */
  @Override
  public void close() {
    fd.close();
  }

  @Override
  public String toString() {
    return fd.toString();
  }
}
