package io.holdfast.cli;

import io.holdfast.linux.Fd;
import io.holdfast.linux.FileIdentity;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;

/** What one generation of a file of the debug view consists of. */
sealed interface Content extends AutoCloseable {
  /** Its size in bytes, which never changes. */
  long size();

  /**
   * Reads from {@code offset} on, and returns how much; 0 at the end.
   *
   * @throws IOException if a memfd can't be read
   */
  int read(ByteBuffer into, long offset) throws IOException;

  /** Whether who reads the other one reads the same. */
  boolean same(Content other);

  @Override
  void close();

  /** Bytes that were made for it. */
  final class Bytes implements Content {
    private final byte[] bytes;

    /** Of bytes that nobody changes any more. */
    Bytes(byte[] bytes) {
      this.bytes = bytes;
    }

    Bytes(String text) {
      this(text.getBytes(StandardCharsets.UTF_8));
    }

    @Override
    public long size() {
      return bytes.length;
    }

    @Override
    public int read(ByteBuffer into, long offset) {
      if (offset >= bytes.length) {
        return 0;
      }
      int length = (int) Math.min(into.remaining(), bytes.length - offset);
      into.put(bytes, (int) offset, length);
      return length;
    }

    @Override
    public boolean same(Content other) {
      return other instanceof Bytes each && Arrays.equals(bytes, each.bytes);
    }

    @Override
    public void close() {}
  }

  /**
   * A memfd, and the size that it had. It is not copied: who writes into it in place is seen doing
   * so. Where it has become shorter since, there is nothing to read.
   */
  final class Memfd implements Content {
    private final FileChannel channel;
    private final FileIdentity identity;
    private final long size;

    /**
     * Opens it anew, as the position of a descriptor is everybody's who has it.
     *
     * @param fd borrowed
     */
    Memfd(Linux linux, Fd fd) throws IOException {
      this.identity = linux.identity(fd);
      this.channel =
          FileChannel.open(Path.of("/proc/self/fd/" + fd.number()), StandardOpenOption.READ);
      this.size = channel.size();
    }

    @Override
    public long size() {
      return size;
    }

    @Override
    public int read(ByteBuffer into, long offset) throws IOException {
      if (offset >= size) {
        return 0;
      }
      into.limit(into.position() + (int) Math.min(into.remaining(), size - offset));
      int total = 0;
      while (into.hasRemaining()) {
        int bytes = channel.read(into, offset + total);
        if (bytes <= 0) {
          break;
        }
        total += bytes;
      }
      return total;
    }

    @Override
    public boolean same(Content other) {
      return other instanceof Memfd each && identity.equals(each.identity) && size == each.size;
    }

    @Override
    public void close() {
      try {
        channel.close();
      } catch (IOException e) {
        System.getLogger(Memfd.class.getName()).log(System.Logger.Level.WARNING, "closing", e);
      }
    }
  }
}
