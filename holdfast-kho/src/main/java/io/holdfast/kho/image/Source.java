package io.holdfast.kho.image;

import java.io.EOFException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Compressed bytes, read forward. They lie outside the heap, which in Holdfast's processes is
 * smaller than a kernel.
 */
final class Source extends InputStream {
  private final MemorySegment bytes;
  private long position;

  Source(MemorySegment bytes) {
    this.bytes = bytes;
  }

  long remaining() {
    return bytes.byteSize() - position;
  }

  @Override
  public int read() {
    return position == bytes.byteSize() ? -1 : bytes.get(ValueLayout.JAVA_BYTE, position++) & 0xff;
  }

  @Override
  public int read(byte[] into, int offset, int length) {
    if (length == 0) {
      return 0;
    }
    int count = (int) Math.min(length, remaining());
    if (count == 0) {
      return -1;
    }
    MemorySegment.copy(bytes, ValueLayout.JAVA_BYTE, position, into, offset, count);
    position += count;
    return count;
  }

  @Override
  public int available() {
    return (int) Math.min(Integer.MAX_VALUE, remaining());
  }

  /** The next byte, unsigned. */
  int u8() throws EOFException {
    need(1);
    return read();
  }

  /** The next {@code size} bytes, at most 8, as a little-endian number. */
  long little(int size) throws EOFException {
    need(size);
    long value = 0;
    for (int i = 0; i < size; i++) {
      value |= (long) read() << (8 * i);
    }
    return value;
  }

  /** The next {@code size} bytes, at most 7, as a big-endian number. */
  long big(int size) throws EOFException {
    need(size);
    long value = 0;
    for (int i = 0; i < size; i++) {
      value = value << 8 | read();
    }
    return value;
  }

  /** Moves the next bytes into an array. */
  void take(byte[] into, int offset, int count) throws EOFException {
    need(count);
    read(into, offset, count);
  }

  void skip(int count) throws EOFException {
    need(count);
    position += count;
  }

  private void need(long count) throws EOFException {
    if (remaining() < count) {
      throw new EOFException("the compressed data ends too early");
    }
  }
}
