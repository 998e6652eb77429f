package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.promise.Promise;
import io.holdfast.store.ProcessStore;
import io.holdfast.store.ServiceBox;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Boxes of services, on a real descriptor store. */
@Promise("boxes")
final class BoxesTest {
  @TempDir Path directory;
  private final Linux linux = Linux.system();
  private ProcessStore store;
  private Boxes boxes;

  @BeforeEach
  void open() throws IOException {
    store = ProcessStore.open(linux, directory.resolve("keeper"));
    boxes = new Boxes(linux, store, Optional.empty());
  }

  @AfterEach
  void end() throws IOException {
    store.end();
  }

  private static String told(Throwable thrown) {
    return ((VarlinkError) thrown).parameters().string("message");
  }

  @Test
  void whatIsPutInIsThereUntilItIsRemoved() {
    try (Fd memfd = linux.memfd("cache", 8192)) {
      boxes.put("cache", "index", memfd);
      try (Fd found = boxes.get("cache", "index")) {
        assertThat(linux.identity(found)).isEqualTo(linux.identity(memfd));
      }
    }
    assertThat(boxes.list())
        .containsExactly(
            JsonObject.of(
                "name",
                "cache",
                "entries",
                java.util.List.of(
                    JsonObject.of("label", "index", "kind", "memfd", "bytes", 8192L))));
    boxes.remove("cache", "index");
    assertThat(boxes.list()).isEmpty();
    assertThatThrownBy(() -> boxes.get("cache", "index"))
        .isInstanceOf(VarlinkError.class)
        .satisfies(e -> assertThat(told(e)).contains("box cache has no entry index"));
  }

  @Test
  void whatCanNotCrossIsRefusedByName() {
    try (Fd file = linux.open(directory.resolve("f"), OpenFlag.CREATE, OpenFlag.WRITE)) {
      assertThatThrownBy(() -> boxes.put("cache", "index", file))
          .satisfies(e -> assertThat(told(e)).contains("entry index of box cache is no memfd"));
      assertThatThrownBy(() -> boxes.put("../x", "index", file))
          .satisfies(e -> assertThat(told(e)).contains("not a valid box"));
    }
  }

  @Test
  void whileAnUpdateIsUnderWayNothingChanges() {
    try (Fd memfd = linux.memfd("cache", 4096)) {
      boxes.put("cache", "index", memfd);
      boxes.close("update u1 of the kernel");
      assertThatThrownBy(() -> boxes.put("cache", "other", memfd))
          .satisfies(e -> assertThat(told(e)).contains("update u1 of the kernel is under way"));
      assertThatThrownBy(() -> boxes.remove("cache", "index"))
          .satisfies(e -> assertThat(told(e)).contains("is under way"));
      boxes.get("cache", "index").close();
      boxes.open();
      boxes.put("cache", "other", memfd);
      assertThat(boxes.memfds()).containsOnlyKeys(new ServiceBox("cache"));
    }
  }
}
