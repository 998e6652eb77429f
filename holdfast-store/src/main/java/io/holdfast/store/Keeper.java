package io.holdfast.store;

import io.holdfast.linux.Fd;
import java.io.IOException;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Holds duplicates of the agent's descriptors, so that the agent's death loses none. Any thread may
 * call it.
 */
public interface Keeper extends AutoCloseable {
  /**
   * Keeps a descriptor under a label, in place of one that has the label.
   *
   * @param label printable, at most 200 bytes
   * @param fd borrowed: the keeper holds a duplicate, or opens the same file anew
   * @throws RuntimeException if it could not be kept; nothing has changed then
   */
  void keep(String label, Fd fd);

  /** Lets the descriptors of these labels go; labels that it does not have are no error. */
  void drop(Set<String> labels);

  /** Everything that is kept, each a duplicate that the caller owns. */
  default Map<String, Fd> kept() {
    return kept("");
  }

  /** Returns the labels that begin so. */
  Set<String> labels(String prefix);

  /** What is kept under labels that begin so, each a duplicate that the caller owns. */
  Map<String, Fd> kept(String prefix);

  /** Who keeps, for people: {@code process 123}. */
  String describe();

  /** The process that keeps, if it is one that must go on. */
  default Optional<Integer> process() {
    return Optional.empty();
  }

  /** How many labels are kept. */
  int size();

  /** Lets go of the keeper, which goes on keeping. */
  @Override
  void close();

  /**
   * Ends the keeper; for an agent that stops for good and holds nothing.
   *
   * @throws IOException if something of it could not be removed
   */
  void end() throws IOException;
}
