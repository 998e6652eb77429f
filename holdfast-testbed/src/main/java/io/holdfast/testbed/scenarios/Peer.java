package io.holdfast.testbed.scenarios;

import io.holdfast.testbed.Outside;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Locale;

/**
 * A peer of the test guest that is no part of the machine, so that nothing happens to it when the
 * machine's kernel is replaced: it reads a stream of the guest's (guest/README.md, "Network") over
 * one TCP connection, and checks every byte.
 */
final class Peer {
  /** The guest's port that sends. */
  static final int SENDS = 7001;

  /** How far it is, in the exchange folder. */
  static final String PROGRESS = "peer";

  private static final long SEED = 0x686f6c6466617374L;
  private static final int BUFFER = 8 << 10;
  private static final long PAUSE_MILLIS = 10;
  private static final long TELL_NANOS = 250_000_000;

  /** A guest that is emulated twice on a busy machine takes long to boot. */
  private static final long PATIENCE_NANOS = 3_600_000_000_000L;

  private final int port;
  private final Path exchange;
  private final long begun;

  private volatile long heard;
  private volatile long right;
  private volatile long beforeGap;
  private volatile long gap;
  private volatile String end = "not connected";
  private volatile boolean over;

  private Peer(int port, Path exchange, long begun) {
    this.port = port;
    this.exchange = exchange;
    this.begun = begun;
  }

  /** A port that is free on loopback. */
  static int freePort() {
    try (ServerSocket any = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return any.getLocalPort();
    } catch (IOException e) {
      throw new java.io.UncheckedIOException("no free port on loopback", e);
    }
  }

  /**
   * Starts one, which connects as soon as somebody answers.
   *
   * @param begun a stream of fewer bytes than this has not begun
   */
  static Peer start(int port, Path exchange, long begun) {
    Peer peer = new Peer(port, exchange, begun);
    Thread thread = new Thread(peer::read, "peer");
    thread.setDaemon(true);
    thread.start();
    return peer;
  }

  private void read() {
    long deadline = System.nanoTime() + PATIENCE_NANOS;
    // QEMU accepts before the guest can.
    while (right == 0 && System.nanoTime() < deadline) {
      try (Socket socket = new Socket()) {
        // Little may wait on the way, or what comes after the kexec was sent before it.
        socket.setReceiveBufferSize(64 << 10);
        socket.connect(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 5_000);
        stream(socket);
      } catch (IOException e) {
        end = String.valueOf(e.getMessage());
        InstalledHoldfast.pause(200);
      }
    }
    over = true;
  }

  private void stream(Socket socket) throws IOException {
    socket
        .getOutputStream()
        .write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(SEED).array());
    InputStream in = socket.getInputStream();
    byte[] buffer = new byte[BUFFER];
    long last = System.nanoTime();
    long told = last;
    long read = 0;
    end = "open";
    for (int n = in.read(buffer); n > 0; n = in.read(buffer)) {
      long now = System.nanoTime();
      if (read > begun && now - last > gap) {
        gap = now - last;
        beforeGap = read;
      }
      last = now;
      for (int i = 0; i < n; i++) {
        long at = read + i;
        if (buffer[i] != (byte) (Guest.word(SEED, at / 8) >>> (at % 8 * 8))) {
          end = "byte " + at + " is wrong";
          return;
        }
      }
      read += n;
      right = read;
      heard = now;
      if (now - told > TELL_NANOS) {
        told = now;
        tell();
      }
      InstalledHoldfast.pause(PAUSE_MILLIS);
    }
    end = "the guest ended it";
  }

  private void tell() throws IOException {
    Path aside = exchange.resolve(PROGRESS + ".new");
    Files.writeString(aside, Long.toString(right));
    Files.move(
        aside,
        exchange.resolve(PROGRESS),
        StandardCopyOption.ATOMIC_MOVE,
        StandardCopyOption.REPLACE_EXISTING);
  }

  /** Checks, when the machine has ended, that the stream went on. */
  void check(Outside out) {
    out.note(
        "the peer read %d KiB in all, %d KiB after a gap of %d ms; its connection's end: %s"
            .formatted(right >> 10, (right - beforeGap) >> 10, gap / 1_000_000, end));
    out.check("every byte of the stream was right: " + end, !end.contains("wrong"));
    out.check("the stream had begun before the kexec", beforeGap > begun);
    out.check("the guest stood still meanwhile, seen by its peer", gap > 1_000_000_000L);
    out.check(
        "the same connection goes on after it, with the next byte", right - beforeGap > begun);
  }

  /** How far it is and when it last heard of the guest, for people. */
  String progress() {
    return right == 0
        ? "nothing yet"
        : String.format(
            Locale.ROOT,
            "%,d KiB, last heard %.1f s ago",
            right >> 10,
            (System.nanoTime() - heard) / 1e9);
  }

  /** The longest time without a byte, once the stream had begun, in nanoseconds. */
  long longestSilence() {
    return gap;
  }

  /** The bytes that were right before the longest silence. */
  long beforeSilence() {
    return beforeGap;
  }

  /** The bytes that were right after it. */
  long afterSilence() {
    return right - beforeGap;
  }

  /** Whether it hears nothing more. */
  boolean over() {
    return over;
  }

  /** How the connection ended, or that it is open. */
  String end() {
    return end;
  }
}
