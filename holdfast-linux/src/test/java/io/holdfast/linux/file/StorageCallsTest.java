package io.holdfast.linux.file;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.file.NoSuchFileException;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
@Promise("slow-is-not-dead")
class StorageCallsTest {
  private static final Duration LONG = Duration.ofMinutes(1);

  private final Set<Thread> threads = ConcurrentHashMap.newKeySet();
  private final CountDownLatch answers = new CountDownLatch(1);
  private final AtomicInteger made = new AtomicInteger();

  /** As a system call on storage that hangs, which no interrupt ends. */
  private int hang() {
    threads.add(Thread.currentThread());
    boolean done = false;
    while (!done) {
      try {
        answers.await();
        done = true;
      } catch (InterruptedException _) {
        // As in the kernel.
      }
    }
    return made.incrementAndGet();
  }

  private int make() {
    threads.add(Thread.currentThread());
    return made.incrementAndGet();
  }

  @Test
  void stopsWaitingAndHasOneThreadHoweverOftenItIsCalled() throws IOException {
    try (StorageCalls calls = new StorageCalls("storage")) {
      assertThatThrownBy(() -> calls.make("reading a file", Duration.ofMillis(20), this::hang))
          .isInstanceOf(StorageHangsException.class)
          .hasMessageContaining("reading a file does not end within 20 ms")
          .hasMessageContaining("repair or unmount it");
      for (int i = 0; i < 10; i++) {
        assertThatThrownBy(() -> calls.make("reading it", Duration.ZERO, this::make))
            .isInstanceOf(StorageHangsException.class);
      }
      answers.countDown();
      // What nobody waits for any more is not done late.
      assertThat(calls.make("reading it again", LONG, this::make)).isEqualTo(2);
      assertThat(threads).hasSize(1);
    }
  }

  @Test
  void closesAResultThatComesTooLate() throws IOException {
    CountDownLatch closed = new CountDownLatch(1);
    try (StorageCalls calls = new StorageCalls("storage")) {
      assertThatThrownBy(
              () ->
                  calls.<AutoCloseable>make(
                      "opening",
                      Duration.ofMillis(20),
                      () -> {
                        int _ = hang();
                        return closed::countDown;
                      }))
          .isInstanceOf(StorageHangsException.class);
      answers.countDown();
      assertThat(calls.make("reading", LONG, this::make)).isEqualTo(2);
      assertThat(closed.getCount()).isZero();
    }
  }

  @Test
  void throwsWhatTheCallThrows() throws IOException {
    try (StorageCalls calls = StorageCalls.started("storage")) {
      assertThatThrownBy(
              () ->
                  calls.make(
                      "reading",
                      LONG,
                      () -> {
                        throw new NoSuchFileException("gone");
                      }))
          .isInstanceOf(NoSuchFileException.class);
      assertThatThrownBy(
              () ->
                  calls.make(
                      "reading",
                      LONG,
                      () -> {
                        throw new IllegalStateException("wrong");
                      }))
          .isInstanceOf(IllegalStateException.class);
      assertThat(calls.make("reading", LONG, this::make)).isEqualTo(1);
    }
  }

  @Test
  void endsWhenItsCallerIsInterrupted() {
    try (StorageCalls calls = new StorageCalls("storage")) {
      Thread.currentThread().interrupt();
      assertThatThrownBy(() -> calls.make("reading", LONG, this::hang))
          .isInstanceOf(IOException.class)
          .hasMessageContaining("reading was interrupted");
      assertThat(Thread.interrupted()).isTrue();
      answers.countDown();
    }
  }
}
