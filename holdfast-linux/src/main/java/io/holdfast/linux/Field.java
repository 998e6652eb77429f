package io.holdfast.linux;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * Reads and writes fields of the kernel's structures, in this machine's byte order.
 *
 * <p>Not through {@link MemorySegment#get(java.lang.foreign.ValueLayout.OfInt, long)} and its like:
 * the first of those in a JVM spins a dozen classes, and guests wait for an agent's first system
 * calls.
 */
final class Field {
  private Field() {}

  private static ByteBuffer bytes(MemorySegment structure) {
    return structure.asByteBuffer().order(ByteOrder.nativeOrder());
  }

  static byte getByte(MemorySegment structure, long at) {
    return bytes(structure).get((int) at);
  }

  static short getShort(MemorySegment structure, long at) {
    return bytes(structure).getShort((int) at);
  }

  static int getInt(MemorySegment structure, long at) {
    return bytes(structure).getInt((int) at);
  }

  static long getLong(MemorySegment structure, long at) {
    return bytes(structure).getLong((int) at);
  }

  static void setByte(MemorySegment structure, long at, int value) {
    ByteBuffer _ = bytes(structure).put((int) at, (byte) value);
  }

  static void setShort(MemorySegment structure, long at, int value) {
    ByteBuffer _ = bytes(structure).putShort((int) at, (short) value);
  }

  static void setInt(MemorySegment structure, long at, int value) {
    ByteBuffer _ = bytes(structure).putInt((int) at, value);
  }

  static void setLong(MemorySegment structure, long at, long value) {
    ByteBuffer _ = bytes(structure).putLong((int) at, value);
  }

  /** Ints of their own, one after the other. */
  static MemorySegment ints(SegmentAllocator memory, int... values) {
    MemorySegment all = memory.allocate((long) Integer.BYTES * values.length, Integer.BYTES);
    for (int i = 0; i < values.length; i++) {
      setInt(all, (long) i * Integer.BYTES, values[i]);
    }
    return all;
  }

  /** Longs of their own, one after the other. */
  static MemorySegment longs(SegmentAllocator memory, long... values) {
    MemorySegment all = memory.allocate((long) Long.BYTES * values.length, Long.BYTES);
    for (int i = 0; i < values.length; i++) {
      setLong(all, (long) i * Long.BYTES, values[i]);
    }
    return all;
  }

  /**
   * A C string in UTF-8.
   *
   * @throws IllegalArgumentException if it has a NUL, which would end it early
   */
  static MemorySegment string(SegmentAllocator memory, String text) {
    if (text.indexOf('\0') >= 0) {
      throw new IllegalArgumentException("a NUL in " + text.replace('\0', '?'));
    }
    byte[] encoded = text.getBytes(StandardCharsets.UTF_8);
    MemorySegment string = memory.allocate(encoded.length + 1L);
    string.asByteBuffer().put(encoded).put((byte) 0);
    return string;
  }
}
