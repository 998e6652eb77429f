package io.holdfast.host.qemu;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** What a QEMU has printed. */
final class QemuLog {
  private static final int LINES = 5;

  private QemuLog() {}

  /**
   * Its first lines, in one; warnings only where there is nothing else, as newer versions print
   * some before the reason for which they end.
   *
   * @param log its standard output and error
   * @return empty if it has printed nothing, or the log is gone
   * @throws IOException if the log can't be read
   */
  static Optional<String> gist(Path log) throws IOException {
    if (!Files.exists(log)) {
      return Optional.empty();
    }
    // No exception for bytes that are no text: what a guest or a file is called may be in it.
    List<String> lines =
        new String(Files.readAllBytes(log), StandardCharsets.UTF_8)
            .lines()
            .filter(line -> !line.isBlank())
            .toList();
    List<String> reasons = lines.stream().filter(line -> !line.contains(": warning: ")).toList();
    String gist =
        String.join("; ", (reasons.isEmpty() ? lines : reasons).stream().limit(LINES).toList());
    return Optional.of(gist).filter(text -> !text.isEmpty());
  }
}
