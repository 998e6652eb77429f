package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Every operation, with each of its calls refused in turn: it fails with that error, and leaves no
 * descriptor, mapping, process or socket file. And with each of its calls interrupted by a signal
 * in turn: it succeeds.
 */
@Timeout(60)
class RefusalTest {
  private static final int SELF = (int) ProcessHandle.current().pid();

  /**
   * Calls that free something: an operation that has done its work does not fail because of them.
   */
  private static final Set<Call> FREEING =
      EnumSet.of(
          Call.CLOSE,
          Call.MUNMAP,
          Call.POSIX_SPAWNATTR_DESTROY,
          Call.POSIX_SPAWN_FILE_ACTIONS_DESTROY);

  /** An error that no operation treats as an ordinary outcome. */
  private static final Errno REFUSED = Errno.EIO;

  private static final InetSocketAddress LOOPBACK =
      new InetSocketAddress(InetAddress.getLoopbackAddress(), 0);

  @TempDir Path directory;

  /**
   * What an operation works on: made through the real kernel, so that only the operation's own
   * calls are refused.
   */
  private final Linux real = Linux.system();

  /** Does something through {@code linux} and closes what it got. */
  private interface Operation {
    void run(Linux linux) throws IOException;
  }

  @TestFactory
  @Promise("linux-layer")
  Stream<DynamicTest> refusedAndInterrupted() {
    return operations().entrySet().stream()
        .map(e -> dynamicTest(e.getKey(), () -> refuseEachCall(e.getKey(), e.getValue())));
  }

