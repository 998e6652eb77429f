package io.holdfast.store;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The descriptor store with a real process; another agent is another {@link ProcessStore#open}. */
class ProcessStoreTest {
  /** RLIMIT_NOFILE. */
  private static final int NOFILE = 7;

  private final Linux linux = Linux.system();

  @TempDir Path directory;

  @Test
  @Promise("agent-can-die")
  void anotherAgentFindsEveryDescriptorUnderItsLabel() throws IOException {
    Path record = directory.resolve("keeper");
    Map<String, Long> sizes = new HashMap<>();
    long seed = Long.getLong("holdfast.seed", System.nanoTime());
    Random random = new Random(seed);
    long before = descriptors();
    ProcessStore first = ProcessStore.open(linux, record);
    for (int i = 0; i < 600; i++) {
      String label = "vm" + random.nextInt(40) + "/ram";
      if (random.nextInt(4) == 0) {
        first.drop(Set.of(StoreKey.of(label)));
        sizes.remove(label);
      } else {
        long size = 4096L * (1 + random.nextInt(100));
        try (Fd fd = linux.memfd(label, size)) {
          first.put(StoreKey.of(label), fd);
        }
        sizes.put(label, size);
      }
    }
    // As by kill -9: this agent is gone without a word, its descriptors closed by the kernel.
    first.close();
    ProcessStore second = ProcessStore.open(linux, record);
    assertThat(found(second)).as("seed %d", seed).isEqualTo(sizes);
    second.drop(second.keys());
    assertThat(second.size()).isZero();
    second.end();
    assertThat(Files.exists(record)).isFalse();
    assertThat(descriptors()).isEqualTo(before);
  }

  @Test
  @Promise("agent-can-die")
  void anAgentThatDiesWhileItReplacesLosesNothing() throws IOException {
    Path record = directory.resolve("keeper");
    // The kernel stops the agent's sends after so many: it died there.
    for (int survived = 0; survived < 6; survived++) {
      int[] left = {Integer.MAX_VALUE};
      Linux dying =
          new Linux(
              (call, a, b, c, d, e, f) ->
                  call == io.holdfast.linux.Call.SENDMSG && left[0]-- <= 0
                      ? -5
                      : linux.kernel().call(call, a, b, c, d, e, f));
      ProcessStore store = ProcessStore.open(dying, record);
      for (int i = 0; i < 3; i++) {
        try (Fd fd = linux.memfd("m" + i, 4096L * (i + 1))) {
          store.put(StoreKey.of("m" + i), fd);
        }
      }
      left[0] = survived;
      try (Fd fd = linux.memfd("new", 40960)) {
        store.put(StoreKey.of("m1"), fd);
      } catch (RuntimeException stopped) {
        assertThat(stopped).hasMessageContaining("sendmsg");
      }
      store.close();
      ProcessStore next = ProcessStore.open(linux, record);
      Map<String, Long> found = found(next);
      assertThat(found)
          .as("after %d sends", survived)
          .containsEntry("m0", 4096L)
          .containsEntry("m2", 12288L);
      assertThat(found.get("m1")).isIn(8192L, 40960L);
      next.drop(Set.of(StoreKey.of("m0")));
      next.close();
      next = ProcessStore.open(linux, record);
      assertThat(found(next)).as("what was let go stays gone").containsOnlyKeys("m1", "m2");
      next.end();
    }
  }

  @Test
  @Promise("agent-can-die")
  void aKeeperThatIsKilledIsReplacedAndNothingIsLost() throws IOException, InterruptedException {
    Path record = directory.resolve("keeper");
    long before = descriptors();
    ProcessStore store = ProcessStore.open(linux, record);
    try (Fd fd = linux.memfd("kept", 8192)) {
      store.put(StoreKey.of("kept"), fd);
    }
    for (int i = 0; i < 3; i++) {
      String killed = Files.readString(record);
      kill(killed);
      awaitTrue(
          "another keeper in place of " + killed, () -> !Files.readString(record).equals(killed));
      store.close();
      store = ProcessStore.open(linux, record);
      assertThat(found(store)).isEqualTo(Map.of("kept", 8192L));
    }
    store.end();
    assertThat(descriptors()).isEqualTo(before);
  }

  /** As without a free descriptor, and on a full file system. */
  @Test
  @Promise("agent-can-die")
  void aKeeperThatCannotBeReplacedAtFirstIsReplacedLater()
      throws IOException, InterruptedException {
    Path record = directory.resolve("keeper");
    long before = descriptors();
    AtomicInteger refused = new AtomicInteger();
    AtomicInteger left = new AtomicInteger();
    Linux scarce =
        new Linux(
            (call, a, b, c, d, e, f) -> {
              if (call == io.holdfast.linux.Call.POSIX_SPAWNP && left.getAndDecrement() > 0) {
                refused.incrementAndGet();
                return -Errno.EMFILE.number();
              }
              return linux.kernel().call(call, a, b, c, d, e, f);
            });
    ProcessStore store = ProcessStore.open(scarce, record);
    try (Fd fd = linux.memfd("kept", 8192)) {
      store.put(StoreKey.of("kept"), fd);
    }
    String killed = Files.readString(record);
    Path inTheWay = Files.createDirectory(directory.resolve("keeper.new"));
    left.set(2);
    kill(killed);
    awaitTrue("another attempt", () -> left.get() < 0);
    assertThat(refused.get()).isEqualTo(2);
    assertThat(Files.readString(record)).isEqualTo(killed);
    Files.delete(inTheWay);
    awaitTrue("another keeper", () -> !Files.readString(record).equals(killed));
    store.close();
    store = ProcessStore.open(linux, record);
    assertThat(found(store)).isEqualTo(Map.of("kept", 8192L));
    store.end();
    assertThat(descriptors()).isEqualTo(before);
  }

  @Test
  @Promise("agent-can-die")
  void dropsWithoutAFreeDescriptorAndLosesNothing() throws IOException {
    Path record = directory.resolve("keeper");
    ProcessStore store = ProcessStore.open(linux, record);
    for (int i = 0; i < 5; i++) {
      try (Fd fd = linux.memfd("m" + i, 4096L * (i + 1))) {
        store.put(StoreKey.of("m" + i), fd);
      }
    }
    // Once before, so that all classes are loaded.
    store.drop(Set.of(StoreKey.of("m4")));
    long limit = limit(1024);
    long _ = limit(limit);
    // Not 0: that is also how many an ordinary user may have on their way through sockets.
    int free;
    try (Fd next = linux.memfd("next", 0)) {
      free = next.number();
    }
    try {
      long _ = limit(free);
      store.drop(Set.of(StoreKey.of("m3")));
    } finally {
      long _ = limit(limit);
    }
    store.drop(Set.of(StoreKey.of("m2")));
    store.close();
    store = ProcessStore.open(linux, record);
    assertThat(found(store)).isEqualTo(Map.of("m0", 4096L, "m1", 8192L));
    store.end();
  }

  /** Sets how many descriptors this process may have, and returns how many it might have. */
  private long limit(long descriptors) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment limits = arena.allocate(ValueLayout.JAVA_LONG, 2);
      long got =
          linux
              .kernel()
              .call(io.holdfast.linux.Call.GETRLIMIT, NOFILE, limits.address(), 0, 0, 0, 0);
      assertThat(got).isZero();
      long before = limits.getAtIndex(ValueLayout.JAVA_LONG, 0);
      limits.setAtIndex(ValueLayout.JAVA_LONG, 0, descriptors);
      long set =
          linux
              .kernel()
              .call(io.holdfast.linux.Call.SETRLIMIT, NOFILE, limits.address(), 0, 0, 0, 0);
      assertThat(set).isZero();
      return before;
    }
  }

  private interface Condition {
    boolean holds() throws IOException;
  }

  private static void awaitTrue(String what, Condition condition)
      throws IOException, InterruptedException {
    long end = System.nanoTime() + 10_000_000_000L;
    while (!condition.holds()) {
      assertThat(System.nanoTime()).as(what).isLessThan(end);
      Thread.sleep(1);
    }
  }

  private static void kill(String record) {
    long pid = Long.parseLong(record.split("@", 2)[0]);
    assertThat(ProcessHandle.of(pid).orElseThrow().destroyForcibly()).isTrue();
  }

  @Test
  @Promise("agent-can-die")
  void hundredsFit() throws IOException {
    org.junit.jupiter.api.Assumptions.assumeTrue(
        linux.effectiveUser() == 0, "only root may raise the queue's limit");
    ProcessStore store = ProcessStore.open(linux, directory.resolve("keeper"));
    try (Fd fd = linux.memfd("one", 4096)) {
      for (int i = 0; i < 400; i++) {
        store.put(StoreKey.of("label" + i), fd);
      }
      assertThat(store.size()).isEqualTo(400);
    } finally {
      store.end();
    }
  }

  private Map<String, Long> found(ProcessStore store) {
    Map<String, Long> sizes = new HashMap<>();
    store
        .all(_ -> true)
        .forEach(
            (key, fd) -> {
              try (fd) {
                sizes.put(key.text(), linux.size(fd));
              }
            });
    return sizes;
  }

  private static long descriptors() throws IOException {
    try (var list = Files.list(Path.of("/proc/self/fd"))) {
      return list.count();
    }
  }
}
