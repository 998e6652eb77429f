package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.store.Keeper;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** A keeper within the test, which outlives the agents that the test lets die. */
final class MemoryKeeper implements Keeper {
  private final Map<String, Fd> kept = new TreeMap<>();

  @Override
  public synchronized void keep(String label, Fd fd) {
    // The real kernel's, whatever kernel the agent is on.
    int copy = fd.duplicate().release();
    Fd before = kept.put(label, Fd.own(Linux.system().kernel(), copy, label));
    if (before != null) {
      before.close();
    }
  }

  @Override
  public synchronized void drop(Set<String> labels) {
    for (String label : labels) {
      Fd fd = kept.remove(label);
      if (fd != null) {
        fd.close();
      }
    }
  }

  @Override
  public synchronized Set<String> labels(String prefix) {
    return kept.keySet().stream()
        .filter(label -> label.startsWith(prefix))
        .collect(Collectors.toSet());
  }

  @Override
  public synchronized Map<String, Fd> kept(String prefix) {
    Map<String, Fd> copies = new TreeMap<>();
    kept.forEach(
        (label, fd) -> {
          if (label.startsWith(prefix)) {
            copies.put(label, fd.duplicate());
          }
        });
    return copies;
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
