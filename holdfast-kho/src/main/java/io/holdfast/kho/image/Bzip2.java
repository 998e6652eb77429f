package io.holdfast.kho.image;

import java.io.EOFException;
import java.io.IOException;

/**
 * bzip2: blocks of up to 900 kB, sorted by Burrows and Wheeler's transform, in codes of Huffman's.
 */
final class Bzip2 {
  private static final long BLOCK_MAGIC = 0x314159265359L;
  private static final long END_MAGIC = 0x177245385090L;
  private static final int GROUP = 50;
  private static final int MAX_CODE = 20;
  private static final int[] CRC = crcTable();

  private final Bits in;
  private final Output out;
  private final int[] block;
  private final byte[] pending = new byte[64 << 10];
  private int pendingCount;
  private int crc;

  private Bzip2(Bits in, Output out, int blockSize) {
    this.in = in;
    this.out = out;
    this.block = new int[blockSize];
  }

  /**
   * Decompresses one stream, and checks its checksums.
   *
   * @throws IOException the data is damaged
   * @throws IndexOutOfBoundsException the data is damaged
   */
  static void decompress(Source source, Output out) throws IOException {
    Bits in = new Bits(source);
    int magic = in.read(24);
    int level = in.read(8) - '0';
    if (magic != 0x425a68 || level < 1 || level > 9) {
      throw new IOException("it does not begin with bzip2's magic number");
    }
    new Bzip2(in, out, level * 100_000).stream();
  }

  private void stream() throws IOException {
    int combined = 0;
    while (true) {
      long magic = (long) in.read(24) << 24 | in.read(24);
      int expected = in.read(16) << 16 | in.read(16);
      if (magic == END_MAGIC) {
        if (expected != combined) {
          throw new IOException("its checksum is wrong");
        }
        return;
      }
      if (magic != BLOCK_MAGIC) {
        throw new IOException("a block does not begin where it should");
      }
      block();
      if (expected != crc) {
        throw new IOException("a block's checksum is wrong");
      }
      combined = Integer.rotateLeft(combined, 1) ^ crc;
    }
  }

  private void block() throws IOException {
    if (in.read(1) != 0) {
      throw new IOException("a randomized block, which bzip2 has not made since 1997");
    }
    int origin = in.read(24);
    byte[] symbols = new byte[256];
    int used = 0;
    int ranges = in.read(16);
    for (int range = 0; range < 16; range++) {
      int map = (ranges & 0x8000 >> range) == 0 ? 0 : in.read(16);
      for (int i = 0; i < 16; i++) {
        if ((map & 0x8000 >> i) != 0) {
          symbols[used++] = (byte) (range * 16 + i);
        }
      }
    }
    int groups = in.read(3);
    int selectorCount = in.read(15);
    if (used == 0 || groups < 2 || groups > 6 || selectorCount == 0) {
      throw new IOException("a block's header makes no sense");
    }
    byte[] selectors = selectors(groups, selectorCount);
    Code[] codes = new Code[groups];
    for (int group = 0; group < groups; group++) {
      codes[group] = Code.read(in, used + 2);
    }
    int[] counts = new int[256];
    int size = 0;
    int run = 0;
    int runBit = 1;
    int end = used + 1;
    for (int position = 0; ; position++) {
      int symbol = codes[selectors[position / GROUP]].next(in);
      if (symbol < 2) {
        // Runs of the symbol at the front, in digits of 1 and 2.
        if (runBit > block.length) {
          throw new IOException("a run beyond its block");
        }
        run += runBit << symbol;
        runBit <<= 1;
        continue;
      }
      if (run > 0) {
        if (run > block.length - size) {
          throw new IOException("a run beyond its block");
        }
        int value = symbols[0] & 0xff;
        counts[value] += run;
        while (run > 0) {
          block[size++] = value;
          run--;
        }
        runBit = 1;
      }
      if (symbol == end) {
        break;
      }
      byte moved = symbols[symbol - 1];
      System.arraycopy(symbols, 0, symbols, 1, symbol - 1);
      symbols[0] = moved;
      block[size++] = moved & 0xff;
      counts[moved & 0xff]++;
    }
    if (origin >= size) {
      throw new IOException("a block begins behind its end");
    }
    unsort(size, origin, counts);
  }

