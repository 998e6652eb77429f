package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.promise.Promise;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Unix sockets: bytes, packets, descriptors, credentials. */
@Timeout(30)
class SocketsTest {
  private final Linux linux = Linux.system();

  /** Two connected sockets. */
  private record Ends(UnixSocket left, UnixSocket right) implements AutoCloseable {
    static Ends of(Linux linux, SocketType type) {
      FdPair pair = linux.socketPair(type);
      return new Ends(linux.adopt(pair.left()), linux.adopt(pair.right()));
    }

    @Override
    public void close() {
      left.close();
      right.close();
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"STREAM", "SEQPACKET"})
  void descriptorsComeWithTheirBytes(SocketType type) {
    try (Ends ends = Ends.of(linux, type);
        Fd a = linux.memfd("a", 10);
        Fd b = linux.memfd("b", 20)) {
      ends.left.send("one".getBytes(StandardCharsets.UTF_8), 1, 2, List.of(a, b));
      ends.left.send(new byte[] {9});
      byte[] buffer = new byte[100];
      Received first = ends.right.receive(buffer);
      assertThat(new String(buffer, 0, first.bytes(), StandardCharsets.UTF_8)).isEqualTo("ne");
      assertThat(first.end()).isFalse();
      assertThat(first.descriptors())
          .extracting(linux::identity)
          .containsExactly(linux.identity(a), linux.identity(b));
      for (Fd fd : first.descriptors()) {
        assertThat(Self.text("/proc/self/fdinfo/" + fd.number()))
            .containsPattern("flags:\\s+02\\d+");
      }
      first.closeDescriptors();
      assertThat(ends.right.receive(buffer)).isEqualTo(new Received(1, List.of()));
      ends.left.close();
      assertThat(ends.right.receive(buffer).end()).isTrue();
    }
  }

  @Test
  void aStreamNeverMixesTwoMessagesDescriptors() {
    try (Ends ends = Ends.of(linux, SocketType.STREAM);
        Fd a = linux.memfd("a", 10);
        Fd b = linux.memfd("b", 20)) {
      ends.left.send(new byte[] {1}, 0, 1, List.of(a));
      ends.left.send(new byte[] {2}, 0, 1, List.of(b));
      for (Fd sent : List.of(a, b)) {
        Received received = ends.right.receive(new byte[100]);
        assertThat(received.bytes()).isOne();
        assertThat(received.descriptors())
            .extracting(linux::identity)
            .containsExactly(linux.identity(sent));
        received.closeDescriptors();
      }
    }
  }

  @Test
  void asManyDescriptorsAsTheKernelTakes() {
    try (Ends ends = Ends.of(linux, SocketType.SEQPACKET);
        Fd a = linux.memfd("a", 10)) {
      ends.left.send(new byte[] {1}, 0, 1, Collections.nCopies(UnixSocket.MOST_DESCRIPTORS, a));
      Received received = ends.right.receive(new byte[1]);
      assertThat(received.descriptors()).hasSize(UnixSocket.MOST_DESCRIPTORS);
      received.closeDescriptors();
      assertThatIllegalArgumentException()
          .isThrownBy(
              () ->
                  ends.left.send(
                      new byte[] {1},
                      0,
                      1,
                      Collections.nCopies(UnixSocket.MOST_DESCRIPTORS + 1, a)));
      assertThatIllegalArgumentException()
          .isThrownBy(() -> ends.left.send(new byte[0], 0, 0, List.of(a)));
      assertThatIllegalArgumentException().isThrownBy(() -> ends.left.receive(new byte[0]));
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"STREAM", "SEQPACKET"})
  void peekLeavesTheMessageAndGivesDuplicates(SocketType type) {
    try (Ends ends = Ends.of(linux, type);
        Fd a = linux.memfd("a", 10)) {
      byte[] buffer = new byte[10];
      assertThat(ends.right.peek(buffer)).isEmpty();
      assertThat(ends.right.receiveNow(buffer)).isEmpty();
      ends.left.send(new byte[] {1, 2, 3}, 0, 3, List.of(a));
      for (int i = 0; i < 3; i++) {
        Received peeked = ends.right.peek(buffer).orElseThrow();
        assertThat(peeked.bytes()).isEqualTo(3);
        assertThat(peeked.descriptors())
            .extracting(linux::identity)
            .containsExactly(linux.identity(a));
        peeked.closeDescriptors();
      }
      Received taken = ends.right.receiveNow(buffer).orElseThrow();
      assertThat(taken.descriptors())
          .extracting(linux::identity)
          .containsExactly(linux.identity(a));
      taken.closeDescriptors();
      assertThat(ends.right.peek(buffer)).isEmpty();
    }
  }

