package io.holdfast.store;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Pipe;
import io.holdfast.linux.SocketType;
import io.holdfast.linux.UnixSocket;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The systemd that started this process as a service, and listens to it (sd_notify(3)). Any thread
 * may use it.
 */
public final class ServiceManager implements AutoCloseable {
  private static final String SOCKET = "NOTIFY_SOCKET";
  private static final Duration PATIENCE = Duration.ofSeconds(30);

  private final Linux linux;
  private final UnixSocket socket;

  private ServiceManager(Linux linux, UnixSocket socket) {
    this.linux = linux;
    this.socket = socket;
  }

  /**
   * Finds it.
   *
   * @return empty if this process is no service of systemd's, or not one that it listens to
   */
  public static Optional<ServiceManager> find(Linux linux, Map<String, String> environment) {
    String path = environment.getOrDefault(SOCKET, "");
    // Other kinds of addresses are for machines of other managers (abstract, vsock).
    return path.startsWith("/")
        ? Optional.of(new ServiceManager(linux, linux.connect(Path.of(path), SocketType.DATAGRAM)))
        : Optional.empty();
  }

  /**
   * Tells it something, and waits until it has acted on it.
   *
   * @param assignments such as {@code READY=1}, a line each
   * @param descriptors passed along, borrowed
   * @throws IOException if it does not act within 30 s
   */
  public void tell(String assignments, List<Fd> descriptors) throws IOException {
    send(assignments, descriptors);
    // It closes the descriptor that comes with this when it has got so far.
    try (Pipe barrier = linux.pipe()) {
      send("BARRIER=1", List.of(barrier.writer()));
      barrier.writer().close();
      if (linux.poll(List.of(barrier.reader()), PATIENCE).isEmpty()) {
        throw new IOException(
            "systemd did not act on "
                + assignments.lines().findFirst().orElse("")
                + " within "
                + PATIENCE.toSeconds()
                + " s");
      }
    }
  }

  private void send(String assignments, List<Fd> descriptors) {
    byte[] bytes = assignments.getBytes(StandardCharsets.UTF_8);
    socket.send(bytes, 0, bytes.length, descriptors);
  }

  @Override
  public void close() {
    socket.close();
  }
}
