package io.holdfast.kho.image;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Bytes that come out of a decompressor, outside the heap and no more of them than a limit: what is
 * compressed may say anything about its size, and a few bytes can stand for terabytes.
 *
 * <p>Closing it frees them.
 */
final class Output implements AutoCloseable {
  private static final long FIRST = 1 << 20;

  private final long limit;
  private Arena arena = Arena.ofConfined();
  private MemorySegment bytes;
  private long size;

  /**
   * @param limit how many bytes there may be
   * @param hint how many there will probably be
   */
  Output(long limit, long hint) {
    this.limit = limit;
    this.bytes = arena.allocate(Math.clamp(hint, Math.min(FIRST, limit), limit), 16);
  }

  long size() {
    return size;
  }

  /** All bytes so far; invalid once more are written. */
  MemorySegment bytes() {
    return bytes.asSlice(0, size).asReadOnly();
  }

  void write(byte[] from, int offset, int count) throws IOException {
    room(count);
    MemorySegment.copy(from, offset, bytes, ValueLayout.JAVA_BYTE, size, count);
    size += count;
  }

  void fill(byte value, int count) throws IOException {
    room(count);
    bytes.asSlice(size, count).fill(value);
    size += count;
  }

  /**
   * Repeats what was written {@code distance} bytes ago, as far as it goes with what is written by
   * this.
   */
  void repeat(long distance, int count) throws IOException {
    if (distance <= 0 || distance > size) {
      throw new IOException("it refers to what was before its beginning");
    }
    room(count);
    int left = count;
    while (left > 0) {
      // The bytes behind the source that are already there double with each round.
      int piece = (int) Math.min(left, distance + (count - left));
      MemorySegment.copy(bytes, size - distance - (count - left), bytes, size, piece);
      size += piece;
      left -= piece;
    }
  }

  @SuppressWarnings("MustBeClosedChecker")
  private void room(long count) throws IOException {
    if (count > limit - size) {
      throw new IOException(
          "more than %d MiB come out of it, which no kernel has".formatted(limit >> 20));
    }
    if (size + count <= bytes.byteSize()) {
      return;
    }
    Arena larger = Arena.ofConfined(); // closed by close(), or when even more room is needed
    long wanted = Math.min(limit, Math.max(size + count, bytes.byteSize() * 2));
    MemorySegment copy = larger.allocate(wanted, 16);
    MemorySegment.copy(bytes, 0, copy, 0, size);
    arena.close();
    arena = larger;
    bytes = copy;
  }

  @Override
  public void close() {
    arena.close();
  }
}
