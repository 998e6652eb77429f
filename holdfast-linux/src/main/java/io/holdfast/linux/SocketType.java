package io.holdfast.linux;

/** How a Unix socket cuts what is sent. */
public enum SocketType {
  /** A stream of bytes: what is received may be cut elsewhere than it was sent. */
  STREAM(1),
  /** Packets without a connection: each is received whole, and nobody learns who is gone. */
  DATAGRAM(2),
  /** Packets: each is received whole, as it was sent. */
  SEQPACKET(5);

  final int number;

  SocketType(int number) {
    this.number = number;
  }
}
