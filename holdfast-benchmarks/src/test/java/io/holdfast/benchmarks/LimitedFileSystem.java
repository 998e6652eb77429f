package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;

/** A tmpfs of its own, which can be filled up with bytes or with files. Needs root. */
final class LimitedFileSystem implements AutoCloseable {
  private static final String OPTIONS = "size=24m,nr_inodes=400,mode=700";
  private static final int PAGE = 4096;

  private final Path path;
  private int made;

  private LimitedFileSystem(Path path) {
    this.path = path;
  }

  /**
   * Mounts one.
   *
   * @param path a new directory
   */
  static LimitedFileSystem mount(Path path) throws IOException, InterruptedException {
    Files.createDirectory(path);
    List<String> command =
        List.of("mount", "-t", "tmpfs", "-o", OPTIONS, "holdfast-test", path.toString());
    assertThat(new ProcessBuilder(command).inheritIO().start().waitFor()).as("mount").isZero();
    return new LimitedFileSystem(path);
  }

  Path path() {
    return path;
  }

  /** Takes every page that is free. */
  void fill() {
    try (FileChannel filler =
        FileChannel.open(
            filler(0),
            StandardOpenOption.CREATE,
            StandardOpenOption.WRITE,
            StandardOpenOption.APPEND)) {
      for (int piece = 1 << 20; piece >= PAGE; piece /= 16) {
        fill(filler, ByteBuffer.allocate(piece));
      }
    } catch (IOException e) {
      // Not even an inode.
      assertFull(e);
    }
  }

  private static void fill(FileChannel filler, ByteBuffer piece) {
    try {
      while (true) {
        int _ = filler.write(piece.clear());
      }
    } catch (IOException e) {
      assertFull(e);
    }
  }

  /** Takes every inode that is free, so that no file can be made. */
  void fillWithFiles() {
    try {
      while (true) {
        Path _ = Files.createFile(filler(++made));
      }
    } catch (IOException e) {
      assertFull(e);
    }
  }

  private static void assertFull(IOException e) {
    assertThat(e).hasMessageContaining("No space left on device");
  }

  private Path filler(int number) {
    return path.resolve("filler-" + number);
  }

  /** Gives back what was taken. */
  void free() {
    try (DirectoryStream<Path> fillers = Files.newDirectoryStream(path, "filler-*")) {
      for (Path each : fillers) {
        Files.delete(each);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Unmounts it, once nobody has it open, and removes the directory. */
  @Override
  public void close() throws IOException {
    Host.await("the unmounting of " + path, this::unmounted);
    Files.delete(path);
  }

  private boolean unmounted() {
    try {
      Linux.system().mounts().unmount(path);
      return true;
    } catch (SystemCallException e) {
      assertThat(e).hasMessageContaining("EBUSY");
      return false;
    }
  }
}
