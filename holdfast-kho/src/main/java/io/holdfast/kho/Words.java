package io.holdfast.kho;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Optional;

/** Little-endian words, which is what an x86-64 kernel writes; state trees' properties, too. */
final class Words {
  private static final ValueLayout.OfShort U16 =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong U64 =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private Words() {}

  static int u16(MemorySegment bytes, long at) {
    return Short.toUnsignedInt(bytes.get(U16, at));
  }

  static int u32(MemorySegment bytes, long at) {
    return bytes.get(U32, at);
  }

  static long u64(MemorySegment bytes, long at) {
    return bytes.get(U64, at);
  }

  /**
   * A string of printable ASCII that ends with a NUL within so many bytes; empty if there is none.
   */
  static Optional<String> text(MemorySegment bytes, long at, int size) {
    byte[] copy = bytes.asSlice(at, size).toArray(ValueLayout.JAVA_BYTE);
    for (int i = 0; i < copy.length; i++) {
      if (copy[i] == 0) {
        return Optional.of(new String(copy, 0, i, StandardCharsets.US_ASCII));
      }
      if (copy[i] < ' ' || copy[i] > '~') {
        return Optional.empty();
      }
    }
    return Optional.empty();
  }
}
