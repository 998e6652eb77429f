package io.holdfast.store;

import io.holdfast.linux.Fd;
import java.io.IOException;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;

/**
 * Stores duplicates of the agent's descriptors, so that the agent's death loses none. Any thread
 * may call it.
 */
public interface DescriptorStore extends AutoCloseable {
  /**
   * Stores a descriptor under a key, in place of one that has the key.
   *
   * @param key of printable text, at most 200 bytes
   * @param fd borrowed: the store has a duplicate, or opens the same file anew
   * @throws RuntimeException if it could not be stored; nothing has changed then
   */
  void put(StoreKey key, Fd fd);

  /** Drops the descriptors of these keys; keys that it does not have are no error. */
  void drop(Set<? extends StoreKey> keys);

  /** Returns the keys that have a descriptor. */
  Set<StoreKey> keys();

  /** Returns a duplicate of each descriptor whose key is wanted; the caller's to close. */
  Map<StoreKey, Fd> all(Predicate<? super StoreKey> wanted);

  /** Returns a duplicate of one descriptor, the caller's to close; empty if there is none. */
  Optional<Fd> find(StoreKey key);

  /** Returns what stores them, for people: {@code process 123}. */
  String describe();

  /** Returns the process that stores them, if it is one that must go on. */
  default Optional<Integer> process() {
    return Optional.empty();
  }

  /** Returns how many descriptors are stored. */
  int size();

  /** Closes this agent's side; the store goes on. */
  @Override
  void close();

  /**
   * Ends the store; for an agent that stops for good and has nothing in it.
   *
   * @throws IOException if something of it could not be removed
   */
  void end() throws IOException;
}
