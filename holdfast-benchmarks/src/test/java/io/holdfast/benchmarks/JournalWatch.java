package io.holdfast.benchmarks;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Tells exactly when a guest stood still in an update: from the update's journal, which an agent
 * removes at the end, so that it is held by another name from when it is there.
 */
final class JournalWatch implements AutoCloseable {
  /** By System.nanoTime: from when it was to stop to when it was told to run. */
  record Standstill(long from, long to) {}

  private final Path updates;
  private final Path held;
  private final Thread thread;
  private volatile boolean enough;

  /**
   * Watches for the next journal, until it is closed.
   *
   * @param updates the run directory's folder of them, without any now
   */
  JournalWatch(Path updates) {
    this.updates = updates;
    this.held = updates.resolveSibling("journal-of-test");
    this.thread = Thread.ofPlatform().daemon().name("journal watch").start(this::find);
  }

  private void find() {
    while (!enough) {
      try (DirectoryStream<Path> journals = Files.newDirectoryStream(updates, "*.journal")) {
        for (Path journal : journals) {
          // That of an agent that has just started is no update's.
          if (!journal.endsWith("rehearsal.journal")) {
            Files.createLink(held, journal);
            return;
          }
        }
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
      RunningGuest.pause(2);
    }
  }

  /**
   * When the guest stood still, in an update that has ended.
   *
   * @param ends the states of an update in which it ran again
   */
  List<Standstill> standstills(List<String> ends) {
    List<Standstill> all = new ArrayList<>();
    Optional<Long> from = Optional.empty();
    try {
      for (String line : Files.readAllLines(held)) {
        String[] words = line.split(" ", -1);
        if (!words[0].equals("entered")) {
          continue;
        }
        long at = Long.parseLong(words[3]);
        if (words[2].equals("FREEZING")) {
          from = Optional.of(at);
        } else if (from.isPresent() && ends.contains(words[2])) {
          all.add(new Standstill(from.get(), at));
          from = Optional.empty();
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return all;
  }

  @Override
  public void close() {
    enough = true;
    try {
      thread.join();
      Files.deleteIfExists(held);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new AssertionError("interrupted", e);
    }
  }
}
