package io.holdfast.store;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Call;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Received;
import io.holdfast.linux.UnixSocket;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * A service manager that does what it is told and answers late. SystemdStoreTest has the real one,
 * which answers in time.
 */
@Timeout(60)
@Promise("agent-can-die")
class LateSystemdTest {
  private static final int AF_UNIX = 1;

  @TempDir Path directory;
  private final Linux linux = Linux.system();

  /** What the manager has stored, by name, and the sizes of the memfds. */
  private final Map<String, Long> stored = new ConcurrentHashMap<>();

  /** Which answer from now on comes too late; none if it is 0. */
  private final AtomicInteger late = new AtomicInteger();

  /** As a poll(2) that ends by its timeout: 30 s in reality. */
  private final Linux impatient =
      new Linux(
          (call, a, b, c, d, e, f) ->
              call == Call.PPOLL && late.getAndUpdate(n -> Math.max(0, n - 1)) == 1
                  ? 0
                  : linux.kernel().call(call, a, b, c, d, e, f));

  private UnixSocket socket;
  private ServiceManager manager;
  private SystemdStore store;

  @BeforeEach
  void open() throws IOException {
    Path path = directory.resolve("notify");
    socket = bind(path);
    Thread _ = Thread.ofPlatform().daemon().name("manager").start(this::serve);
    manager =
        ServiceManager.find(impatient, Map.of("NOTIFY_SOCKET", path.toString())).orElseThrow();
    store = SystemdStore.open(linux, manager, Map.of("FDSTORE", "16")).orElseThrow();
  }

  @AfterEach
  void close() {
    store.close();
    manager.close();
    // Else the thread that receives would not end.
    socket.shutdown();
    socket.close();
  }

  /** A datagram socket with a name (unix(7)). */
  private UnixSocket bind(Path path) {
    long number = linux.kernel().call(Call.SOCKET, AF_UNIX, 2 /* SOCK_DGRAM */, 0, 0, 0, 0);
    assertThat(number).isPositive();
    try (Arena arena = Arena.ofConfined()) {
      byte[] name = path.toString().getBytes(StandardCharsets.UTF_8);
      MemorySegment address = arena.allocate(2L + name.length + 1, Long.BYTES);
      address.set(ValueLayout.JAVA_SHORT, 0, (short) AF_UNIX);
      MemorySegment.copy(name, 0, address, ValueLayout.JAVA_BYTE, 2, name.length);
      long bound =
          linux.kernel().call(Call.BIND, number, address.address(), address.byteSize(), 0, 0, 0);
      assertThat(bound).isZero();
    }
    return linux.adopt(Fd.own(linux.kernel(), (int) number, "notify socket"));
  }

  private void serve() {
    byte[] buffer = new byte[4096];
    try {
      for (Received got = socket.receive(buffer); !got.end(); got = socket.receive(buffer)) {
        String said = new String(buffer, 0, got.bytes(), StandardCharsets.UTF_8);
        String name = said.substring(said.lastIndexOf('=') + 1);
        if (said.startsWith("FDSTORE=1\n")) {
          stored.put(name, linux.size(got.descriptors().getFirst()));
        } else if (said.startsWith("FDSTOREREMOVE=1\n")) {
          stored.remove(name);
        }
        got.closeDescriptors();
      }
    } catch (RuntimeException e) {
      // Closed by the test.
    }
  }

  private void keep(String label, long size) {
    try (Fd fd = linux.memfd("m", size)) {
      store.put(StoreKey.of(label), fd);
    }
  }

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

  @Test
  void removesWhatWasStoredLateBeforeItIsStoredAgain() {
    keep("other", 1);
    late.set(1);
    assertThatThrownBy(() -> keep("ram", 8))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("systemd could not be given ram")
        .hasRootCauseMessage("systemd did not act on FDSTORE=1 within 30 s");
    assertThat(kept()).isEqualTo(Map.of("other", 1L));
    keep("ram", 16);
    assertThat(stored).isEqualTo(Map.of("other#1", 1L, "ram#1", 16L));
    assertThat(kept()).isEqualTo(Map.of("other", 1L, "ram", 16L));
  }

  @Test
  void staysStoredUntilItsRemovalIsAcknowledged() {
    keep("ram", 8);
    late.set(1);
    assertThatThrownBy(() -> store.drop(Set.of(StoreKey.of("ram"))))
        .isInstanceOf(UncheckedIOException.class)
        .hasMessageContaining("systemd has yet to remove ram");
    // It may be there: nobody may take it for gone.
    assertThat(kept()).isEqualTo(Map.of("ram", 8L));
    store.drop(Set.of());
    assertThat(kept()).isEmpty();
    assertThat(stored).isEmpty();
  }

  @Test
  void storesAgainWhatMayHaveBeenRemoved() {
    try (Fd fd = linux.memfd("m", 8)) {
      store.put(StoreKey.of("ram"), fd);
      late.set(1);
      assertThatThrownBy(() -> store.drop(Set.of(StoreKey.of("ram"))))
          .isInstanceOf(UncheckedIOException.class);
      // The same open file: to be stored all the same.
      store.put(StoreKey.of("ram"), fd);
    }
    assertThat(kept()).isEqualTo(Map.of("ram", 8L));
    assertThat(stored).isEqualTo(Map.of("ram#1", 8L));
  }

  @Test
  void hasTheNewOneWhenTheOldOneIsRemovedLate() {
    keep("record", 1);
    // Not the answer to the new one, but that to the removal.
    late.set(2);
    keep("record", 2);
    assertThat(kept()).isEqualTo(Map.of("record", 2L));
    keep("other", 3);
    assertThat(stored).isEqualTo(Map.of("record#2", 2L, "other#1", 3L));
    keep("record", 4);
    assertThat(stored).isEqualTo(Map.of("record#3", 4L, "other#1", 3L));
  }

  @Test
  void triesAgainAsOftenAsItIsLate() {
    keep("ram", 8);
    for (int i = 0; i < 3; i++) {
      late.set(1);
      assertThatThrownBy(() -> keep("more", 1)).isInstanceOf(IllegalStateException.class);
    }
    keep("more", 2);
    assertThat(stored).isEqualTo(Map.of("ram#1", 8L, "more#1", 2L));
  }
}
