package io.holdfast.agent;

import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.JournalException;
import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.JournalText;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * The journal of one update, in a file of the run directory. It outlives the agent, and need not
 * outlive the kernel: nothing is synced.
 */
final class JournalFile implements Journal, AutoCloseable {
  private final Linux linux;
  private final Path path;
  private final Fd file;
  private boolean broken;

  private JournalFile(Linux linux, Path path, Fd file) {
    this.linux = linux;
    this.path = path;
    this.file = file;
  }

  /**
   * Opens a journal, and makes it if it is missing. A last record that was cut off is removed: it
   * never took effect.
   */
  static JournalFile open(Linux linux, Path path) throws IOException {
    Fd file = linux.open(path, OpenFlag.CREATE, OpenFlag.WRITE, OpenFlag.APPEND);
    try {
      linux.resize(file, JournalText.decode(Files.readAllBytes(path)).soundBytes());
      return new JournalFile(linux, path, file);
    } catch (IOException | RuntimeException e) {
      try (file) {
        if (linux.size(file) == 0) {
          // Nobody is left who would remove one that says nothing.
          Files.deleteIfExists(path);
        }
      }
      throw e;
    }
  }

  @Override
  public synchronized void append(JournalRecord record) {
    if (broken) {
      throw new JournalException(
          "journal " + path + " could not be written before, and is not any more");
    }
    try {
      long before = linux.size(file);
      try {
        linux.write(file, MemorySegment.ofArray(JournalText.encode(record)));
      } catch (SystemCallException e) {
        broken = true;
        linux.resize(file, before);
        broken = false;
        throw e;
      }
    } catch (SystemCallException e) {
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
    file.close();
  }

  /** Closes and removes it: its update has ended. */
  void remove() throws IOException {
    close();
    Files.deleteIfExists(path);
  }
}
