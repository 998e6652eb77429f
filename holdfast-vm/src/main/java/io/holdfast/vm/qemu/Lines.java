package io.holdfast.vm.qemu;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.function.Consumer;

/** Cuts a byte stream into lines; a line may come in any number of pieces. */
public final class Lines {
  private static final int BUFFER = 64 * 1024;
  private static final int LONGEST = 64 << 20;

  private final int longest;
  private byte[] rest = new byte[BUFFER];
  private int length;

  /** Nothing has come yet; a line may have 64 MiB. */
  public Lines() {
    this(LONGEST);
  }

  /**
   * Nothing has come yet.
   *
   * @param longest how many bytes a line may have
   */
  public Lines(int longest) {
    this.longest = longest;
  }

  /**
   * Takes what has come, and passes on each line that is complete now, without its newline.
   *
   * @throws IllegalStateException if a line is longer than it may be
   */
  public void add(byte[] bytes, int count, Consumer<String> line) {
    int from = 0;
    for (int i = 0; i < count; i++) {
      if (bytes[i] == '\n') {
        append(bytes, from, i - from);
        String complete = new String(rest, 0, length, StandardCharsets.UTF_8);
        length = 0;
        from = i + 1;
        line.accept(complete);
      }
    }
    append(bytes, from, count - from);
  }

  private void append(byte[] bytes, int from, int count) {
    if (length + count > longest) {
      throw new IllegalStateException("a message of more than " + longest + " bytes");
    }
    if (length + count > rest.length) {
      rest = Arrays.copyOf(rest, Math.max(rest.length * 2, length + count));
    }
    System.arraycopy(bytes, from, rest, length, count);
    length += count;
  }
}
