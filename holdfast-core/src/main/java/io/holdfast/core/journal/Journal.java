package io.holdfast.core.journal;

import java.util.List;

/**
 * What an update has done, kept where it outlives the agent. Everything is written before it takes
 * effect. Safe for use by many threads.
 */
public interface Journal {
  /**
   * Adds a record; it outlives the process once this returns. Called in the blackout: must take
   * microseconds.
   *
   * @throws JournalException if it failed. Nothing of the record is then left in the journal; an
   *     implementation that can't make sure of that refuses every later append
   */
  void append(JournalRecord record);

  /**
   * Everything appended so far, oldest first.
   *
   * @throws JournalException if it can't be read, or is damaged otherwise than by a last record cut
   *     off
   */
  List<JournalRecord> read();
}