  @Test
  void aPacketIsDroppedWithItsDescriptors() {
    try (Ends ends = Ends.of(linux, SocketType.SEQPACKET);
        Fd a = linux.memfd("a", 10);
        Pipe pipe = linux.pipe()) {
      assertThat(ends.right.discardNow()).isFalse();
      ends.left.send(new byte[] {1, 2, 3}, 0, 3, List.of(pipe.writer()));
      ends.left.send(new byte[] {4}, 0, 1, List.of(a));
      pipe.writer().close();
      assertThat(ends.right.discardNow()).isTrue();
      assertThat(linux.read(pipe.reader(), MemorySegment.ofArray(new byte[1])))
          .as("the end of a pipe of which nobody has the other end")
          .isZero();
      Received next = ends.right.receiveNow(new byte[10]).orElseThrow();
      assertThat(next.descriptors()).extracting(linux::identity).containsExactly(linux.identity(a));
      next.closeDescriptors();
      assertThat(ends.right.discardNow()).isFalse();
    }
  }

  @Test
  @Promise("linux-layer")
  void aWholeQueueCanBePeeked() {
    try (Ends ends = Ends.of(linux, SocketType.SEQPACKET)) {
      List<FileIdentity> sent = new ArrayList<>();
      for (int i = 0; i < 50; i++) {
        try (Fd fd = linux.memfd("m" + i, 10)) {
          sent.add(linux.identity(fd));
          ends.left.send(new byte[i + 1], 0, i + 1, List.of(fd));
        }
      }
      for (int round = 0; round < 2; round++) {
        ends.right.peekFrom(0);
        List<FileIdentity> found = new ArrayList<>();
        for (Optional<Received> next = ends.right.peek(new byte[100]);
            next.isPresent();
            next = ends.right.peek(new byte[100])) {
          assertThat(next.get().bytes()).isEqualTo(found.size() + 1);
          next.get().descriptors().forEach(d -> found.add(linux.identity(d)));
          next.get().closeDescriptors();
        }
        assertThat(found).isEqualTo(sent);
      }
      ends.right.peekFrom(-1);
      Received first = ends.right.peek(new byte[100]).orElseThrow();
      assertThat(first.bytes()).isOne();
      first.closeDescriptors();
    }
  }

  @Test
  void aPacketLongerThanTheBufferIsAnErrorThatLeavesNoDescriptor() {
    try (Ends ends = Ends.of(linux, SocketType.SEQPACKET);
        Fd a = linux.memfd("a", 10)) {
      ends.left.send(new byte[20], 0, 20, List.of(a, a));
      var before = Self.descriptors();
      assertThatThrownBy(() -> ends.right.peek(new byte[19]))
          .hasMessageContaining("EMSGSIZE")
          .hasMessageContaining("19");
      assertThatThrownBy(() -> ends.right.receive(new byte[19])).hasMessageContaining("EMSGSIZE");
      assertThat(Self.descriptors()).isEqualTo(before);
    }
  }

