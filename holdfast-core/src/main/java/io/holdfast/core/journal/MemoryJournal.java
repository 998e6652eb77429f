package io.holdfast.core.journal;

import java.util.ArrayList;
import java.util.List;

/**
 * A journal that lives as long as this object: for updates that need no recovery, and for tests.
 */
public final class MemoryJournal implements Journal {
  private final List<JournalRecord> records = new ArrayList<>();

  /** An empty journal. */
  public MemoryJournal() {}

  @Override
  public synchronized void append(JournalRecord record) {
    records.add(record);
  }

  @Override
  public synchronized List<JournalRecord> read() {
    return List.copyOf(records);
  }
}
