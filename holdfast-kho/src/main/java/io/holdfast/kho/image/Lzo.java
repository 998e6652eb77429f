package io.holdfast.kho.image;

import java.io.IOException;
import java.util.zip.Adler32;
import java.util.zip.CRC32;
import java.util.zip.Checksum;

/**
 * LZO1X in the container of the program {@code lzop}, as kernels are compressed with it. The stream
 * is that of the kernel's Documentation/staging/lzo.rst.
 */
final class Lzo {
  /** How a file of lzop begins. */
  static final byte[] MAGIC = {(byte) 0x89, 'L', 'Z', 'O', 0, 13, 10, 26, 10};

  private static final int ADLER32_DATA = 1;
  private static final int ADLER32_COMPRESSED = 2;
  private static final int EXTRA_FIELD = 0x40;
  private static final int CRC32_DATA = 0x100;
  private static final int CRC32_COMPRESSED = 0x200;
  private static final int FILTER = 0x800;
  private static final int MAX_BLOCK = 64 << 20;

  private Lzo() {}

  /**
   * @throws IOException the data is damaged
   * @throws IndexOutOfBoundsException the data is damaged
   */
  static void decompress(Source in, Output out) throws IOException {
    for (byte expected : MAGIC) {
      if ((byte) in.u8() != expected) {
        throw new IOException("it does not begin with lzop's magic number");
      }
    }
    int version = (int) in.big(2);
    in.skip(2); // of the library
    boolean modern = version >= 0x0940;
    in.skip(modern ? 2 : 0); // version that is needed
    int method = in.u8();
    if (method < 1 || method > 3) {
      throw new IOException("method " + method + " of lzop, which is not LZO1X");
    }
    in.skip(modern ? 1 : 0); // level
    int flags = (int) in.big(4);
    if ((flags & FILTER) != 0) {
      throw new IOException("lzop's filters, which kernels don't use");
    }
    in.skip(modern ? 12 : 8); // mode and time
    in.skip(in.u8()); // name
    in.skip(4); // checksum of the header
    if ((flags & EXTRA_FIELD) != 0) {
      long extra = in.big(4);
      if (extra > in.remaining()) {
        throw new IOException("an extra field that goes beyond the end");
      }
      in.skip((int) extra);
      in.skip(4);
    }
    byte[] from = new byte[0];
    byte[] to = new byte[0];
    while (true) {
      int size = (int) in.big(4);
      if (size == 0) {
        return;
      }
      int compressed = (int) in.big(4);
      if (size < 0 || size > MAX_BLOCK || compressed <= 0 || compressed > size) {
        throw new IOException("a block of impossible sizes");
      }
      int adler = (flags & ADLER32_DATA) != 0 ? (int) in.big(4) : 0;
      int crc = (flags & CRC32_DATA) != 0 ? (int) in.big(4) : 0;
      if (compressed < size) {
        in.skip((flags & ADLER32_COMPRESSED) != 0 ? 4 : 0);
        in.skip((flags & CRC32_COMPRESSED) != 0 ? 4 : 0);
      }
      if (from.length < compressed) {
        from = new byte[compressed];
      }
      in.take(from, 0, compressed);
      byte[] data = from;
      if (compressed < size) {
        if (to.length < size) {
          to = new byte[size];
        }
        data = to;
        if (block(from, compressed, to, size) != size) {
          throw new IOException("a block that ends too early");
        }
      }
      if ((flags & ADLER32_DATA) != 0) {
        check(new Adler32(), data, size, adler);
      }
      if ((flags & CRC32_DATA) != 0) {
        check(new CRC32(), data, size, crc);
      }
      out.write(data, 0, size);
    }
  }

  private static void check(Checksum checksum, byte[] data, int size, int expected)
      throws IOException {
    checksum.update(data, 0, size);
    if ((int) checksum.getValue() != expected) {
      throw new IOException("a block's checksum is wrong");
    }
  }

  /** Decompresses one block, and returns the size of what came out. */
  private static int block(byte[] from, int end, byte[] to, int limit) throws IOException {
    Lzo.Block block = new Block(from, end, to, limit);
    block.run();
    return block.done;
  }

  private static final class Block {
    private final byte[] from;
    private final int end;
    private final byte[] to;
    private final int limit;
    private int at;
    private int done;

    Block(byte[] from, int end, byte[] to, int limit) {
      this.from = from;
      this.end = end;
      this.to = to;
      this.limit = limit;
    }

    void run() throws IOException {
      // How many literals the last instruction ended with; 4 stands for a run of them.
      int state = 0;
      int first = from[0] & 0xff;
      if (first > 17) {
        at = 1;
        literals(first - 17);
        state = Math.min(first - 17, 4);
      }
      while (true) {
        int code = next();
        int length;
        int distance;
        if (code >= 64) {
          distance = (next() << 3) + (code >> 2 & 7) + 1;
          length = code >= 128 ? 5 + (code >> 5 & 3) : 3 + (code >> 5 & 1);
          state = code & 3;
        } else if (code >= 32) {
          length = 2 + extended(code & 31, 31);
          int word = next() | next() << 8;
          distance = (word >> 2) + 1;
          state = word & 3;
        } else if (code >= 16) {
          length = 2 + extended(code & 7, 7);
          int word = next() | next() << 8;
          distance = ((code & 8) << 11) + (word >> 2);
          if (distance == 0) {
            return;
          }
          distance += 16384;
          state = word & 3;
        } else if (state == 0) {
          literals(3 + extended(code, 15));
          state = 4;
          continue;
        } else {
          length = state == 4 ? 3 : 2;
          distance = (next() << 2) + (code >> 2) + (state == 4 ? 2049 : 1);
          state = code & 3;
        }
        match(distance, length);
        literals(state);
      }
    }

    private int next() throws IOException {
      if (at == end) {
        throw new IOException("a block without an end");
      }
      return from[at++] & 0xff;
    }

    /**
     * A length that does not fit its bits goes on in bytes: 255 for each zero, and the one after.
     */
    private int extended(int bits, int most) throws IOException {
      if (bits != 0) {
        return bits;
      }
      int length = most;
      int more = next();
      while (more == 0) {
        length += 255;
        more = next();
      }
      return length + more;
    }

    private void literals(int count) throws IOException {
      if (count > end - at || count > limit - done) {
        throw new IOException("literals go beyond their block");
      }
      System.arraycopy(from, at, to, done, count);
      at += count;
      done += count;
    }

    private void match(int distance, int count) throws IOException {
      if (distance > done || count > limit - done) {
        throw new IOException("it refers to what is outside of its block");
      }
      for (int stop = done + count; done < stop; done++) {
        to[done] = to[done - distance];
      }
    }
  }
}
