package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.StoreKey;
import io.holdfast.store.VmId;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;

/**
 * What the descriptor store has for one channel.
 *
 * @param device the id of the channel's device
 */
record ChannelDescriptors(Linux linux, DescriptorStore store, VmId vm, String device) {
  private StoreKey.Backend key(String part) {
    return new StoreKey.Backend(vm, device, part);
  }

  /** Returns the channel's name in logs. */
  String label() {
    return vm + "/" + device;
  }

  /** Returns the label of a part in the VM's box. */
  String label(String part) {
    return key(part).label();
  }

  /** Stores a descriptor, which is borrowed. */
  void keep(String part, Fd fd) {
    store.put(key(part), fd);
  }

  void drop(Set<String> parts) {
    Set<StoreKey> keys = new HashSet<>();
    parts.forEach(each -> keys.add(key(each)));
    store.drop(keys);
  }

  /** Returns everything that is stored for this channel, sorted; the caller's to close. */
  Map<String, Fd> all() {
    Map<String, Fd> found = new TreeMap<>();
    store
        .all(this::has)
        .forEach(
            (key, fd) -> {
              if (key instanceof StoreKey.Backend mine) {
                found.put(mine.part(), fd);
              }
            });
    return found;
  }

  private boolean has(StoreKey key) {
    return key instanceof StoreKey.Backend each
        && each.vm().equals(vm)
        && each.device().equals(device);
  }

  void dropAll() {
    Set<StoreKey> keys = new HashSet<>(store.keys());
    keys.removeIf(key -> !has(key));
    store.drop(keys);
  }

  /** Returns one of {@link #all}, the caller's. */
  Optional<Fd> find(String part) {
    return store.find(key(part));
  }
}
