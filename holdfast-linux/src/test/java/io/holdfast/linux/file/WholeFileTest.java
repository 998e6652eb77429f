package io.holdfast.linux.file;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class WholeFileTest {
  @TempDir Path directory;

  @Test
  void leavesNothingWhenItCannotReplaceTheFile() throws IOException {
    Path file = directory.resolve("file");
    WholeFile.write(file, "one");
    WholeFile.write(file, "two");
    assertThat(file).hasContent("two");
    // Written, but it cannot take the place of what is there.
    Path other = directory.resolve("other");
    Path _ = Files.createDirectories(other.resolve("sub"));
    assertThatThrownBy(() -> WholeFile.write(other, "three"))
        .isInstanceOf(IOException.class)
        .hasMessageContaining(other.toString());
    try (var left = Files.list(directory)) {
      assertThat(left).containsExactlyInAnyOrder(file, other);
    }
  }

  /** As /dev/full would be, which takes no byte. */
  @Test
  void leavesTheOldContentWhenThereIsNoRoom() throws IOException {
    Path file = directory.resolve("file");
    WholeFile.write(file, "one");
    Path full = Files.createSymbolicLink(directory.resolve("file.new"), Path.of("/dev/full"));
    assertThatThrownBy(() -> WholeFile.write(file, "two"))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("No space left on device");
    assertThat(file).hasContent("one");
    assertThat(Files.exists(full, java.nio.file.LinkOption.NOFOLLOW_LINKS)).isFalse();
  }
}
