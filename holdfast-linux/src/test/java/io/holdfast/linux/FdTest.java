package io.holdfast.linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import io.holdfast.promise.Promise;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;

/** One owner, closed once, refused afterwards. */
class FdTest {
  private final Linux linux = Linux.system();

  @Test
  @Promise("linux-layer")
  void isRefusedAfterClose() {
    Fd fd = linux.memfd("a", 10);
    assertThat(fd.isOpen()).isTrue();
    fd.close();
    assertThat(fd.isOpen()).isFalse();
    assertThat(fd).hasToString("memfd a (closed)");
    assertThatIllegalStateException().isThrownBy(fd::number).withMessageContaining("memfd a");
    assertThatIllegalStateException().isThrownBy(fd::duplicate).withMessageContaining("memfd a");
    assertThatIllegalStateException().isThrownBy(fd::release).withMessageContaining("memfd a");
    assertThatIllegalStateException()
        .isThrownBy(() -> linux.size(fd))
        .withMessageContaining("memfd a");
  }

  @Test
  @Promise("linux-layer")
  void secondCloseDoesNotCloseWhatHasTheNumberNow() {
    Fd first = linux.memfd("first", 10);
    int number = first.number();
    first.close();
    try (Fd second = linux.memfd("second", 20)) {
      assertThat(second.number()).as("the kernel gives the lowest free number").isEqualTo(number);
      first.close();
      assertThat(linux.size(second)).isEqualTo(20);
    }
  }

  @Test
  @Promise("agent-can-die")
  void duplicatesAreOneOpenFileAndReopenedDescriptorsAreNot() {
    Linux before610 =
        new Linux(
            (call, a, b, c, d, e, f) ->
                call == Call.FCNTL && b == 1027
                    ? -Errno.EINVAL.number()
                    : Kernel.system().call(call, a, b, c, d, e, f));
    try (Fd memfd = linux.memfd("a", 10);
        Fd copy = memfd.duplicate();
        Fd anew = linux.reopen(memfd);
        Fd readable = linux.open(Path.of("/proc/self/fd/" + memfd.number()), OpenFlag.READ);
        Fd readableAnew = linux.reopen(readable)) {
      for (Linux each : List.of(linux, before610)) {
        assertThat(each.sameOpenFile(memfd, copy)).isTrue();
        assertThat(each.sameOpenFile(memfd, anew)).isFalse();
        assertThat(each.sameOpenFile(readable, readableAnew)).isFalse();
      }
      assertThat(linux.identity(anew)).isEqualTo(linux.identity(memfd));
      assertThatCode(() -> linux.resize(anew, 20)).doesNotThrowAnyException();
      assertThatExceptionOfType(SystemCallException.class)
          .as("it is as read-only as the other")
          .isThrownBy(() -> linux.resize(readableAnew, 30));
    }
    try (FdPair sockets = linux.socketPair(SocketType.STREAM)) {
      assertThatExceptionOfType(SystemCallException.class)
          .isThrownBy(() -> linux.reopen(sockets.left()))
          .satisfies(e -> assertThat(e.errno()).isEqualTo(Errno.ENXIO));
    }
  }

  @Test
  void duplicateOutlivesTheOriginalAndIsCloseOnExec() {
    Fd copy;
    FileIdentity identity;
    try (Fd fd = linux.memfd("a", 10)) {
      identity = linux.identity(fd);
      copy = fd.duplicate();
    }
    try (copy) {
      assertThat(linux.identity(copy)).isEqualTo(identity);
      assertThat(copy.what()).isEqualTo("memfd a");
      assertThat(Self.text("/proc/self/fdinfo/" + copy.number()))
          .containsPattern("flags:\\s+02\\d+");
    }
  }

  @Test
  void releasedIsTheCallers() {
    Fd fd = linux.memfd("a", 10);
    int number = fd.release();
    fd.close();
    assertThatIllegalStateException().isThrownBy(fd::number);
    try (Fd again = Fd.own(linux.kernel(), number, "again")) {
      assertThat(linux.size(again)).isEqualTo(10);
    }
  }

  @Test
  void ownsOnlyDescriptors() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Fd.own(linux.kernel(), -1, "nothing"))
        .withMessageContaining("nothing");
  }

  @Test
  @Promise("linux-layer")
  void manyThreadsThatCloseCloseOnce() throws InterruptedException {
    for (int round = 0; round < 200; round++) {
      ScriptedKernel kernel = ScriptedKernel.recording();
      Fd fd = new Linux(kernel).memfd("a", 10);
      CountDownLatch go = new CountDownLatch(1);
      List<Thread> threads = new ArrayList<>();
      for (int i = 0; i < 4; i++) {
        threads.add(
            Thread.ofPlatform()
                .start(
                    () -> {
                      await(go);
                      fd.close();
                    }));
      }
      go.countDown();
      for (Thread t : threads) {
        t.join();
      }
      assertThat(kernel.seen()).containsOnlyOnce(Call.CLOSE);
    }
  }

  @Test
  void isClosedAfterTheCallThatRunsOnIt() throws InterruptedException {
    CountDownLatch reached = new CountDownLatch(1);
    CountDownLatch goOn = new CountDownLatch(1);
    ScriptedKernel stopping =
        new ScriptedKernel(
            (call, nth) -> {
              if (call == Call.FSTAT) {
                reached.countDown();
                await(goOn);
              }
              return OptionalLong.empty();
            });
    Linux stopped = new Linux(stopping);
    Fd fd = stopped.memfd("a", 10);
    int number = fd.number();
    AtomicReference<Long> size = new AtomicReference<>(-1L);
    Thread caller = Thread.ofPlatform().start(() -> size.set(stopped.size(fd)));
    reached.await();

    fd.close();
    assertThat(fd.isOpen()).isFalse();
    assertThat(Self.descriptors()).containsKey(number);
    assertThatIllegalStateException().isThrownBy(() -> stopped.size(fd));

    goOn.countDown();
    caller.join();
    assertThat(size.get()).isEqualTo(10);
    assertThat(Self.descriptors()).doesNotContainKey(number);
    assertThat(stopping.seen()).containsOnlyOnce(Call.CLOSE);
  }

  /**
   * A call that runs while its descriptor is closed must never land on a file that got the number
   * meanwhile.
   */
  @Test
  @Promise("linux-layer")
  void closeNeverLetsACallLandOnAnotherFile() throws InterruptedException {
    // Time between taking the number and using it, for another thread to close and open.
    Linux slow =
        new Linux(
            new ScriptedKernel(
                (call, nth) -> {
                  if (call == Call.WRITE) {
                    LockSupport.parkNanos(10_000);
                  }
                  return OptionalLong.empty();
                }));
    byte[] mark = "mark".getBytes(StandardCharsets.UTF_8);
    AtomicReference<Fd> current = new AtomicReference<>(slow.memfd("written", 0));
    AtomicBoolean done = new AtomicBoolean();
    Thread writer =
        Thread.ofPlatform()
            .start(
                () -> {
                  while (!done.get()) {
                    try {
                      slow.write(current.get(), MemorySegment.ofArray(mark));
                    } catch (IllegalStateException closedMeanwhile) {
                      Thread.onSpinWait();
                    }
                  }
                });
    try {
      for (int i = 0; i < 2000; i++) {
        current.get().close();
        try (Fd victim = linux.memfd("victim", 0)) {
          current.set(slow.memfd("written", 0));
          LockSupport.parkNanos(10_000);
          assertThat(linux.size(victim)).as("bytes written to another file, round %d", i).isZero();
        }
      }
    } finally {
      done.set(true);
      writer.join();
      current.get().close();
    }
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }
}
