package io.holdfast.store;

import io.holdfast.linux.Fd;
import io.holdfast.linux.FileIdentity;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/**
 * Keeps descriptors in the descriptor store that systemd has for this service
 * (FileDescriptorStoreMax=; sd_notify(3), sd_listen_fds(3)): the service's next process is started
 * with all of them.
 *
 * <p>There an entry's name is {@code LABEL#N}. What replaces another is stored under the next
 * number before that is removed: an agent that dies in between leaves both, and the higher number
 * counts.
 */
public final class SystemdStore implements DescriptorStore {
  private static final LateLogger LOG = new LateLogger(SystemdStore.class);
  private static final int FIRST_DESCRIPTOR = 3;
  private static final int LONGEST_LABEL = 200;

  private final Linux linux;
  private final ServiceManager manager;
  private final int most;
  private final Map<StoreKey, Kept> mirror = new LinkedHashMap<>();

  /** Names that systemd may have stored, as it did not answer in time. */
  private final Set<String> uncertain = new HashSet<>();

  /** Entries of the store that are not the agent's. */
  private int others;

  private record Kept(Fd fd, FileIdentity identity, int number) {}

  private SystemdStore(Linux linux, ServiceManager manager, int most) {
    this.linux = linux;
    this.manager = manager;
    this.most = most;
  }

  /**
   * Takes over what the store gave to this process.
   *
   * @param environment as systemd made it: FDSTORE, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES
   * @return empty if this service has no store
   * @throws IOException if systemd does not answer
   */
  public static Optional<SystemdStore> open(
      Linux linux, ServiceManager manager, Map<String, String> environment) throws IOException {
    int most = number(environment, "FDSTORE");
    if (most == 0) {
      return Optional.empty();
    }
    SystemdStore store = new SystemdStore(linux, manager, most);
    if (number(environment, "LISTEN_PID") == ProcessHandle.current().pid()) {
      String[] names = environment.getOrDefault("LISTEN_FDNAMES", "").split(":", -1);
      int count = number(environment, "LISTEN_FDS");
      for (int i = 0; i < count; i++) {
        String name = i < names.length ? names[i] : "";
        store.found(Fd.own(linux.kernel(), FIRST_DESCRIPTOR + i, "kept " + name), name);
      }
    }
    return Optional.of(store);
  }

  private static int number(Map<String, String> environment, String name) {
    String value = environment.getOrDefault(name, "");
    return value.matches("[0-9]{1,9}") ? Integer.parseInt(value) : 0;
  }

  private void found(Fd fd, String name) throws IOException {
    int at = name.lastIndexOf('#');
    if (at < 1 || !name.substring(at + 1).matches("[0-9]{1,9}")) {
      // Not ours; it stays in the store.
      fd.close();
      others++;
      return;
    }
    String label = name.substring(0, at);
    Kept kept = new Kept(fd, linux.identity(fd), Integer.parseInt(name.substring(at + 1)));
    StoreKey key = StoreKey.of(label);
    Kept other = mirror.get(key);
    if (other == null) {
      mirror.put(key, kept);
      return;
    }
    boolean newest = kept.number() > other.number();
    Kept newer = newest ? kept : other;
    Kept older = newest ? other : kept;
    mirror.put(key, newer);
    older.fd().close();
    remove(label + "#" + older.number());
  }

  private void remove(String name) throws IOException {
    manager.tell("FDSTOREREMOVE=1\nFDNAME=" + name, List.of());
  }

