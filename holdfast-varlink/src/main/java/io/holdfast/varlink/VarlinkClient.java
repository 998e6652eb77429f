package io.holdfast.varlink;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixSocket;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;

/**
 * A connection to a Varlink service. Calls of several threads take turns; {@link #close} from
 * another thread ends a call that waits.
 *
 * <p>Every call may throw {@link VarlinkException} when the service answers with an error, and
 * {@link VarlinkConnectionException} when the connection ended or the service broke the protocol;
 * this client is closed then.
 */
public final class VarlinkClient implements AutoCloseable {
  private final Connection connection;
  private final String service;
  private final ReentrantLock turn = new ReentrantLock();

  private VarlinkClient(UnixSocket socket, String service) {
    this.connection = new Connection(socket);
    this.service = service;
  }

  /**
   * Connects to the service that listens on a path.
   *
   * @throws VarlinkConnectionException if nobody listens there or may be connected to; its cause is
   *     the {@link SystemCallException}
   */
  public static VarlinkClient connect(Linux linux, Path path) {
    try {
      return new VarlinkClient(linux.connect(path), path.toString());
    } catch (SystemCallException e) {
      throw new VarlinkConnectionException("no service on " + path + ": " + e.getMessage(), e);
    }
  }

  /**
   * Talks over a connected socket.
   *
   * @param socket taken over, and closed with the client
   */
  public static VarlinkClient over(UnixSocket socket) {
    return new VarlinkClient(socket, socket.toString());
  }

  /** Calls a method; descriptors that come with the reply are closed. */
  public JsonObject call(String method, JsonObject parameters) {
    try (Reply reply = call(method, parameters, List.of())) {
      return reply.parameters();
    }
  }

  /**
   * Calls a method, with descriptors.
   *
   * @param method its full name
   * @param descriptors sent along, numbered from 0 in the parameters; borrowed
   * @return the reply, the caller's to close
   * @throws IllegalArgumentException if the call is too long or has too many descriptors
   */
  public Reply call(String method, JsonObject parameters, List<Fd> descriptors) {
    return exchange(
        () -> {
          send(JsonObject.of("method", method, "parameters", parameters), descriptors);
          Reply reply = receive(method);
          if (reply.continues()) {
            reply.close();
            throw new VarlinkConnectionException(
                service
                    + " answered "
                    + method
                    + " with more than the one reply that it was asked for");
          }
          return reply;
        });
  }

  /**
   * Calls a method and takes as many replies as the service gives. Returns after the last.
   *
   * @param each gets each reply as it comes, and may take its descriptors; the rest is closed when
   *     it returns. It can't call on this client. If it throws, the client is closed, as replies
   *     may still come
   */
  public void callMore(
      String method, JsonObject parameters, List<Fd> descriptors, Consumer<Reply> each) {
    boolean _ =
        exchange(
            () -> {
              send(
                  JsonObject.of("method", method, "parameters", parameters, "more", true),
                  descriptors);
              boolean continues;
              do {
                try (Reply reply = receive(method)) {
                  continues = reply.continues();
                  deliver(reply, each);
                }
              } while (continues);
              return true;
            });
  }

  /** Calls a method whose outcome does not matter: nothing comes back, not even an error. */
  public void callOneway(String method, JsonObject parameters, List<Fd> descriptors) {
    boolean _ =
        exchange(
            () -> {
              send(
                  JsonObject.of("method", method, "parameters", parameters, "oneway", true),
                  descriptors);
              return true;
            });
  }

  private void deliver(Reply reply, Consumer<Reply> each) {
    boolean taken = false;
    try {
      each.accept(reply);
      taken = true;
    } finally {
      if (!taken) {
        close();
      }
    }
  }

  private interface Exchange<T> {
    T run();
  }

  private <T> T exchange(Exchange<T> exchange) {
    if (turn.isHeldByCurrentThread()) {
      throw new IllegalStateException("a call within a call on one connection to " + service);
    }
    turn.lock();
    try {
      if (!connection.socket().fd().isOpen()) {
        throw new VarlinkConnectionException("the connection to " + service + " was closed");
      }
      return exchange.run();
    } catch (VarlinkConnectionException e) {
      close();
      throw e;
    } catch (SystemCallException e) {
      close();
      throw new VarlinkConnectionException(
          "the connection to " + service + " failed: " + e.getMessage(), e);
    } catch (IllegalStateException e) {
      if (connection.socket().fd().isOpen()) {
        throw e;
      }
      throw new VarlinkConnectionException(
          "the connection to " + service + " was closed during a call", e);
    } finally {
      turn.unlock();
    }
  }

  private void send(JsonObject call, List<Fd> descriptors) {
    connection.write(call, descriptors);
  }

  private Reply receive(String method) {
    Connection.Message message =
        connection
            .read()
            .orElseThrow(
                () ->
                    new VarlinkConnectionException(
                        service + " closed the connection without an answer to " + method));
    boolean good = false;
    try {
      JsonObject json = message.json();
      JsonObject parameters = json.optionalObject("parameters").orElse(JsonObject.empty());
      String error = json.optionalString("error").orElse("");
      if (!error.isEmpty()) {
        throw new VarlinkException(method, error, parameters);
      }
      Reply reply =
          new Reply(
              parameters, message.descriptors(), json.optionalBool("continues").orElse(false));
      good = true;
      return reply;
    } catch (JsonException e) {
      throw new VarlinkConnectionException(
          service + " answered " + method + " with something that is no reply: " + e.getMessage(),
          e);
    } finally {
      if (!good) {
        message.close();
      }
    }
  }

  /** Ends the connection; a call that waits in another thread ends as failed. */
  @Override
  public void close() {
    connection.shutdown();
    connection.close();
  }
}