  private byte[] selectors(int groups, int count) throws IOException {
    byte[] selectors = new byte[count];
    byte[] recent = {0, 1, 2, 3, 4, 5};
    for (int i = 0; i < count; i++) {
      int position = 0;
      while (in.read(1) == 1) {
        if (++position >= groups) {
          throw new IOException("a table that does not exist");
        }
      }
      byte selected = recent[position];
      System.arraycopy(recent, 0, recent, 1, position);
      recent[0] = selected;
      selectors[i] = selected;
    }
    return selectors;
  }

  /** Undoes the transform, then the runs that were made before it, and writes. */
  private void unsort(int size, int origin, int[] counts) throws IOException {
    int sum = 0;
    for (int value = 0; value < 256; value++) {
      int count = counts[value];
      counts[value] = sum;
      sum += count;
    }
    for (int i = 0; i < size; i++) {
      block[counts[block[i] & 0xff]++] |= i << 8;
    }
    crc = -1;
    int at = block[origin] >>> 8;
    int equal = 0;
    int before = -1;
    for (int i = 0; i < size; i++) {
      int entry = block[at];
      int value = entry & 0xff;
      at = entry >>> 8;
      if (equal == 4) {
        put(before, value);
        equal = 0;
        before = -1;
        continue;
      }
      equal = value == before ? equal + 1 : 1;
      before = value;
      put(value, 1);
    }
    out.write(pending, 0, pendingCount);
    pendingCount = 0;
    crc = ~crc;
  }

  private void put(int value, int times) throws IOException {
    for (int i = 0; i < times; i++) {
      if (pendingCount == pending.length) {
        out.write(pending, 0, pendingCount);
        pendingCount = 0;
      }
      pending[pendingCount++] = (byte) value;
      crc = crc << 8 ^ CRC[crc >>> 24 ^ value];
    }
  }

  /** CRC-32 with the highest bit first, which is not that of java.util.zip. */
  private static int[] crcTable() {
    int[] table = new int[256];
    for (int i = 0; i < 256; i++) {
      int value = i << 24;
      for (int bit = 0; bit < 8; bit++) {
        value = value << 1 ^ (value < 0 ? 0x04c11db7 : 0);
      }
      table[i] = value;
    }
    return table;
  }

  /** A canonical code of Huffman's. */
  private static final class Code {
    private final int[] limit = new int[MAX_CODE + 2];
    private final int[] base = new int[MAX_CODE + 2];
    private final int[] symbols;

    private Code(int size) {
      this.symbols = new int[size];
    }

    static Code read(Bits in, int size) throws IOException {
      int[] lengths = new int[size];
      int length = in.read(5);
      for (int symbol = 0; symbol < size; symbol++) {
        while (true) {
          if (length < 1 || length > MAX_CODE) {
            throw new IOException("a code of " + length + " bits");
          }
          if (in.read(1) == 0) {
            break;
          }
          length += in.read(1) == 0 ? 1 : -1;
        }
        lengths[symbol] = length;
      }
      Code code = new Code(size);
      int next = 0;
      int index = 0;
      for (int bits = 1; bits <= MAX_CODE; bits++) {
        code.base[bits] = index - next;
        for (int symbol = 0; symbol < size; symbol++) {
          if (lengths[symbol] == bits) {
            code.symbols[index++] = symbol;
            next++;
          }
        }
        code.limit[bits] = next;
        next <<= 1;
      }
      return code;
    }

    int next(Bits in) throws IOException {
      int value = 0;
      for (int bits = 1; bits <= MAX_CODE; bits++) {
        value = value << 1 | in.read(1);
        if (value < limit[bits]) {
          return symbols[base[bits] + value];
        }
      }
      throw new IOException("a code that does not exist");
    }
  }

  /** Bits from the highest of the first byte on. */
  private static final class Bits {
    private final Source source;
    private final byte[] buffer = new byte[64 << 10];
    private int at;
    private int count;
    private long value;
    private int have;

    Bits(Source source) {
      this.source = source;
    }

    /** At most 24 bits. */
    int read(int bits) throws EOFException {
      while (have < bits) {
        if (at == count) {
          count = source.read(buffer, 0, buffer.length);
          at = 0;
          if (count <= 0) {
            count = 0;
            throw new EOFException("the compressed data ends too early");
          }
        }
        value = (value << 8) | (buffer[at++] & 0xff);
        have += 8;
      }
      have -= bits;
      return (int) (value >>> have) & (1 << bits) - 1;
    }
  }
}
