package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Moving bytes between sockets, pipes and files without having them, on the real kernel. */
@Timeout(60)
class SpliceTest {
  private static final int MUCH = 1 << 20;

  private final Linux linux = Linux.system();

  @TempDir Path directory;

  private static MemorySegment text(String text) {
    return MemorySegment.ofArray(text.getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void fromSocketThroughQueueToFile() throws IOException {
    Path path = directory.resolve("log");
    try (FdPair pair = linux.socketPair(SocketType.STREAM);
        Fd queue = linux.queue(MUCH);
        Fd file = linux.open(path, OpenFlag.CREATE, OpenFlag.READ, OpenFlag.WRITE)) {
      assertThat(linux.splice(pair.left(), queue, MUCH)).as("nothing there").isEmpty();
      linux.write(pair.right(), text("one "));
      linux.write(pair.right(), text("two"));
      assertThat(linux.splice(pair.left(), queue, 2)).hasValue(2);
      assertThat(linux.splice(pair.left(), queue, MUCH)).hasValue(5);
      assertThat(linux.spliceTo(queue, file, 0, 3)).hasValue(3);
      assertThat(linux.spliceTo(queue, file, 3, MUCH)).hasValue(4);
      assertThat(linux.spliceTo(queue, file, 7, MUCH)).as("nothing left").isEmpty();
      assertThat(path).hasContent("one two");
      pair.right().close();
      assertThat(linux.splice(pair.left(), queue, MUCH)).as("the end").hasValue(0);
    }
  }

  @Test
  void whatHasNoRoomStaysInTheQueue() {
    try (FdPair pair = linux.socketPair(SocketType.STREAM);
        Fd queue = linux.queue(MUCH)) {
      linux.nonblocking(pair.left());
      long written = 0;
      long moved = 0;
      while (true) {
        linux.write(queue, text("x".repeat(60_000)));
        written += 60_000;
        var n = linux.splice(queue, pair.left(), MUCH);
        if (n.isEmpty()) {
          break;
        }
        moved += n.getAsLong();
      }
      assertThat(moved).isBetween(1L, written - 1);
      byte[] buffer = new byte[MUCH];
      long read = 0;
      while (read < written) {
        read += linux.read(pair.right(), MemorySegment.ofArray(buffer));
        var _ = linux.splice(queue, pair.left(), MUCH);
      }
      assertThat(linux.poll(Map.of(queue, Set.of(Readiness.READABLE)), Duration.ZERO)).isEmpty();
    }
  }

  @Test
  void whatNobodyReadsStaysInTheQueue() {
    try (FdPair pair = linux.socketPair(SocketType.STREAM);
        Fd queue = linux.queue(4096)) {
      linux.nonblocking(pair.left());
      pair.right().close();
      linux.write(queue, text("x"));
      assertThatThrownBy(() -> linux.splice(queue, pair.left(), MUCH))
          .isInstanceOfSatisfying(
              SystemCallException.class, e -> assertThat(e.errno()).isEqualTo(Errno.EPIPE));
      assertThat(linux.read(queue, MemorySegment.ofArray(new byte[9]))).isEqualTo(1);
    }
  }

  /** As for an ordinary user whose pipes have as many pages as they may. */
  @Test
  void queueThatMayNotGrowIsSmall() {
    int setPipeSize = 1031;
    Linux full =
        new Linux(
            (call, a, b, c, d, e, f) ->
                call == Call.FCNTL && b == setPipeSize
                    ? -Errno.EPERM.number()
                    : Kernel.system().call(call, a, b, c, d, e, f));
    try (Fd queue = full.queue(MUCH)) {
      full.write(queue, text("x"));
      assertThat(full.read(queue, MemorySegment.ofArray(new byte[9]))).isEqualTo(1);
    }
  }

  @Test
  void fileToSocket() throws IOException {
    Path path = Files.writeString(directory.resolve("log"), "0123456789");
    try (FdPair pair = linux.socketPair(SocketType.STREAM);
        Fd file = linux.open(path)) {
      linux.nonblocking(pair.left());
      assertThat(linux.sendFile(pair.left(), file, 7, MUCH)).hasValue(3);
      assertThat(linux.sendFile(pair.left(), file, 10, MUCH)).as("the end").hasValue(0);
      assertThat(linux.position(file)).isZero();
      byte[] got = new byte[9];
      assertThat(linux.read(pair.right(), MemorySegment.ofArray(got))).isEqualTo(3);
      assertThat(new String(got, 0, 3, StandardCharsets.UTF_8)).isEqualTo("789");
      pair.right().close();
      assertThatThrownBy(() -> linux.sendFile(pair.left(), file, 0, 1))
          .isInstanceOfSatisfying(
              SystemCallException.class, e -> assertThat(e.errno()).isEqualTo(Errno.EPIPE));
    }
  }

  @Test
  void whatEachIsWaitedForAndFoundToBe() {
    try (FdPair pair = linux.socketPair(SocketType.STREAM);
        FdPair other = linux.socketPair(SocketType.STREAM)) {
      Map<Fd, Set<Readiness>> wanted =
          Map.of(
              pair.left(), Set.of(Readiness.READABLE),
              pair.right(), Set.of(Readiness.READABLE, Readiness.WRITABLE),
              other.left(), Set.of());
      assertThat(linux.poll(wanted, Duration.ZERO))
          .isEqualTo(Map.of(pair.right(), Set.of(Readiness.WRITABLE)));
      linux.write(pair.right(), text("x"));
      linux.write(other.right(), text("x"));
      assertThat(linux.poll(wanted, Duration.ofSeconds(10)))
          .isEqualTo(
              Map.of(
                  pair.left(), Set.of(Readiness.READABLE),
                  pair.right(), Set.of(Readiness.WRITABLE)));
      other.right().close();
      assertThat(linux.poll(wanted, Duration.ZERO))
          .containsEntry(other.left(), Set.of(Readiness.HUNG_UP));
    }
  }

  @Test
  void rawTerminalEchoesNothingUntilItIsRestored() {
    try (Fd terminal = linux.open(Path.of("/dev/ptmx"), OpenFlag.READ, OpenFlag.WRITE);
        FdPair pair = linux.socketPair(SocketType.STREAM)) {
      assertThat(linux.terminal(pair.left())).isEmpty();
      Terminal found = linux.terminal(terminal).orElseThrow();
      found.raw();
      linux.write(terminal, text("x"));
      // A thread of the kernel's echoes, in its own time.
      assertThat(linux.poll(Map.of(terminal, Set.of(Readiness.READABLE)), Duration.ofMillis(500)))
          .isEmpty();
      found.restore();
      linux.write(terminal, text("y"));
      byte[] echo = new byte[9];
      int length = Math.toIntExact(linux.read(terminal, MemorySegment.ofArray(echo)));
      assertThat(echo[length - 1]).isEqualTo((byte) 'y');
    }
  }
}
