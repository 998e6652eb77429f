package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.store.Keeper;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;

/**
 * What the keeper holds for one channel.
 *
 * @param label what all of its labels begin with: {@code VM/CHANNEL@}
 */
record ChannelDescriptors(Linux linux, Keeper keeper, String label) {
  /** Keeps a descriptor, which is borrowed. */
  void keep(String what, Fd fd) {
    keeper.keep(label + what, fd);
  }

  void drop(Set<String> what) {
    Set<String> labels = new HashSet<>();
    what.forEach(each -> labels.add(label + each));
    keeper.drop(labels);
  }

  /**
   * Everything that is kept for this channel, in the order of the labels; the caller's to close.
   */
  Map<String, Fd> all() {
    Map<String, Fd> found = new TreeMap<>();
    keeper.kept(label).forEach((l, fd) -> found.put(l.substring(label.length()), fd));
    return found;
  }

  void dropAll() {
    Map<String, Fd> all = all();
    all.values().forEach(Fd::close);
    drop(all.keySet());
  }

  /** One of {@link #all}, the caller's. */
  Optional<Fd> find(String what) {
    Map<String, Fd> all = all();
    Optional<Fd> found = Optional.ofNullable(all.remove(what));
    all.values().forEach(Fd::close);
    return found;
  }
}
