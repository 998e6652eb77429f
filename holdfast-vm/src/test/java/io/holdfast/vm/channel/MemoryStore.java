package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.StoreKey;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;

/** A descriptor store within the test, which outlives the agents that the test lets die. */
final class MemoryStore implements DescriptorStore {
  private final Map<StoreKey, Fd> kept = new LinkedHashMap<>();

  @Override
  public synchronized void put(StoreKey key, Fd fd) {
    // The real kernel's, whatever kernel the agent is on.
    int copy = fd.duplicate().release();
    Fd before = kept.put(key, Fd.own(Linux.system().kernel(), copy, key.text()));
    if (before != null) {
      before.close();
    }
  }

  @Override
  public synchronized void drop(Set<? extends StoreKey> keys) {
    for (StoreKey key : keys) {
      Fd fd = kept.remove(key);
      if (fd != null) {
        fd.close();
      }
    }
  }

  @Override
  public synchronized Set<StoreKey> keys() {
    return Set.copyOf(kept.keySet());
  }

  @Override
  public synchronized Map<StoreKey, Fd> all(Predicate<? super StoreKey> wanted) {
    Map<StoreKey, Fd> copies = new LinkedHashMap<>();
    kept.forEach(
        (key, fd) -> {
          if (wanted.test(key)) {
            copies.put(key, fd.duplicate());
          }
        });
    return copies;
  }

  @Override
  public synchronized Optional<Fd> find(StoreKey key) {
    return Optional.ofNullable(kept.get(key)).map(Fd::duplicate);
  }

  @Override
  public String describe() {
    return "the test";
  }

  @Override
  public synchronized int size() {
    return kept.size();
  }

  @Override
  public synchronized void close() {
    kept.values().forEach(Fd::close);
    kept.clear();
  }

  @Override
  public void end() {
    close();
  }
}
