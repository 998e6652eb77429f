package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.Readiness;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixListener;
import io.holdfast.linux.UnixSocket;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/**
 * A named port's host end: a listening socket, and one client at a time; others wait until it has
 * gone. What the guest says while there is none is dropped. The descriptor store holds both
 * sockets, so that a client stays connected while the agent is replaced.
 */
final class Client implements Sink {
  private static final LateLogger LOGGER = new LateLogger(Client.class);
  private static final String LISTENER = "listener";
  private static final String CLIENT = "client";
  private static final int BACKLOG = 8;
  private static final long MUCH = 1 << 20;

  private final ChannelDescriptors kept;
  private final Linux linux;
  private final Line line;
  private final Path path;
  private final UnixListener listener;
  private final Fd nowhere;
  private Optional<Fd> client;

  /** Whether the client may still say something. */
  private boolean listening = true;

  private Client(
      ChannelDescriptors kept,
      Line line,
      Path path,
      UnixListener listener,
      Fd nowhere,
      Optional<Fd> client) {
    this.kept = kept;
    this.linux = kept.linux();
    this.line = line;
    this.path = path;
    this.listener = listener;
    this.nowhere = nowhere;
    this.client = client;
  }

  /**
   * Goes on with what is kept, or listens anew.
   *
   * @throws IOException if it can't listen on the path
   */
  static Client open(ChannelDescriptors kept, Line line, Path path) throws IOException {
    Linux linux = kept.linux();
    Optional<Fd> found = kept.find(LISTENER);
    UnixListener listener;
    if (found.isPresent()) {
      listener = linux.adoptListener(path, found.get());
    } else {
      Files.deleteIfExists(path);
      listener = linux.listen(path, BACKLOG);
      Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rw-------"));
      kept.keep(LISTENER, listener.fd());
    }
    Fd nowhere = linux.open(Path.of("/dev/null"), OpenFlag.WRITE);
    return new Client(kept, line, path, listener, nowhere, kept.find(CLIENT));
  }

  @Override
  public synchronized boolean room() {
    return !pending();
  }

  /** Whether the guest has said what the client has no room for. */
  private boolean pending() {
    return !linux.poll(List.of(line.out()), Duration.ZERO).isEmpty();
  }

  @Override
  public synchronized void want(Map<Fd, Set<Readiness>> wanted) {
    if (client.isEmpty()) {
      wanted.put(listener.fd(), Set.of(Readiness.READABLE));
      return;
    }
    boolean hear = listening && !line.stuffed();
    if (pending()) {
      wanted.put(
          client.get(),
          hear ? Set.of(Readiness.READABLE, Readiness.WRITABLE) : Set.of(Readiness.WRITABLE));
    } else if (hear) {
      wanted.put(client.get(), Set.of(Readiness.READABLE));
    } else if (!listening) {
      wanted.put(client.get(), Set.of());
    }
    // Else it has to wait for the guest to read; nothing that it does matters until then.
  }

  @Override
  public synchronized void take() {
    if (client.isPresent()) {
      try {
        while (linux.splice(line.out(), client.get(), MUCH).isPresent()) {
          // There may be more.
        }
        return;
      } catch (SystemCallException e) {
        LOGGER.get().log(System.Logger.Level.DEBUG, "the client of " + path + " left", e);
        disconnect();
      }
    }
    while (linux.splice(line.out(), nowhere, MUCH).isPresent()) {
      // There may be more.
    }
  }

  @Override
  public synchronized void serve(Map<Fd, Set<Readiness>> ready) {
    if (client.isEmpty()) {
      if (ready.containsKey(listener.fd())) {
        connect();
      }
      return;
    }
    Set<Readiness> found = ready.getOrDefault(client.get(), Set.of());
    if (found.contains(Readiness.READABLE) && listening) {
      OptionalLong heard;
      try {
        heard = linux.splice(client.get(), line.in(), MUCH);
      } catch (SystemCallException e) {
        heard = OptionalLong.of(0);
      }
      listening = heard.isEmpty() || heard.getAsLong() > 0;
    }
    if (found.contains(Readiness.HUNG_UP) && !listening) {
      disconnect();
    } else {
      take();
    }
  }

  private void connect() {
    Optional<UnixSocket> accepted = listener.accept();
    if (accepted.isEmpty()) {
      return;
    }
    Fd socket = accepted.get().fd();
    try {
      linux.nonblocking(socket);
      kept.keep(CLIENT, socket);
      client = Optional.of(socket);
      listening = true;
    } catch (RuntimeException e) {
      socket.close();
      LOGGER
          .get()
          .log(System.Logger.Level.WARNING, "a client of " + path + " could not be taken", e);
    }
  }

  private void disconnect() {
    client.ifPresent(Fd::close);
    client = Optional.empty();
    kept.drop(Set.of(CLIENT));
  }

  @Override
  public synchronized void end() {
    disconnect();
    kept.drop(Set.of(LISTENER));
    try {
      Files.deleteIfExists(path);
    } catch (IOException e) {
      throw new UncheckedIOException("removing " + path, e);
    }
  }

  @Override
  public synchronized void close() {
    client.ifPresent(Fd::close);
    listener.close();
    nowhere.close();
  }
}
