package io.holdfast.host.carrier;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.host.keeper.ProcessKeeper;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Which of what is in the store is from which side; memfds stand for sessions. */
final class StoredSessionsTest {
  @TempDir Path directory;
  private final Linux linux = Linux.system();
  private ProcessKeeper keeper;

  @BeforeEach
  void open() throws IOException {
    keeper = ProcessKeeper.open(linux, directory.resolve("keeper"));
  }

  @AfterEach
  void end() throws IOException {
    keeper.end();
  }

  private void keep(String label, long size) {
    try (Fd memfd = linux.memfd("m", size)) {
      keeper.keep(label, memfd);
    }
  }

  /** Labels and sizes, by which each is known. */
  private Map<String, Long> kept() {
    Map<String, Long> found = new TreeMap<>();
    keeper
        .kept()
        .forEach(
            (label, fd) -> {
              found.put(label, linux.size(fd));
              fd.close();
            });
    return found;
  }

  @Test
  void whatIsHeldIsLetGoOfAndUndoneByTheNextAgentOfThisBoot() {
    StoredSessions here = new StoredSessions(keeper, "boot-a");
    keep("web/ram", 1);
    try (Fd session = linux.memfd("s", 4)) {
      here.hold("holdfast", session);
      here.hold("holdfast/web", session);
    }
    assertThat(kept()).hasSize(3);
    here.letGo("holdfast/web");
    assertThat(kept()).hasSize(2);
    here.letGo("never held");
    new StoredSessions(keeper, "boot-a").sort();
    assertThat(kept()).isEqualTo(Map.of("web/ram", 1L));
  }

  @Test
  void onTheOtherSideSessionsAreWhereTheyAreLookedForAndNothingElse() {
    StoredSessions there = new StoredSessions(keeper, "boot-a");
    keep("web/net0@3", 1);
    keep("@box/cache/index", 2);
    try (Fd main = linux.memfd("s", 4);
        Fd web = linux.memfd("s", 5);
        Fd long1 = linux.memfd("s", 6)) {
      there.hold("holdfast", main);
      there.hold("holdfast/web", web);
      there.hold("holdfast/#1", long1);
    }
    new StoredSessions(keeper, "boot-b").sort();
    assertThat(kept())
        .isEqualTo(
            Map.of(
                "@session/holdfast", 4L, "@session/holdfast/web", 5L, "@session/holdfast/#1", 6L));
  }

  @Test
  void anAgentThatDiesWhileItSortsLosesNothing() {
    StoredSessions there = new StoredSessions(keeper, "boot-a");
    try (Fd main = linux.memfd("s", 4);
        Fd web = linux.memfd("s", 5)) {
      there.hold("holdfast", main);
      there.hold("holdfast/web", web);
    }
    // It had got so far.
    keep("@session/holdfast", 4);
    new StoredSessions(keeper, "boot-b").sort();
    Map<String, Long> sorted = Map.of("@session/holdfast", 4L, "@session/holdfast/web", 5L);
    assertThat(kept()).isEqualTo(sorted);
    // From then on what is unpacked stays.
    keep("web/ram", 7);
    new StoredSessions(keeper, "boot-b").sort();
    assertThat(kept()).hasSize(3);
    keeper.drop(Set.of("web/ram"));
  }
}