  private Map<String, Operation> operations() {
    byte[] bytes = {1, 2, 3};
    MemorySegment memory = MemorySegment.ofArray(bytes);
    return Map.ofEntries(
        Map.entry("memfd", l -> l.memfd("a", 4096, MemfdOption.ALLOW_SEALING).close()),
        Map.entry("duplicate", l -> with(l, fd -> fd.duplicate().close())),
        Map.entry(
            "seals",
            l ->
                with(
                    l,
                    fd -> {
                      l.seal(fd, Set.of(Seal.SHRINK));
                      assertThat(l.seals(fd)).containsExactly(Seal.SHRINK);
                    })),
        Map.entry(
            "map",
            l ->
                with(
                    l,
                    fd -> {
                      try (Mapping mapping = l.map(fd, 0, 4096, Protection.WRITE)) {
                        mapping.populate();
                      }
                    })),
        Map.entry("open", l -> l.open(Path.of("/proc/self/stat")).close()),
        Map.entry("reopen", l -> with(l, fd -> l.reopen(SELF, fd.number()).close())),
        Map.entry("size", l -> with(l, l::size)),
        Map.entry("identity", l -> with(l, l::identity)),
        Map.entry("resize", l -> with(l, fd -> l.resize(fd, 8192))),
        Map.entry("allocate", l -> with(l, fd -> l.allocate(fd, 0, 4096))),
        Map.entry("write", l -> with(l, fd -> l.write(fd, memory))),
        Map.entry("read", l -> with(l, fd -> l.read(fd, MemorySegment.ofArray(new byte[3])))),
        Map.entry("seek", l -> with(l, fd -> l.seek(fd, 5))),
        Map.entry("position", l -> with(l, l::position)),
        Map.entry("sync", l -> with(l, l::sync)),
        Map.entry("eventfd", l -> l.eventfd().close()),
        Map.entry("nice", l -> l.nice(0, 0)),
        Map.entry("nextData", l -> with(l, fd -> l.nextData(fd, 0))),
        Map.entry("nextHole", l -> with(l, fd -> l.nextHole(fd, 0))),
        Map.entry("pipe", l -> l.pipe().close()),
        Map.entry("queue", l -> l.queue(8192).close()),
        Map.entry("nonblocking", l -> with(l, l::nonblocking)),
        Map.entry(
            "splice",
            l -> {
              try (FdPair pair = real.socketPair(SocketType.STREAM);
                  Fd queue = real.queue(4096);
                  Fd from = Fd.own(l.kernel(), pair.left().release(), "left")) {
                real.write(pair.right(), memory);
                assertThat(l.splice(from, queue, 3)).hasValue(3);
                with(
                    l,
                    file -> {
                      Fd mine = Fd.own(l.kernel(), queue.duplicate().release(), "queue");
                      try (mine) {
                        assertThat(l.spliceTo(mine, file, 0, 3)).hasValue(3);
                      }
                      real.nonblocking(pair.right());
                      try (Fd to = Fd.own(l.kernel(), pair.right().duplicate().release(), "to")) {
                        assertThat(l.sendFile(to, file, 0, 3)).hasValue(3);
                      }
                    });
              }
            }),
        Map.entry(
            "terminal",
            l -> {
              int number = real.open(Path.of("/dev/ptmx"), OpenFlag.READ, OpenFlag.WRITE).release();
              try (Fd fd = Fd.own(l.kernel(), number, "terminal")) {
                Terminal terminal = l.terminal(fd).orElseThrow();
                terminal.raw();
                terminal.restore();
              }
            }),
        Map.entry(
            "poll for each",
            l ->
                with(
                    l,
                    fd ->
                        assertThat(
                                l.poll(
                                    Map.of(fd, Set.of(Readiness.READABLE)), Duration.ofSeconds(1)))
                            .hasSize(1))),
        Map.entry("socketPair", l -> l.socketPair(SocketType.STREAM).close()),
        Map.entry(
            "send and receive",
            l -> {
              try (FdPair pair = real.socketPair(SocketType.SEQPACKET);
                  Fd fd = real.memfd("sent", 1);
                  UnixSocket left = l.adopt(Fd.own(l.kernel(), pair.left().release(), "left"));
                  UnixSocket right = l.adopt(Fd.own(l.kernel(), pair.right().release(), "right"))) {
                left.send(bytes, 0, 3, List.of(fd));
                right.peekFrom(-1);
                right.peek(new byte[3]).orElseThrow().closeDescriptors();
                right.receive(new byte[3]).closeDescriptors();
                assertThat(right.peer().pid()).isEqualTo(SELF);
                left.shutdown();
              }
            }),
        Map.entry(
            "listen",
            l -> {
              Path path = directory.resolve("listen");
              l.listen(path, 1).close();
              Files.delete(path);
            }),
        Map.entry(
            "accept",
            l -> {
              Path path = directory.resolve("accept");
              try (UnixListener made = real.listen(path, 1);
                  UnixSocket client = real.connect(path);
                  UnixListener listener =
                      new UnixListener(
                          new Calls(l.kernel()),
                          path,
                          Fd.own(l.kernel(), made.fd().release(), "l"))) {
                assertThat(client.fd().isOpen()).isTrue();
                listener.accept().orElseThrow().close();
                listener.shutdown();
              } finally {
                Files.delete(path);
              }
            }),
        Map.entry(
            "connect",
            l -> {
              Path path = directory.resolve("connect");
              try (UnixListener listener = real.listen(path, 1)) {
                assertThat(listener.fd().isOpen()).isTrue();
                l.connect(path).close();
              } finally {
                Files.delete(path);
              }
            }),
        Map.entry(
            "poll",
            l -> with(l, fd -> assertThat(l.poll(List.of(fd), Duration.ofSeconds(1))).hasSize(1))),
        Map.entry(
            "spawn",
            l ->
                with(
                    l,
                    fd -> {
                      try (ChildProcess child =
                          l.spawn(
                              SpawnRequest.of(List.of("true"))
                                  .withInherited(Map.of(5, fd))
                                  .withOutput(fd))) {
                        // Reaped through the real kernel: refusing that is the next operation's
                        // matter.
                        try (ChildProcess reaped =
                            new ChildProcess(new Calls(real.kernel()), real.pidfd(child.pid()))) {
                          assertThat(reaped.waitFor().success()).isTrue();
                        }
                      }
                    })),
        Map.entry(
            "child",
            l -> {
              try (ChildProcess child = real.spawn(SpawnRequest.of(List.of("sleep", "100")));
                  PidFd handle = real.pidfd(child.pid());
                  PidFd refused = new PidFd(new Calls(l.kernel()), child.pid(), handle.fd());
                  ChildProcess reaped = new ChildProcess(new Calls(l.kernel()), refused)) {
                try {
                  refused.take(0).close();
                  refused.signal(Signal.KILL);
                  assertThat(refused.awaitExit(Duration.ofSeconds(20))).isTrue();
                  assertThat(reaped.reap()).contains(new ExitStatus.Killed(9));
                } finally {
                  child.pidfd().signal(Signal.KILL);
                  try {
                    child.waitFor();
                  } catch (SystemCallException e) {
                    assertThat(e.errno()).isEqualTo(Errno.ECHILD); // reaped above
                  }
                }
              }
            }),
        Map.entry("pidfd", l -> l.pidfd(SELF).close()),
        Map.entry(
            "networkInterface",
            l -> {
              NetworkInterface loopback = l.networkInterface("lo");
              assertThat(loopback.exists()).isTrue();
              assertThat(loopback.mtu()).isPositive();
              assertThat(loopback.isBridge()).isFalse();
            }),
        Map.entry(
            "tcp",
            l -> {
              try (TcpListener listener = l.listen(LOOPBACK, 1);
                  TcpSocket client = l.connect(listener.address())) {
                assertThat(l.poll(List.of(listener.fd()), Duration.ofSeconds(10))).hasSize(1);
                try (TcpSocket server = listener.acceptNow().orElseThrow();
                    Arena arena = Arena.ofConfined()) {
                  client.check();
                  assertThat(client.sendNow(arena.allocate(3))).isEqualTo(3);
                  client.finishSending();
                  assertThat(l.poll(List.of(server.fd()), Duration.ofSeconds(10))).hasSize(1);
                  assertThat(server.receiveNow(arena.allocate(8))).hasValue(3);
                  server.resetOnClose();
                }
              }
            }),
        Map.entry(
            "realTime",
            l -> {
              // On a thread of its own, which takes the priority with it.
              Throwable[] failed = {null};
              Thread t =
                  Thread.ofPlatform()
                      .start(
                          () -> {
                            try {
                              l.realTime(1);
                            } catch (RuntimeException e) {
                              failed[0] = e;
                            }
                          });
              join(t);
              if (failed[0] instanceof RuntimeException e) {
                throw e;
              }
            }));
  }

