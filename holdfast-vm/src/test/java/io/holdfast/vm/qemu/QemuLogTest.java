package io.holdfast.vm.qemu;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

@Promise("budgets")
class QemuLogTest {
  @TempDir Path directory;

  private Path log(String text) throws IOException {
    return Files.writeString(directory.resolve("qemu.log"), text, StandardCharsets.ISO_8859_1);
  }

  @Test
  void tellsTheReasonWithoutTheWarningsBeforeIt() throws IOException {
    assertThat(
            QemuLog.gist(
                log(
                    """
                    qemu: -mon chardev=control: warning: '-mon' is deprecated
                    qemu: Invalid tx_queue_size (= 1024)
                    """)))
        .contains("qemu: Invalid tx_queue_size (= 1024)");
  }

  @Test
  void tellsWarningsWhereThereIsNothingElse() throws IOException {
    assertThat(QemuLog.gist(log("qemu: warning: one\n\nqemu: warning: two\n")))
        .contains("qemu: warning: one; qemu: warning: two");
  }

  @Test
  void isShort() throws IOException {
    assertThat(QemuLog.gist(log("a\nb\nc\nd\ne\nf\n"))).contains("b; c; d; e; f");
  }

  @Test
  void readsTheEndOfAHugeLog() throws IOException {
    Path log = directory.resolve("huge.log");
    try (var file = new RandomAccessFile(log.toFile(), "rw")) {
      file.setLength(3L << 30); // more than an array holds; sparse
      file.seek(3L << 30);
      file.write("\nqemu: no space left\n".getBytes(StandardCharsets.US_ASCII));
    }
    assertThat(QemuLog.gist(log)).contains("qemu: no space left");
  }

  @Test
  void isEmptyForALogThatIsEmptyOrGone() throws IOException {
    assertThat(QemuLog.gist(log(" \n"))).isEmpty();
    assertThat(QemuLog.gist(directory.resolve("none"))).isEmpty();
  }

  @Test
  void tellsWhatIsNoText() throws IOException {
    assertThat(QemuLog.gist(log("no such file: \u00ff\n"))).contains("no such file: \ufffd");
  }
}
