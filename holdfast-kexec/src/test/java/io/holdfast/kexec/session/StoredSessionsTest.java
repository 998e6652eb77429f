package io.holdfast.kexec.session;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.store.ProcessStore;
import io.holdfast.store.StoreKey;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Which of what is in the store is from which side; memfds stand for sessions. */
@Promise({"agent-can-die", "systemd-hosts"})
final class StoredSessionsTest {
  @TempDir Path directory;
  private final Linux linux = Linux.system();
  private ProcessStore store;

  @BeforeEach
  void open() throws IOException {
    store = ProcessStore.open(linux, directory.resolve("keeper"));
  }

  @AfterEach
  void end() throws IOException {
    store.end();
  }

  private void keep(String label, long size) {
    try (Fd memfd = linux.memfd("m", size)) {
      store.put(StoreKey.of(label), memfd);
    }
  }

  /** Labels and sizes, by which each is known. */
  private Map<String, Long> kept() {
    Map<String, Long> found = new TreeMap<>();
    store
        .all(_ -> true)
        .forEach(
            (key, fd) -> {
              found.put(key.text(), linux.size(fd));
              fd.close();
            });
    return found;
  }

  private void sort(String boot) throws IOException {
    new StoredSessions(store, boot).sort(directory.resolve("sorted"));
  }

  /** Sizes of the sessions that came, by name. */
  private Map<String, Long> came(String boot) {
    Map<String, Long> found = new TreeMap<>();
    new KeptSessions(store, boot)
        .all()
        .forEach(
            (name, fd) -> {
              found.put(name, linux.size(fd));
              fd.close();
            });
    return found;
  }

  @Test
  void whatIsHeldIsLetGoOfAndUndoneByTheNextAgentOfThisBoot() throws IOException {
    StoredSessions here = new StoredSessions(store, "boot-a");
    keep("web/ram", 1);
    try (Fd session = linux.memfd("s", 4)) {
      here.hold("holdfast", session);
      here.hold("holdfast/web", session);
    }
    assertThat(kept()).hasSize(3);
    here.letGo("holdfast/web");
    assertThat(kept()).hasSize(2);
    here.letGo("never held");
    sort("boot-a");
    assertThat(kept()).isEqualTo(Map.of("web/ram", 1L));
  }

  @Test
  void restoresExactlyTheStoredSessions() throws IOException {
    StoredSessions there = new StoredSessions(store, "boot-a");
    keep("web/net0@3", 1);
    keep("@box/cache/index", 2);
    try (Fd main = linux.memfd("s", 4);
        Fd web = linux.memfd("s", 5);
        Fd long1 = linux.memfd("s", 6)) {
      there.hold("holdfast", main);
      there.hold("holdfast/web", web);
      there.hold("holdfast/#1", long1);
    }
    assertThat(came("boot-a")).as("they have yet to leave").isEmpty();
    sort("boot-b");
    assertThat(came("boot-b"))
        .isEqualTo(Map.of("holdfast", 4L, "holdfast/web", 5L, "holdfast/#1", 6L));
    assertThat(kept()).hasSize(3);
  }

  @Test
  void whatIsStoredAfterTheyWereSortedStays() throws IOException {
    StoredSessions there = new StoredSessions(store, "boot-a");
    try (Fd main = linux.memfd("s", 4);
        Fd web = linux.memfd("s", 5)) {
      there.hold("holdfast", main);
      there.hold("holdfast/web", web);
    }
    keep("web/ram", 6);
    sort("boot-b");
    keep("web/ram", 7);
    sort("boot-b");
    assertThat(kept()).hasSize(3).containsEntry("web/ram", 7L);
    KeptSessions sessions = new KeptSessions(store, "boot-b");
    sessions.drop("holdfast/web");
    assertThat(came("boot-b")).isEqualTo(Map.of("holdfast", 4L));
    sessions.drop("holdfast");
    sort("boot-b");
    assertThat(kept()).isEqualTo(Map.of("web/ram", 7L));
  }

  /** An agent of version 0.1.0 stored them under another label when it had sorted them. */
  @Test
  void findsSessionsThatVersionZeroHadSorted() throws IOException {
    StoredSessions there = new StoredSessions(store, "boot-a");
    try (Fd web = linux.memfd("s", 5)) {
      there.hold("holdfast/web", web);
    }
    keep("@session/holdfast", 4);
    sort("boot-b");
    assertThat(came("boot-b")).isEqualTo(Map.of("holdfast", 4L, "holdfast/web", 5L));
  }
}