  private void refuseEachCall(String name, Operation operation) throws IOException {
    ScriptedKernel recording = ScriptedKernel.recording();
    operation.run(new Linux(recording));
    List<Call> calls = recording.seen();
    assertThat(calls).isNotEmpty();
    var descriptors = Self.descriptors();
    long mappings = Self.memfdMappings();
    Set<Integer> children = Self.children();

    for (int i = 0; i < calls.size(); i++) {
      Call call = calls.get(i);
      if (call == Call.CLOSE) {
        continue; // refusing a close would leave the descriptor open by the test's own doing
      }
      Linux refusing = new Linux(ScriptedKernel.refusing(i, REFUSED));
      if (FREEING.contains(call)) {
        if (call != Call.MUNMAP) {
          assertThatCode(() -> operation.run(refusing))
              .as("%s, refused %s", name, call)
              .doesNotThrowAnyException();
        }
      } else {
        assertThatThrownBy(() -> operation.run(refusing))
            .as("%s, refused %s", name, call)
            .isInstanceOfSatisfying(
                SystemCallException.class,
                e -> {
                  assertThat(e.call()).isEqualTo(call);
                  assertThat(e.errno()).isEqualTo(REFUSED);
                });
      }
      String where = name + " after " + call + " was refused";
      assertThat(Self.descriptors()).as(where).isEqualTo(descriptors);
      assertThat(Self.memfdMappings()).as(where).isEqualTo(mappings);
      assertThat(Self.children()).as(where).isEqualTo(children);
      assertThat(directory).as(where).isEmptyDirectory();

      int interrupted = i;
      Set<Integer> once = new HashSet<>();
      Linux interrupting =
          new Linux(
              new ScriptedKernel(
                  (c, nth) ->
                      nth == interrupted && once.add(nth)
                          ? ScriptedKernel.failure(Errno.EINTR)
                          : OptionalLong.empty()));
      assertThatCode(() -> operation.run(interrupting))
          .as("%s, interrupted %s", name, call)
          .doesNotThrowAnyException();
      assertThat(once).as("%s did reach %s", name, call).isNotEmpty();
      assertThat(Self.descriptors())
          .as("%s after %s was interrupted", name, call)
          .isEqualTo(descriptors);
    }
  }

  private interface OnFd {
    void run(Fd fd) throws IOException;
  }

  /** A descriptor made through the real kernel and used through the scripted one. */
  private void with(Linux linux, OnFd what) throws IOException {
    int number = real.memfd("used", 4096, MemfdOption.ALLOW_SEALING).release();
    try (Fd fd = Fd.own(linux.kernel(), number, "used")) {
      what.run(fd);
    }
  }

  private static void join(Thread thread) {
    try {
      thread.join();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }
}