  /**
   * A full descriptor table, as the kernel tells it: fewer descriptors than were sent, and
   * MSG_CTRUNC.
   */
  @Test
  void lostDescriptorsAreAnErrorThatClosesTheRest() {
    long flagsAt = 48;
    Kernel full =
        (call, a, b, c, d, e, f) -> {
          long result = Kernel.system().call(call, a, b, c, d, e, f);
          if (call == Call.RECVMSG) {
            MemorySegment header = MemorySegment.ofAddress(b).reinterpret(56);
            header.set(
                java.lang.foreign.ValueLayout.JAVA_INT,
                flagsAt,
                header.get(java.lang.foreign.ValueLayout.JAVA_INT, flagsAt) | 8);
          }
          return result;
        };
    try (Ends ends = Ends.of(new Linux(full), SocketType.STREAM);
        Fd a = linux.memfd("a", 10)) {
      ends.left.send(new byte[20], 0, 20, List.of(a, a));
      var before = Self.descriptors();
      assertThatThrownBy(() -> ends.right.receive(new byte[100]))
          .hasMessageContaining("EMFILE")
          .hasMessageContaining("ulimit -n");
      assertThat(Self.descriptors()).isEqualTo(before);
    }
  }

  @Test
  void aLongSendArrivesWhole() throws Exception {
    byte[] bytes = new byte[3_000_000];
    new Random(3).nextBytes(bytes);
    try (Ends ends = Ends.of(linux, SocketType.STREAM);
        Fd a = linux.memfd("a", 10);
        Arena arena = Arena.ofShared()) {
      MemorySegment copy = arena.allocate(bytes.length).copyFrom(MemorySegment.ofArray(bytes));
      CompletableFuture<Void> sender =
          CompletableFuture.runAsync(() -> ends.left.send(copy, List.of(a)));
      byte[] got = new byte[bytes.length];
      byte[] buffer = new byte[50_000];
      int at = 0;
      int descriptors = 0;
      while (at < got.length) {
        Received received = ends.right.receive(buffer);
        System.arraycopy(buffer, 0, got, at, received.bytes());
        at += received.bytes();
        descriptors += received.descriptors().size();
        received.closeDescriptors();
      }
      sender.get();
      assertThat(got).isEqualTo(bytes);
      assertThat(descriptors).as("sent once, with the first part").isOne();
    }
  }

  @Test
  void sendingToNobodyIsAnErrorAndNoSignal() {
    try (Ends ends = Ends.of(linux, SocketType.STREAM)) {
      ends.right.close();
      assertThatThrownBy(() -> ends.left.send(new byte[1])).hasMessageContaining("EPIPE");
    }
  }

  @Test
  void listensConnectsAndTellsThePeer(@TempDir Path directory) throws Exception {
    Path path = directory.resolve("sökct");
    try (UnixListener listener = linux.listen(path, 5)) {
      assertThatThrownBy(() -> linux.listen(path, 5))
          .hasMessageContaining("EADDRINUSE")
          .hasMessageContaining("remove");
      try (UnixSocket client = linux.connect(path);
          UnixSocket server = listener.accept().orElseThrow()) {
        client.send(new byte[] {5});
        byte[] one = new byte[1];
        assertThat(server.receive(one).bytes()).isOne();
        PeerCredentials me =
            new PeerCredentials(
                (int) ProcessHandle.current().pid(),
                linux.effectiveUser(),
                (int) Files.getAttribute(Path.of("/proc/self"), "unix:gid"));
        assertThat(server.peer()).isEqualTo(me);
        assertThat(client.peer()).isEqualTo(me);
        assertThat(linux.effectiveUser())
            .isEqualTo((int) Files.getAttribute(Path.of("/proc/self"), "unix:uid"));
      }
    }
    assertThat(path).as("stays for the caller to remove").exists();
    assertThatThrownBy(() -> linux.connect(path))
        .hasMessageContaining("ECONNREFUSED")
        .hasMessageContaining("Nobody");
    Files.delete(path);
    assertThatThrownBy(() -> linux.connect(path)).hasMessageContaining("ENOENT");
  }

