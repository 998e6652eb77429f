package io.holdfast.linux;

import java.nio.file.Path;
import java.util.Optional;

/** A Unix socket that listens for stream connections on a path. Any thread may use it. */
public final class UnixListener implements AutoCloseable {
  private static final int SHUT_RDWR = 2;

  private final Calls calls;
  private final Path path;
  private final Fd fd;

  UnixListener(Calls calls, Path path, Fd fd) {
    this.calls = calls;
    this.path = path;
    this.fd = fd;
  }

  /** Where it listens. */
  public Path path() {
    return path;
  }

  /** The listening socket, still this object's. */
  public Fd fd() {
    return fd;
  }

  /**
   * Waits for the next connection.
   *
   * @return the connection, the caller's to close; empty once the listener is shut down or closed
   * @throws SystemCallException EMFILE, ENFILE, ENOMEM: the connection still waits and can be
   *     accepted later
   */
  public Optional<UnixSocket> accept() {
    long number;
    try {
      number = calls.attemptOn(Call.ACCEPT4, fd, 0, 0, Sockets.SOCK_CLOEXEC);
    } catch (IllegalStateException closed) {
      return Optional.empty();
    }
    if (number == -Errno.EINVAL.number()) {
      return Optional.empty();
    }
    long checked = SystemCallException.check(number, Call.ACCEPT4, fd.what());
    return Optional.of(new UnixSocket(calls, calls.own(checked, "connection on " + path)));
  }

  /**
   * Listens no more: new connections are refused, and {@link #accept} returns empty, also where it
   * waits in another thread. This holds for everybody who has a duplicate of the socket. Does
   * nothing on a closed one.
   */
  public void shutdown() {
    if (fd.isOpen()) {
      calls.on(Call.SHUTDOWN, fd, SHUT_RDWR);
    }
  }

  /**
   * Closes the socket, not for those who have a duplicate of it; the file stays. A thread that
   * waits in {@link #accept} goes on waiting and takes one more connection unless {@link #shutdown}
   * came before.
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
