package io.holdfast.kho.image;

import java.io.IOException;

/**
 * LZ4's legacy frame, in which kernels are compressed ({@code lz4 -l}): blocks of up to 8 MiB, each
 * by itself and preceded by its compressed size, until something else follows.
 */
final class Lz4 {
  static final int MAGIC = 0x184c2102;

  private static final int BLOCK = 8 << 20;
  // What incompressible data grows to (LZ4_compressBound).
  private static final int MAX_COMPRESSED = BLOCK + BLOCK / 255 + 16;

  private Lz4() {}

  /**
   * @param trailer the bytes behind the last block that are none
   * @throws IOException the data is damaged
   * @throws IndexOutOfBoundsException the data is damaged
   */
  static void decompress(Source in, Output out, int trailer) throws IOException {
    if ((int) in.little(4) != MAGIC) {
      throw new IOException("it does not begin with lz4's magic number");
    }
    byte[] from = new byte[0];
    byte[] to = new byte[0];
    while (in.remaining() > trailer) {
      int size = (int) in.little(4);
      if (size == MAGIC) {
        continue; // Frames may follow one another.
      }
      if (size <= 0 || size > MAX_COMPRESSED) {
        throw new IOException("a block of " + (size & 0xffffffffL) + " bytes");
      }
      if (from.length < size) {
        from = new byte[size];
      }
      if (to.length == 0) {
        to = new byte[BLOCK];
      }
      in.take(from, 0, size);
      out.write(to, 0, block(from, size, to));
    }
  }

  private static int block(byte[] from, int end, byte[] to) throws IOException {
    int at = 0;
    int done = 0;
    while (true) {
      int token = from[at++] & 0xff;
      int literals = token >> 4;
      if (literals == 15) {
        int more;
        do {
          more = from[at++] & 0xff;
          literals += more;
        } while (more == 255);
      }
      if (literals > end - at) {
        throw new IOException("literals go beyond their block");
      }
      System.arraycopy(from, at, to, done, literals);
      at += literals;
      done += literals;
      if (at == end) {
        return done;
      }
      int distance = (from[at] & 0xff) + ((from[at + 1] & 0xff) << 8);
      at += 2;
      int match = (token & 15) + 4;
      if (match == 19) {
        int more;
        do {
          more = from[at++] & 0xff;
          match += more;
        } while (more == 255);
      }
      if (distance == 0 || distance > done) {
        throw new IOException("it refers to what was before its block");
      }
      if (match > to.length - done) {
        throw new IOException("a block of more than 8 MiB");
      }
      for (int stop = done + match; done < stop; done++) {
        to[done] = to[done - distance];
      }
    }
  }
}