  @Override
  public synchronized void put(StoreKey key, Fd fd) {
    String label = key.text();
    if (!label.matches("[\\x21-\\x7e&&[^:]]{1," + LONGEST_LABEL + "}")) {
      throw new IllegalArgumentException(
          "a label in the descriptor store has 1 to "
              + LONGEST_LABEL
              + " printable characters but ':': "
              + label);
    }
    try {
      removeUncertain();
    } catch (IOException e) {
      throw new IllegalStateException("systemd could not be given " + label + " to keep", e);
    }
    Kept before = mirror.get(key);
    FileIdentity identity = linux.identity(fd);
    if (before != null && same(before, identity, fd)) {
      return;
    }
    // One more for the moment in which the old and the new are there; systemd drops what is too
    // many without a word.
    if (mirror.size() + others + 1 >= most && before == null) {
      throw new IllegalStateException(
          "systemd's store is full with "
              + (mirror.size() + others)
              + " descriptors; raise FileDescriptorStoreMax= of this service, now "
              + most);
    }
    int number = before == null ? 1 : before.number() + 1;
    Fd mine = storable(label, identity, fd);
    try {
      // FDPOLL=0: else it lets go of sockets whose other end is closed.
      manager.tell("FDSTORE=1\nFDPOLL=0\nFDNAME=" + label + "#" + number, List.of(mine));
    } catch (IOException | RuntimeException e) {
      mine.close();
      uncertain.add(label + "#" + number);
      throw new IllegalStateException("systemd could not be given " + label + " to keep", e);
    }
    mirror.put(key, new Kept(mine, identity, number));
    if (before != null) {
      before.fd().close();
      try {
        remove(label + "#" + before.number());
      } catch (IOException e) {
        // The higher number counts until this one is removed.
        uncertain.add(label + "#" + before.number());
        LOG.get()
            .log(
                System.Logger.Level.WARNING,
                "systemd has yet to remove the " + label + " before",
                e);
      }
    }
  }

  /**
   * A descriptor for the store. systemd stores an open file once: it acknowledges a second
   * descriptor of it, and drops that ({@code service_add_fd_store()} in {@code
   * src/core/service.c}).
   */
  private Fd storable(String label, FileIdentity identity, Fd fd) {
    for (Map.Entry<StoreKey, Kept> each : mirror.entrySet()) {
      if (same(each.getValue(), identity, fd)) {
        try {
          return linux.reopen(fd);
        } catch (SystemCallException e) {
          throw new IllegalStateException(
              label
                  + " can't be stored: systemd stores an open file once, and has this one as "
                  + each.getKey().text(),
              e);
        }
      }
    }
    return fd.duplicate();
  }

  private boolean same(Kept kept, FileIdentity identity, Fd fd) {
    return kept.identity().equals(identity) && linux.sameOpenFile(kept.fd(), fd);
  }

  private void removeUncertain() throws IOException {
    for (String name : List.copyOf(uncertain)) {
      remove(name);
      uncertain.remove(name);
      StoreKey key = StoreKey.of(name.substring(0, name.lastIndexOf('#')));
      Kept kept = mirror.get(key);
      if (kept != null && name.equals(key.text() + "#" + kept.number())) {
        mirror.remove(key);
        kept.fd().close();
      }
    }
  }

  @Override
  public synchronized void drop(Set<? extends StoreKey> keys) {
    for (StoreKey key : keys) {
      Kept kept = mirror.get(key);
      if (kept != null) {
        // Until systemd has acknowledged it, it may be there and may be gone.
        uncertain.add(key.text() + "#" + kept.number());
      }
    }
    try {
      removeUncertain();
    } catch (IOException e) {
      throw new UncheckedIOException(
          "systemd has yet to remove "
              + keys.stream().map(StoreKey::text).collect(Collectors.joining(", ")),
          e);
    }
  }

  @Override
  public synchronized Set<StoreKey> keys() {
    return Set.copyOf(mirror.keySet());
  }

  @Override
  public synchronized Map<StoreKey, Fd> all(Predicate<? super StoreKey> wanted) {
    Map<StoreKey, Fd> copies = new LinkedHashMap<>();
    mirror.forEach(
        (key, kept) -> {
          if (wanted.test(key)) {
            copies.put(key, kept.fd().duplicate());
          }
        });
    return copies;
  }

  @Override
  public synchronized Optional<Fd> find(StoreKey key) {
    return Optional.ofNullable(mirror.get(key)).map(kept -> kept.fd().duplicate());
  }

  @Override
  public String describe() {
    return "systemd";
  }

  @Override
  public synchronized int size() {
    return mirror.size();
  }

  @Override
  public synchronized void close() {
    mirror.values().forEach(kept -> kept.fd().close());
    mirror.clear();
  }

  @Override
  public void end() {
    close();
  }
}
