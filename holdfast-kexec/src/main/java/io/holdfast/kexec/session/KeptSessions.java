package io.holdfast.kexec.session;

import io.holdfast.linux.Fd;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.StoreKey;
import java.io.IOException;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Sessions of the previous kernel in the descriptor store: those that this kernel's agents put
 * there, {@link StoreKey.ArrivedSession}, and those that systemd brought along, {@link
 * StoreKey.LeavingSession}.
 *
 * <p>The latter stay under that key. To be stored under another one, a session would have to be out
 * of systemd's store for a moment: it stores an open file once, and a session can't be opened anew.
 *
 * @param boot the id of this boot: what is leaving from it has not arrived
 */
public record KeptSessions(DescriptorStore store, String boot) {
  /**
   * Returns those that this boot has.
   *
   * @throws IOException if the boot's id can't be read
   */
  public static KeptSessions of(DescriptorStore store) throws IOException {
    return new KeptSessions(store, StoredSessions.boot());
  }

  /** Returns all of them by name, each the caller's. */
  public Map<String, Fd> all() {
    Map<String, Fd> all = new HashMap<>();
    for (String name : names()) {
      find(name).ifPresent(fd -> all.put(name, fd));
    }
    return all;
  }

  /** Returns the names of all of them. */
  Set<String> names() {
    Set<String> names = new HashSet<>();
    store.keys().forEach(key -> name(key).ifPresent(names::add));
    return names;
  }

  /** Returns the name of a session that has arrived; empty if the key is of something else. */
  // No switch over types: the first run of one makes a class, and guests may be waiting.
  @SuppressWarnings("IfChainToSwitch")
  Optional<String> name(StoreKey key) {
    if (key instanceof StoreKey.ArrivedSession arrived) {
      return Optional.of(arrived.name());
    }
    return key instanceof StoreKey.LeavingSession left && !left.boot().equals(boot)
        ? Optional.of(left.name())
        : Optional.empty();
  }

  private Set<StoreKey> keys(String name) {
    Set<StoreKey> keys = new HashSet<>(store.keys());
    keys.removeIf(key -> !name(key).equals(Optional.of(name)));
    return keys;
  }

  /** Returns one of them, the caller's; empty if it is not there. */
  public Optional<Fd> find(String name) {
    for (StoreKey key : keys(name)) {
      return store.find(key);
    }
    return Optional.empty();
  }

  /**
   * Puts one there that the kernel has made.
   *
   * @param session borrowed
   * @throws RuntimeException if the descriptor store can't take it; nothing has changed then
   */
  public void put(String name, Fd session) {
    store.put(new StoreKey.ArrivedSession(name), session);
  }

  /** Removes one under each of its keys; one that is not there is no error. */
  public void drop(String name) {
    store.drop(keys(name));
  }
}
