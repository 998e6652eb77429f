package io.holdfast.kexec.session;

import io.holdfast.linux.Fd;
import io.holdfast.linux.FdPair;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SocketType;
import io.holdfast.store.ServiceBox;
import io.holdfast.store.ServiceManager;
import io.holdfast.store.StoreKey;
import io.holdfast.store.SystemdStore;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * A service of a real systemd, for {@link SystemdStoreTest}: each time it is started it writes what
 * it found in its store, does the next step, and dies.
 */
final class StoreSteps {
  private final Linux linux = Linux.system();
  private final SystemdStore store;
  private final Path directory;

  private StoreSteps(SystemdStore store, Path directory) {
    this.store = store;
    this.directory = directory;
  }

  /** The directory is the first argument. */
  public static void main(String[] args) throws IOException {
    Linux linux = Linux.system();
    Map<String, String> environment = System.getenv();
    try (ServiceManager manager = ServiceManager.find(linux, environment).orElseThrow();
        SystemdStore store = SystemdStore.open(linux, manager, environment).orElseThrow()) {
      new StoreSteps(store, Path.of(args[0])).step();
    }
    linux.pidfd((int) ProcessHandle.current().pid()).signal(Signal.KILL);
  }

  private void step() throws IOException {
    Path steps = directory.resolve("steps");
    int done = Files.exists(steps) ? Files.readAllLines(steps).size() : 0;
    Set<String> found = new TreeSet<>();
    store
        .all(_ -> true)
        .forEach(
            (key, fd) -> {
              boolean entry = key instanceof StoreKey.InServiceBox;
              found.add(key.text() + "=" + (entry ? linux.size(fd) : "session"));
              fd.close();
            });
    KeptSessions sessions = new KeptSessions(store, done < 1 ? "boot-a" : "boot-b");
    switch (done) {
      case 0 -> first();
      case 1 -> new StoredSessions(store, "boot-b").sort(directory.resolve("sorted"));
      case 2 -> sessions.all().forEach((name, fd) -> twice(new ServiceBox("came").key(name), fd));
      default -> sessions.drop("holdfast");
    }
    Files.writeString(
        steps,
        String.join(" ", found) + "\n",
        StandardCharsets.UTF_8,
        StandardOpenOption.CREATE,
        StandardOpenOption.APPEND);
  }

  /** A memfd three times, and a socket: it can't be opened anew, as sessions can't. */
  private void first() {
    try (Fd memfd = linux.memfd("entry", 7);
        FdPair session = linux.socketPair(SocketType.STREAM)) {
      store.put(new ServiceBox("a").key("x"), memfd);
      store.put(new ServiceBox("a").key("x"), memfd);
      store.put(new ServiceBox("b").key("y"), memfd);
      new StoredSessions(store, "boot-a").hold("holdfast", session.left());
    }
  }

  /** Storing a session once more is refused. */
  private void twice(StoreKey key, Fd session) {
    try (session) {
      store.put(key, session);
    } catch (IllegalStateException e) {
      try (Fd memfd =
          linux.memfd("refused", e.toString().contains("stores an open file once") ? 3 : 0)) {
        store.put(key, memfd);
      }
    }
  }
}
