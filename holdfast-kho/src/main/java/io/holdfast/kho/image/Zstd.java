package io.holdfast.kho.image;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * Zstandard, as RFC 8878 describes it, without dictionaries. Kernels are compressed as one frame
 * whose window is all of it.
 *
 * <p>Why our own: the libraries are native code, or they reach memory through {@code
 * sun.misc.Unsafe}, where a damaged image can take the process down and which the JDK is about to
 * remove.
 */
final class Zstd {
  static final int MAGIC = 0xfd2fb528;

  private static final int BLOCK = 128 << 10;

  // Extra bits of each code of literal and match lengths (RFC 8878, 3.1.1.3.2.1.1).
  private static final int[] LITERALS_BITS = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11,
    12, 13, 14, 15, 16
  };
  private static final int[] MATCH_BITS = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
  };
  private static final int[] LITERALS_BASE = bases(LITERALS_BITS, 0);
  private static final int[] MATCH_BASE = bases(MATCH_BITS, 3);
  private static final int MAX_OFFSET_CODE = 31;

  // The distributions for blocks that bring none of their own (RFC 8878, 3.1.1.3.2.2).
  private static final short[] LITERALS_DEFAULT = {
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1,
    -1, -1, -1, -1
  };
  private static final short[] MATCH_DEFAULT = {
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1
  };
  private static final short[] OFFSET_DEFAULT = {
    1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1
  };

  private final Source in;
  private final Output out;
  private final byte[] block = new byte[BLOCK];
  private final byte[] literals = new byte[BLOCK];
  private int literalCount;
  private Table literalLengths = Table.NONE;
  private Table offsets = Table.NONE;
  private Table matchLengths = Table.NONE;
  private Huffman huffman = Huffman.NONE;
  private long offset1;
  private long offset2;
  private long offset3;

  private Zstd(Source in, Output out) {
    this.in = in;
    this.out = out;
  }

  /** Every code stands for the lengths that follow on those of the code before it. */
  private static int[] bases(int[] bits, int first) {
    int[] bases = new int[bits.length];
    int next = first;
    for (int code = 0; code < bits.length; code++) {
      bases[code] = next;
      next += 1 << bits[code];
    }
    return bases;
  }

  /**
   * Decompresses one frame, and checks its checksum if it has one.
   *
   * @throws IOException the data is damaged
   * @throws IndexOutOfBoundsException the data is damaged
   */
  static void decompress(Source in, Output out) throws IOException {
    new Zstd(in, out).frame();
  }

  private void frame() throws IOException {
    if ((int) in.little(4) != MAGIC) {
      throw new IOException("it does not begin with zstd's magic number");
    }
    int descriptor = in.u8();
    boolean single = (descriptor & 0x20) != 0;
    if ((descriptor & 0x08) != 0) {
      throw new IOException("a reserved bit is set in its header");
    }
    if (!single) {
      in.u8(); // The size of the window: all of the output is kept.
    }
    int dictionary = descriptor & 3;
    if (in.little(dictionary == 3 ? 4 : dictionary) != 0) {
      throw new IOException("it needs a dictionary");
    }
    int sizeFlag = descriptor >> 6;
    int sizeBytes = sizeFlag == 0 ? (single ? 1 : 0) : 1 << sizeFlag;
    long size = in.little(sizeBytes) + (sizeBytes == 2 ? 256 : 0);
    offset1 = 1;
    offset2 = 4;
    offset3 = 8;
    long start = out.size();
    boolean last;
    do {
      int header = (int) in.little(3);
      last = (header & 1) != 0;
      int count = header >> 3;
      if (count > BLOCK) {
        throw new IOException("a block of " + count + " bytes, more than 128 KiB");
      }
      switch (header >> 1 & 3) {
        case 0 -> {
          in.take(block, 0, count);
          out.write(block, 0, count);
        }
        case 1 -> out.fill((byte) in.u8(), count);
        case 2 -> {
          in.take(block, 0, count);
          compressed(count);
        }
        default -> throw new IOException("a block of a reserved type");
      }
    } while (!last);
    if (sizeBytes != 0 && out.size() - start != size) {
      throw new IOException(
          "%d bytes came out of it in place of %d".formatted(out.size() - start, size));
    }
    if ((descriptor & 0x04) != 0
        && (int) in.little(4) != (int) XxHash64.of(out.bytes().asSlice(start))) {
      throw new IOException("its checksum is wrong");
    }
  }

  private int at(int index) {
    return block[index] & 0xff;
  }

  private void compressed(int end) throws IOException {
    int at = literals(end);
    int sequences = at(at++);
    if (sequences == 255) {
      sequences = at(at) + (at(at + 1) << 8) + 0x7f00;
      at += 2;
    } else if (sequences > 127) {
      sequences = ((sequences - 128) << 8) + at(at++);
    }
    if (sequences == 0) {
      if (at != end) {
        throw new IOException("a block without sequences goes on after its literals");
      }
      out.write(literals, 0, literalCount);
      return;
    }
    int modes = at(at++);
    if ((modes & 3) != 0) {
      throw new IOException("a reserved bit is set in a block's header");
    }
    Bits header = new Bits(block, at, end);
    literalLengths =
        table(header, modes >> 6, literalLengths, LITERALS_DEFAULT, 6, LITERALS_BITS.length, 9);
    offsets = table(header, modes >> 4 & 3, offsets, OFFSET_DEFAULT, 5, MAX_OFFSET_CODE + 1, 8);
    matchLengths =
        table(header, modes >> 2 & 3, matchLengths, MATCH_DEFAULT, 6, MATCH_BITS.length, 9);
    execute(sequences, new BackwardBits(block, header.aligned(), end));
  }

  private static Table table(
      Bits header, int mode, Table before, short[] standard, int bits, int symbols, int maxBits)
      throws IOException {
    return switch (mode) {
      case 0 -> Table.of(standard, standard.length, bits);
      case 1 -> {
        int symbol = header.read(8);
        if (symbol >= symbols) {
          throw new IOException("a code that does not exist");
        }
        yield Table.always((byte) symbol);
      }
      case 2 -> Table.read(header, symbols, maxBits);
      default -> {
        if (before.symbol.length == 0) {
          throw new IOException("the first block repeats the tables of one before it");
        }
        yield before;
      }
    };
  }

  private void execute(int sequences, BackwardBits bits) throws IOException {
    Table lengths = literalLengths;
    Table matches = matchLengths;
    int lengthState = bits.read(lengths.bits);
    int offsetState = bits.read(offsets.bits);
    int matchState = bits.read(matches.bits);
    int literal = 0;
    long before = out.size();
    for (int left = sequences; left > 0; left--) {
      int offsetCode = offsets.symbol[offsetState];
      int matchCode = matches.symbol[matchState];
      int lengthCode = lengths.symbol[lengthState];
      long offsetValue = (1L << offsetCode) + (bits.read(offsetCode) & 0xffffffffL);
      int match = MATCH_BASE[matchCode] + bits.read(MATCH_BITS[matchCode]);
      int length = LITERALS_BASE[lengthCode] + bits.read(LITERALS_BITS[lengthCode]);
      if (left > 1) {
        lengthState = lengths.next[lengthState] + bits.read(lengths.more[lengthState]);
        matchState = matches.next[matchState] + bits.read(matches.more[matchState]);
        offsetState = offsets.next[offsetState] + bits.read(offsets.more[offsetState]);
      }
      if (length > literalCount - literal) {
        throw new IOException("a sequence takes more literals than there are");
      }
      out.write(literals, literal, length);
      literal += length;
      out.repeat(distance(offsetValue, length == 0), match);
    }
    if (!bits.atEnd()) {
      throw new IOException("a block's sequences do not end with it");
    }
    out.write(literals, literal, literalCount - literal);
    if (out.size() - before > BLOCK) {
      throw new IOException("a block of more than 128 KiB");
    }
  }

  /** The distance that an offset's value stands for; 1 to 3 repeat one of the last three. */
  private long distance(long value, boolean noLiterals) {
    long distance;
    if (value > 3) {
      distance = value - 3;
    } else {
      int which = (int) value - (noLiterals ? 0 : 1);
      if (which == 0) {
        return offset1;
      }
      if (which == 1) {
        distance = offset2;
        offset2 = offset1;
        offset1 = distance;
        return distance;
      }
      distance = which == 2 ? offset3 : offset1 - 1;
    }
    offset3 = offset2;
    offset2 = offset1;
    offset1 = distance;
    return distance;
  }

  /** Reads a block's literals, and returns where they end. */
  private int literals(int end) throws IOException {
    int type = at(0) & 3;
    int format = at(0) >> 2 & 3;
    if (type < 2) {
      int header =
          switch (format) {
            case 1 -> 2;
            case 3 -> 3;
            default -> 1;
          };
      int count =
          switch (header) {
            case 1 -> at(0) >> 3;
            case 2 -> (at(0) >> 4) + (at(1) << 4);
            default -> (at(0) >> 4) + (at(1) << 4) + (at(2) << 12);
          };
      literalCount = checked(count);
      if (type == 0) {
        if (count > end - header) {
          throw new IOException("literals go beyond their block");
        }
        System.arraycopy(block, header, literals, 0, count);
        return header + count;
      }
      Arrays.fill(literals, 0, count, block[header]);
      return header + 1;
    }
    int header = format < 2 ? 3 : format + 2;
    int sizeBits = format < 2 ? 10 : format == 2 ? 14 : 18;
    long sizes = 0;
    for (int i = 0; i < header; i++) {
      sizes |= (long) at(i) << (8 * i);
    }
    int mask = (1 << sizeBits) - 1;
    literalCount = checked((int) (sizes >> 4) & mask);
    int literalsEnd = header + ((int) (sizes >> (4 + sizeBits)) & mask);
    if (literalsEnd > end) {
      throw new IOException("literals go beyond their block");
    }
    int at = header;
    if (type == 2) {
      Bits bits = new Bits(block, at, literalsEnd);
      huffman = Huffman.read(bits);
      at = bits.aligned();
    } else if (huffman.symbol.length == 0) {
      throw new IOException("the first block repeats the tables of one before it");
    }
    if (format == 0) {
      huffman.decode(new BackwardBits(block, at, literalsEnd), literals, 0, literalCount);
      return literalsEnd;
    }
    int each = (literalCount + 3) / 4;
    int from = at + 6;
    for (int stream = 0; stream < 4; stream++) {
      int to =
          stream < 3 ? from + at(at + 2 * stream) + (at(at + 2 * stream + 1) << 8) : literalsEnd;
      if (to > literalsEnd) {
        throw new IOException("literals go beyond their block");
      }
      int begin = stream * each;
      int stop = stream < 3 ? begin + each : literalCount;
      huffman.decode(new BackwardBits(block, from, to), literals, begin, stop);
      from = to;
    }
    return literalsEnd;
  }

  private static int checked(int count) throws IOException {
    if (count > BLOCK) {
      throw new IOException("more literals than a block can have");
    }
    return count;
  }

  /** Bits from the lowest of the first byte on. */
  private static final class Bits {
    private final byte[] bytes;
    private final int end;
    private long position;

    Bits(byte[] bytes, int start, int end) {
      this.bytes = bytes;
      this.end = end;
      this.position = (long) start << 3;
    }

    /** At most 24 bits; zeros behind the end, where {@link #aligned} refuses to be. */
    int peek(int count) {
      int at = (int) (position >> 3);
      int value = 0;
      for (int i = 0; i < 4 && at + i < end; i++) {
        value |= (bytes[at + i] & 0xff) << (8 * i);
      }
      return value >>> (int) (position & 7) & (1 << count) - 1;
    }

    void skip(int count) {
      position += count;
    }

    int read(int count) {
      int value = peek(count);
      position += count;
      return value;
    }

    /** The first whole byte that was not read from. */
    int aligned() throws IOException {
      int at = (int) ((position + 7) >> 3);
      if (at > end) {
        throw new IOException("a table goes beyond its block");
      }
      return at;
    }
  }

  /** Bits from the highest of the last byte on, which a set bit precedes. */
  private static final class BackwardBits {
    private final byte[] bytes;
    private final int start;
    private int left;

    BackwardBits(byte[] bytes, int start, int end) throws IOException {
      if (start >= end || bytes[end - 1] == 0) {
        throw new IOException("a stream of bits without an end");
      }
      this.bytes = bytes;
      this.start = start;
      int last = bytes[end - 1] & 0xff;
      this.left = (end - start) * 8 - Integer.numberOfLeadingZeros(last) + 23;
    }

    /** At most 32 bits; zeros before the beginning. */
    int peek(int count) {
      int from = left - count;
      if (from < 0) {
        return left <= 0 ? 0 : (int) (bitsAt(0, left) << -from);
      }
      return (int) bitsAt(from, count);
    }

    private long bitsAt(int from, int count) {
      int at = start + (from >> 3);
      int shift = from & 7;
      long value = bytes[at] & 0xff;
      for (int have = 8; have < shift + count; have += 8) {
        value |= (bytes[++at] & 0xffL) << have;
      }
      return value >>> shift & (1L << count) - 1;
    }

    void skip(int count) {
      left -= count;
    }

    int read(int count) {
      int value = peek(count);
      left -= count;
      return value;
    }

    /** How many bits are left, negative if more were read than there were. */
    int left() {
      return left;
    }

    boolean atEnd() {
      return left == 0;
    }
  }

  /**
   * A decoding table of Finite State Entropy (RFC 8878, 4.1): what each state stands for, and the
   * state after it, to which {@code more} bits are added.
   */
  private static final class Table {
    static final Table NONE = new Table(0, new byte[0], new byte[0], new int[0]);

    final int bits;
    final byte[] symbol;
    final byte[] more;
    final int[] next;

    private Table(int bits, byte[] symbol, byte[] more, int[] next) {
      this.bits = bits;
      this.symbol = symbol;
      this.more = more;
      this.next = next;
    }

    static Table always(byte symbol) {
      return new Table(0, new byte[] {symbol}, new byte[1], new int[1]);
    }

    static Table read(Bits in, int symbols, int maxBits) throws IOException {
      int bits = in.read(4) + 5;
      if (bits > maxBits) {
        throw new IOException("a table of " + bits + " bits");
      }
      short[] counts = new short[symbols];
      int left = 1 << bits;
      int symbol = 0;
      while (left > 0) {
        if (symbol >= symbols) {
          throw new IOException("a table of too many symbols");
        }
        // A value of 0 to left + 1, in as few bits as can tell it; small ones take one bit less.
        int width = 32 - Integer.numberOfLeadingZeros(left + 1);
        int spare = (1 << width) - 1 - (left + 1);
        int value = in.peek(width - 1);
        if (value < spare) {
          in.skip(width - 1);
        } else {
          value = in.read(width);
          if (value >= 1 << (width - 1)) {
            value -= spare;
          }
        }
        int count = value - 1;
        counts[symbol++] = (short) count;
        left -= Math.abs(count);
        if (count == 0) {
          int zeros;
          do {
            zeros = in.read(2);
            symbol += zeros;
          } while (zeros == 3);
        }
      }
      if (left < 0 || symbol > symbols) {
        throw new IOException("a table whose counts do not add up");
      }
      in.position = 8L * in.aligned();
      return of(counts, symbol, bits);
    }

    static Table of(short[] counts, int symbols, int bits) throws IOException {
      int size = 1 << bits;
      Table table = new Table(bits, new byte[size], new byte[size], new int[size]);
      int[] seen = new int[symbols];
      int high = size - 1;
      for (int symbol = 0; symbol < symbols; symbol++) {
        seen[symbol] = Math.abs(counts[symbol]);
        if (counts[symbol] == -1) {
          table.symbol[high--] = (byte) symbol;
        }
      }
      int step = (size >> 1) + (size >> 3) + 3;
      int at = 0;
      for (int symbol = 0; symbol < symbols; symbol++) {
        for (int i = 0; i < counts[symbol]; i++) {
          table.symbol[at] = (byte) symbol;
          do {
            at = at + step & size - 1;
          } while (at > high);
        }
      }
      if (at != 0) {
        throw new IOException("a table whose counts do not add up");
      }
      for (int state = 0; state < size; state++) {
        int count = seen[table.symbol[state]]++;
        int more = bits - (31 - Integer.numberOfLeadingZeros(count));
        table.more[state] = (byte) more;
        table.next[state] = (count << more) - size;
      }
      return table;
    }
  }

  /**
   * A code of Huffman's for literals (RFC 8878, 4.2): what the next {@code bits} bits stand for.
   */
  private static final class Huffman {
    static final Huffman NONE = new Huffman(0, new byte[0], new byte[0]);
    private static final int MAX_BITS = 11;

    final int bits;
    final byte[] symbol;
    final byte[] length;

    private Huffman(int bits, byte[] symbol, byte[] length) {
      this.bits = bits;
      this.symbol = symbol;
      this.length = length;
    }

    static Huffman read(Bits in) throws IOException {
      byte[] weights = new byte[256];
      int header = in.read(8);
      int count;
      if (header >= 128) {
        count = header - 127;
        for (int i = 0; i < count; i += 2) {
          int pair = in.read(8);
          weights[i] = (byte) (pair >> 4);
          weights[i + 1] = i + 1 < count ? (byte) (pair & 15) : 0;
        }
      } else {
        int start = in.aligned();
        int end = start + header;
        if (end > in.end) {
          throw new IOException("a table goes beyond its block");
        }
        Bits description = new Bits(in.bytes, start, end);
        Table table = Table.read(description, 16, 6);
        count = weights(table, new BackwardBits(in.bytes, description.aligned(), end), weights);
        in.skip(header * 8);
      }
      return of(weights, count);
    }

    private static int weights(Table table, BackwardBits bits, byte[] weights) throws IOException {
      int even = bits.read(table.bits);
      int odd = bits.read(table.bits);
      if (bits.left() < 0) {
        throw new IOException("a table without its first states");
      }
      int count = 0;
      while (true) {
        if (count > 253) {
          throw new IOException("a table of too many symbols");
        }
        // Where the bits end before the next state, the other state has the last weight.
        weights[count++] = table.symbol[even];
        even = table.next[even] + bits.read(table.more[even]);
        if (bits.left() < 0) {
          weights[count++] = table.symbol[odd];
          return count;
        }
        int swap = even;
        even = odd;
        odd = swap;
      }
    }

    private static Huffman of(byte[] weights, int count) throws IOException {
      int sum = 0;
      for (int i = 0; i < count; i++) {
        if (weights[i] > MAX_BITS) {
          throw new IOException("a literal's code is too long");
        }
        sum += weights[i] == 0 ? 0 : 1 << (weights[i] - 1);
      }
      if (sum == 0) {
        throw new IOException("a table without symbols");
      }
      int bits = 32 - Integer.numberOfLeadingZeros(sum);
      int rest = (1 << bits) - sum;
      if (bits > MAX_BITS || Integer.bitCount(rest) != 1 || count > 255) {
        throw new IOException("a table whose weights do not add up");
      }
      weights[count] = (byte) (32 - Integer.numberOfLeadingZeros(rest));
      Huffman huffman = new Huffman(bits, new byte[1 << bits], new byte[1 << bits]);
      int at = 0;
      for (int weight = 1; weight <= bits; weight++) {
        for (int symbol = 0; symbol <= count; symbol++) {
          if (weights[symbol] == weight) {
            int cells = 1 << (weight - 1);
            Arrays.fill(huffman.symbol, at, at + cells, (byte) symbol);
            Arrays.fill(huffman.length, at, at + cells, (byte) (bits + 1 - weight));
            at += cells;
          }
        }
      }
      return huffman;
    }

    void decode(BackwardBits in, byte[] into, int begin, int end) throws IOException {
      for (int i = begin; i < end; i++) {
        int code = in.peek(bits);
        into[i] = symbol[code];
        in.skip(length[code]);
      }
      if (!in.atEnd()) {
        throw new IOException("a stream of literals does not end with its bits");
      }
    }
  }

  /** The hash of frames' checksums: XXH64 of seed 0. */
  private static final class XxHash64 {
    private static final long P1 = 0x9e3779b185ebca87L;
    private static final long P2 = 0xc2b2ae3d27d4eb4fL;
    private static final long P3 = 0x165667b19e3779f9L;
    private static final long P4 = 0x85ebca77c2b2ae63L;
    private static final long P5 = 0x27d4eb2f165667c5L;

    private XxHash64() {}

    static long of(MemorySegment bytes) {
      long size = bytes.byteSize();
      long[] lanes = {0x60ea27eeadc0b5d6L, P2, 0, 0x61c8864e7a143579L}; // P1 + P2 and -P1
      byte[] window = new byte[64 << 10];
      long at = 0;
      while (size - at >= 32) {
        int count = (int) Math.min(window.length, size - at) & ~31;
        MemorySegment.copy(bytes, ValueLayout.JAVA_BYTE, at, window, 0, count);
        for (int i = 0; i < count; i += 32) {
          for (int lane = 0; lane < 4; lane++) {
            lanes[lane] = round(lanes[lane], number(window, i + 8 * lane, 8));
          }
        }
        at += count;
      }
      long hash = P5;
      if (size >= 32) {
        hash =
            Long.rotateLeft(lanes[0], 1)
                + Long.rotateLeft(lanes[1], 7)
                + Long.rotateLeft(lanes[2], 12)
                + Long.rotateLeft(lanes[3], 18);
        for (long lane : lanes) {
          hash = (hash ^ round(0, lane)) * P1 + P4;
        }
      }
      hash += size;
      int rest = (int) (size - at);
      MemorySegment.copy(bytes, ValueLayout.JAVA_BYTE, at, window, 0, rest);
      int i = 0;
      for (; rest - i >= 8; i += 8) {
        hash = Long.rotateLeft(hash ^ round(0, number(window, i, 8)), 27) * P1 + P4;
      }
      if (rest - i >= 4) {
        hash = Long.rotateLeft(hash ^ number(window, i, 4) * P1, 23) * P2 + P3;
        i += 4;
      }
      for (; i < rest; i++) {
        hash = Long.rotateLeft(hash ^ (window[i] & 0xff) * P5, 11) * P1;
      }
      hash = (hash ^ hash >>> 33) * P2;
      hash = (hash ^ hash >>> 29) * P3;
      return hash ^ hash >>> 32;
    }

    private static long round(long lane, long value) {
      return Long.rotateLeft(lane + value * P2, 31) * P1;
    }

    private static long number(byte[] bytes, int at, int size) {
      long value = 0;
      for (int i = 0; i < size; i++) {
        value |= (bytes[at + i] & 0xffL) << (8 * i);
      }
      return value;
    }
  }
}