  @Test
  void pathsOfUpTo107Bytes(@TempDir Path directory) {
    int room = 107 - directory.toString().length() - 1;
    Path longest = directory.resolve("x".repeat(room));
    try (UnixListener listener = linux.listen(longest, 1);
        UnixSocket client = linux.connect(longest)) {
      assertThat(listener.path()).isEqualTo(longest).exists();
      assertThat(client.fd().isOpen()).isTrue();
    }
    Path tooLong = directory.resolve("x".repeat(room + 1));
    assertThatThrownBy(() -> linux.listen(tooLong, 1))
        .hasMessageContaining("ENAMETOOLONG")
        .hasMessageContaining("108 bytes")
        .hasMessageContaining("107");
    assertThatThrownBy(() -> linux.connect(tooLong)).hasMessageContaining("ENAMETOOLONG");
  }

  @Test
  void shutdownWakesAReader() throws Exception {
    try (Ends ends = Ends.of(linux, SocketType.SEQPACKET)) {
      CompletableFuture<Received> reader =
          CompletableFuture.supplyAsync(() -> ends.right.receive(new byte[10]));
      awaitBlocked(reader);
      ends.right.shutdown();
      assertThat(reader.get().end()).isTrue();
      ends.right.close();
      ends.right.shutdown();
    }
  }

  @Test
  void shutdownWakesAnAcceptor(@TempDir Path directory) throws Exception {
    UnixListener listener = linux.listen(directory.resolve("s"), 5);
    CompletableFuture<Optional<UnixSocket>> acceptor =
        CompletableFuture.supplyAsync(listener::accept);
    awaitBlocked(acceptor);
    listener.shutdown();
    assertThat(acceptor.get()).isEmpty();
    assertThat(listener.accept()).isEmpty();
    listener.close();
    assertThat(listener.accept()).isEmpty();
    listener.shutdown();
  }

  @Test
  void pollTellsWhatCanBeRead() {
    try (Pipe one = linux.pipe();
        Pipe two = linux.pipe()) {
      List<Fd> both = List.of(one.reader(), two.reader());
      long start = System.nanoTime();
      assertThat(linux.poll(both, Duration.ofMillis(80))).isEmpty();
      assertThat(Duration.ofNanos(System.nanoTime() - start))
          .isGreaterThanOrEqualTo(Duration.ofMillis(80));
      linux.write(two.writer(), MemorySegment.ofArray(new byte[1]));
      assertThat(linux.poll(both, Duration.ofSeconds(Long.MAX_VALUE)))
          .containsExactly(two.reader());
      one.writer().close();
      assertThat(linux.poll(both, Duration.ofSeconds(-1)))
          .containsExactly(one.reader(), two.reader());
      assertThat(linux.poll(List.of(), Duration.ZERO)).isEmpty();
    }
  }

  /** Signals that keep coming must not prolong a wait. */
  @Test
  void pollKeepsItsTimeWhenInterrupted() {
    ScriptedKernel interrupting =
        new ScriptedKernel(
            (call, nth) -> {
              if (call != Call.PPOLL) {
                return java.util.OptionalLong.empty();
              }
              java.util.concurrent.locks.LockSupport.parkNanos(1_000_000);
              return nth < 1000
                  ? ScriptedKernel.failure(Errno.EINTR)
                  : java.util.OptionalLong.empty();
            });
    Linux interrupted = new Linux(interrupting);
    try (Pipe pipe = linux.pipe()) {
      long start = System.nanoTime();
      assertThat(interrupted.poll(List.of(pipe.reader()), Duration.ofMillis(1))).isEmpty();
      assertThat(System.nanoTime() - start).isGreaterThan(1_000_000);
      assertThat(interrupting.seen()).hasSizeLessThanOrEqualTo(1001);
    }
  }

  private static void awaitBlocked(CompletableFuture<?> task) throws InterruptedException {
    // There is no event for a thread having reached the kernel; too early only makes the test
    // easier.
    Thread.sleep(50);
    assertThat(task).isNotDone();
  }
}
