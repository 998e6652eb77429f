package io.holdfast.vm.qemu;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SeekableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** What a QEMU has printed. */
public final class QemuLog {
  private static final int LINES = 5;

  /** Of a log that may have grown for months, the end. */
  private static final int END = 64 << 10;

  private QemuLog() {}

  /**
   * Its last lines, in one; warnings only where there is nothing else, as newer versions print some
   * before the reason for which they end.
   *
   * @param log its standard output and error, of any size
   * @return empty if it has printed nothing, or the log is gone
   * @throws IOException if the log can't be read
   */
  public static Optional<String> gist(Path log) throws IOException {
    if (!Files.exists(log)) {
      return Optional.empty();
    }
    List<String> lines = end(log).lines().filter(line -> !line.isBlank()).toList();
    List<String> reasons = lines.stream().filter(line -> !line.contains(": warning: ")).toList();
    List<String> told = reasons.isEmpty() ? lines : reasons;
    String gist = String.join("; ", told.subList(Math.max(0, told.size() - LINES), told.size()));
    return Optional.of(gist).filter(text -> !text.isEmpty());
  }

  private static String end(Path log) throws IOException {
    try (SeekableByteChannel file = Files.newByteChannel(log)) {
      long from = Math.max(0, file.size() - END);
      ByteBuffer buffer = ByteBuffer.allocate(END);
      file.position(from);
      while (buffer.hasRemaining() && file.read(buffer) >= 0) {
        // Until it is full, or the log at its end.
      }
      // No exception for bytes that are no text: what a guest or a file is called may be in it.
      String end = new String(buffer.array(), 0, buffer.position(), StandardCharsets.UTF_8);
      // The first line of a part of it begins somewhere.
      return from == 0 ? end : end.substring(end.indexOf('\n') + 1);
    }
  }
}
