package io.holdfast.core.box;

import io.holdfast.linux.Fd;
import java.util.Arrays;

/** One thing in a box: a file descriptor or a small blob. */
public sealed interface Entry extends AutoCloseable {
  /** Closes what the entry owns, if anything; does nothing the second time. */
  @Override
  void close();

  /**
   * A file descriptor. Whoever owns the entry owns {@code fd}.
   *
   * @param fd the descriptor
   * @param kind what it is, such as {@code memfd}; it keeps to {@link Names#RULE}
   */
  record Descriptor(Fd fd, String kind) implements Entry {
    /** Checks {@code kind}. */
    public Descriptor {
      Names.check("kind", kind);
    }

    @Override
    public void close() {
      fd.close();
    }
  }

  /** A few bytes, at most {@link #LIMIT}. */
  final class Blob implements Entry {
    /** The most bytes that a blob may have: a page. */
    public static final int LIMIT = 4096;

    private final byte[] bytes;

    /**
     * Copies {@code bytes}.
     *
     * @throws IllegalArgumentException if there are more than {@link #LIMIT}
     */
    public Blob(byte[] bytes) {
      if (bytes.length > LIMIT) {
        throw new IllegalArgumentException(
            "a blob of "
                + bytes.length
                + " bytes is too large for a box, which takes "
                + LIMIT
                + " at most: put it into a memfd, and the memfd into the box");
      }
      this.bytes = bytes.clone();
    }

    /** A copy of the bytes. */
    public byte[] bytes() {
      return bytes.clone();
    }

    @Override
    public void close() {}

    @Override
    public boolean equals(Object other) {
      return other instanceof Blob blob && Arrays.equals(bytes, blob.bytes);
    }

    @Override
    public int hashCode() {
      return Arrays.hashCode(bytes);
    }

    @Override
    public String toString() {
      return "blob of " + bytes.length + " bytes";
    }
  }
}
