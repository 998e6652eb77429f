package io.holdfast.varlink;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Received;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixSocket;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Messages over a stream socket: JSON objects that each end with a NUL byte, and descriptors.
 *
 * <p>Descriptors belong to the message whose bytes they came with. A read of a stream joins the
 * bytes before a sendmsg(2) that carries descriptors with that one's (unix(7)), so reading as much
 * as there is could not tell which of several messages they are of. Hence no read here goes beyond
 * a message's NUL: its first byte is waited for, what else has come is looked at without taking it,
 * and then taken up to the NUL. A sender that cuts or joins messages anywhere is understood.
 */
final class Connection implements AutoCloseable {
  record Message(JsonObject json, Descriptors descriptors) implements AutoCloseable {
    @Override
    public void close() {
      descriptors.close();
    }
  }

  private static final int LOOK_AHEAD = 64 << 10;
  private static final int FIRST_LOOK = 2 << 10;

  /**
   * The most that one message may be.
   *
   * @param bytes of its text
   */
  record Most(int bytes, int descriptors) {
    /** What the protocol knows: as in systemd's Varlink, and as the kernel passes at once. */
    static final Most ANY = new Most(Json.MAX_BYTES, UnixSocket.MOST_DESCRIPTORS);
  }

  private final UnixSocket socket;
  private final Most most;

  /** Takes ownership of the socket. */
  Connection(UnixSocket socket) {
    this(socket, Most.ANY);
  }

  /**
   * Takes ownership of the socket.
   *
   * @param most what is read; more breaks the protocol
   */
  Connection(UnixSocket socket, Most most) {
    this.socket = socket;
    this.most = most;
  }

  UnixSocket socket() {
    return socket;
  }

  /**
   * Waits for the next message.
   *
   * @return the caller's to close; empty if the other side closed the connection between messages
   * @throws VarlinkConnectionException if it broke the protocol or closed within a message
   * @throws SystemCallException if receiving failed; EMFILE if a descriptor had no place
   */
  Optional<Message> read() {
    List<Fd> descriptors = new ArrayList<>();
    try {
      Optional<byte[]> text = readText(descriptors);
      if (text.isEmpty()) {
        return Optional.empty();
      }
      Message message = new Message(Json.parse(text.get()), new Descriptors(descriptors));
      descriptors = List.of();
      return Optional.of(message);
    } catch (JsonException e) {
      throw new VarlinkConnectionException(
          "the other side sent a message that is " + e.getMessage(), e);
    } finally {
      descriptors.forEach(Fd::close);
    }
  }

  private Optional<byte[]> readText(List<Fd> descriptors) {
    ByteArrayOutputStream text = new ByteArrayOutputStream(256);
    byte[] ahead = new byte[FIRST_LOOK];
    while (true) {
      // Waits, and so takes no more than the one byte that is certain to be this message's.
      byte[] some = new byte[1];
      int length = receive(some, descriptors);
      while (length > 0) {
        boolean whole = some[length - 1] == 0;
        text.write(some, 0, whole ? length - 1 : length);
        if (text.size() > most.bytes()) {
          throw new VarlinkConnectionException(
              "the peer sent a message of more than " + most.bytes() + " bytes");
        }
        if (whole) {
          return Optional.of(text.toByteArray());
        }
        int come = look(ahead);
        if (come == 0) {
          break;
        }
        int end = 0;
        while (end < come && ahead[end++] != 0) {}
        some = new byte[end];
        length = receive(some, descriptors);
        if (come == ahead.length && ahead.length < LOOK_AHEAD) {
          ahead = new byte[LOOK_AHEAD];
        }
      }
      if (length == 0) {
        if (text.size() == 0) {
          return Optional.empty();
        }
        throw new VarlinkConnectionException(
            "the connection ended within a message, after " + text.size() + " bytes of it");
      }
    }
  }

  private int receive(byte[] into, List<Fd> descriptors) {
    Received received;
    try {
      received = socket.receive(into);
    } catch (SystemCallException e) {
      // The other side closed without reading everything: an end like any other.
      if (e.errno() == Errno.ECONNRESET) {
        return 0;
      }
      throw e;
    }
    descriptors.addAll(received.descriptors());
    if (descriptors.size() > most.descriptors()) {
      throw new VarlinkConnectionException(
          "the peer sent more than " + most.descriptors() + " descriptors with one message");
    }
    return received.bytes();
  }

  /** How many bytes wait, up to the buffer's size, copied there and left in the queue. */
  private int look(byte[] into) {
    Optional<Received> waiting = socket.peek(into);
    // They are duplicates; the real ones come when the bytes are taken.
    waiting.ifPresent(Received::closeDescriptors);
    return waiting.map(Received::bytes).orElse(0);
  }

  /** Whether the other side has closed, or at least sends no more, and left nothing to be read. */
  boolean ended() {
    try {
      Optional<Received> waiting = socket.peek(new byte[1]);
      waiting.ifPresent(Received::closeDescriptors);
      return waiting.isPresent() && waiting.get().end();
    } catch (SystemCallException e) {
      return e.errno() == Errno.ECONNRESET;
    }
  }

  /**
   * Sends a message.
   *
   * @param descriptors borrowed
   * @throws SystemCallException EPIPE or ECONNRESET if the other side has closed
   * @throws IllegalArgumentException if the message or the list is too long; nothing was sent then
   */
  void write(JsonObject json, List<Fd> descriptors) {
    byte[] text = json.bytes();
    if (text.length > Json.MAX_BYTES) {
      throw new IllegalArgumentException(
          "a message of " + text.length + " bytes; the longest is " + Json.MAX_BYTES);
    }
    byte[] bytes = Arrays.copyOf(text, text.length + 1);
    socket.send(bytes, 0, bytes.length, descriptors);
  }

  /** Whether a failure to send says that the other side is gone. */
  static boolean isGone(SystemCallException e) {
    return e.errno() == Errno.EPIPE || e.errno() == Errno.ECONNRESET;
  }

  /** Ends the connection, and with it a thread's wait for a message; {@link #close} comes later. */
  void shutdown() {
    socket.shutdown();
  }

  @Override
  public void close() {
    socket.close();
  }
}
