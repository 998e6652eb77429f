package io.holdfast.kho.image;

import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;
import java.util.zip.GZIPInputStream;
import org.tukaani.xz.LZMAInputStream;
import org.tukaani.xz.MemoryLimitException;
import org.tukaani.xz.SingleXZInputStream;

/**
 * How a kernel is compressed: those of the kernel's {@code CONFIG_KERNEL_*}, which are told by how
 * they begin.
 */
public enum Compression {
  GZIP("\u001f\u008b\b"),
  BZIP2("BZh"),
  LZMA("]\0\0"),
  XZ("\u00fd7zXZ\0"),
  LZO("\u0089LZO\0"),
  LZ4("\u0002!L\u0018"),
  ZSTD("(\u00b5/\u00fd");

  /** How it begins: a byte in each character. */
  private final String magic;

  Compression(String magic) {
    this.magic = magic;
  }

  /** What these bytes are compressed with; empty when they are not, or with something unknown. */
  static Optional<Compression> of(MemorySegment bytes) {
    for (Compression compression : values()) {
      if (compression.begins(bytes)) {
        return Optional.of(compression);
      }
    }
    return Optional.empty();
  }

  private boolean begins(MemorySegment bytes) {
    if (bytes.byteSize() < 16) {
      return false;
    }
    for (int i = 0; i < magic.length(); i++) {
      if ((bytes.get(ValueLayout.JAVA_BYTE, i) & 0xff) != magic.charAt(i)) {
        return false;
      }
    }
    return true;
  }

  /**
   * Decompresses; what stands behind the compressed data is left alone.
   *
   * @param trailer how many bytes behind it are certainly none of it
   * @throws IOException the data is damaged, or more comes out of it than {@code out} takes
   */
  void decompress(MemorySegment from, int trailer, Output out) throws IOException {
    decompress(from, trailer, out, freeHeap());
  }

  /**
   * @param heap what a dictionary may take of the Java heap, in KiB
   */
  void decompress(MemorySegment from, int trailer, Output out, int heap) throws IOException {
    Source in = new Source(from);
    try {
      switch (this) {
        case GZIP -> copy(new GZIPInputStream(in, 64 << 10), out);
        case BZIP2 -> Bzip2.decompress(in, out);
        case LZMA -> copy(new LZMAInputStream(in, heap), out);
        case XZ -> copy(new SingleXZInputStream(in, heap), out);
        case LZO -> Lzo.decompress(in, out);
        case LZ4 -> Lz4.decompress(in, out, trailer);
        case ZSTD -> Zstd.decompress(in, out);
      }
    } catch (IndexOutOfBoundsException e) {
      // Our own decoders leave the bounds of their tables to the JVM, which checks them anyway.
      throw new IOException("a length or distance in it points outside of it", e);
    } catch (MemoryLimitException e) {
      throw new IOException(
          "unpacking it takes %d MiB of Java heap and there are %d to spare; java's option -Xmx gives more"
              .formatted(e.getMemoryNeeded() >> 10, heap >> 10),
          e);
    }
  }

  private static void copy(InputStream from, Output out) throws IOException {
    byte[] piece = new byte[64 << 10];
    try (from) {
      for (int count = from.read(piece); count >= 0; count = from.read(piece)) {
        out.write(piece, 0, count);
      }
    }
  }

  /** What a dictionary may take, in KiB: it is one array, and what is used besides stays small. */
  private static int freeHeap() {
    Runtime runtime = Runtime.getRuntime();
    long free = runtime.maxMemory() - (runtime.totalMemory() - runtime.freeMemory());
    return (int) Math.min(Integer.MAX_VALUE, free / 1024 * 3 / 4);
  }
}
