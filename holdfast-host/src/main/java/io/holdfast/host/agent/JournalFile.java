package io.holdfast.host.agent;

import io.holdfast.core.Journal;
import io.holdfast.core.JournalException;
import io.holdfast.core.JournalRecord;
import io.holdfast.core.JournalText;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;

/**
 * The journal of one update, in a file of the run directory. It outlives the agent, and need not
 * outlive the kernel: nothing is synced.
 */
final class JournalFile implements Journal, AutoCloseable {
  private final Path path;
  private final FileChannel channel;
  private boolean broken;

  private JournalFile(Path path, FileChannel channel) {
    this.path = path;
    this.channel = channel;
  }

  /**
   * Opens a journal, and makes it if it is missing. A last record that was cut off is removed: it
   * never took effect.
   */
  static JournalFile open(Path path) throws IOException {
    FileChannel channel =
        FileChannel.open(
            path, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.READ);
    long sound = JournalText.decode(Files.readAllBytes(path)).soundBytes();
    channel.truncate(sound);
    channel.position(sound);
    return new JournalFile(path, channel);
  }

  @Override
  public synchronized void append(JournalRecord record) {
    if (broken) {
      throw new JournalException(
          "journal " + path + " could not be written before, and is not any more");
    }
    ByteBuffer line = ByteBuffer.wrap(JournalText.encode(record));
    try {
      long before = channel.position();
      try {
        while (line.hasRemaining()) {
          var _ = channel.write(line);
        }
      } catch (IOException e) {
        broken = true;
        channel.truncate(before);
        channel.position(before);
        broken = false;
        throw e;
      }
    } catch (IOException e) {
      throw new JournalException(
          "writing journal " + path + ": " + e.getMessage() + "; is its file system full?", e);
    }
  }

  @Override
  public List<JournalRecord> read() {
    try {
      return JournalText.decode(Files.readAllBytes(path)).records();
    } catch (IOException e) {
      throw new JournalException("reading journal " + path + ": " + e.getMessage(), e);
    }
  }

  @Override
  public void close() {
    try {
      channel.close();
    } catch (IOException e) {
      throw new JournalException("closing journal " + path, e);
    }
  }

  /** Closes and removes it: its update has ended. */
  void remove() throws IOException {
    close();
    Files.deleteIfExists(path);
  }
}
