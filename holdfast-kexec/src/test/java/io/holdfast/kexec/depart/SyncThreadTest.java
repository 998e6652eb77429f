package io.holdfast.kexec.depart;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Call;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

@Promise("slow-is-not-dead")
final class SyncThreadTest {
  private final CountDownLatch mended = new CountDownLatch(1);
  private final AtomicInteger calls = new AtomicInteger();

  /** A kernel on which sync hangs until the storage is mended. */
  private long call(Call call, long a, long b, long c, long d, long e, long f) {
    if (call != Call.SYNC) {
      return Kernel.system().call(call, a, b, c, d, e, f);
    }
    int _ = calls.incrementAndGet();
    boolean waited = false;
    while (!waited) {
      try {
        mended.await();
        waited = true;
      } catch (InterruptedException _) {
        // As in the kernel, nothing ends it.
      }
    }
    return 0;
  }

  @Test
  void storageThatHangsIsNotWaitedForBeyondTheDeadline() throws IOException {
    try (SyncThread thread = new SyncThread(new Linux(this::call))) {
      assertThatThrownBy(() -> thread.sync(Duration.ofMillis(50)))
          .isInstanceOf(IOException.class)
          .hasMessageContaining("writing out the file systems does not end within 50 ms")
          .hasMessageContaining("unmount it");
      mended.countDown();
      thread.sync(Duration.ofMinutes(1));
      assertThat(calls).hasValue(2);
    }
  }

  @Test
  void writesOutTheRealFileSystems() throws IOException {
    try (SyncThread thread = new SyncThread(Linux.system())) {
      thread.sync(Duration.ofMinutes(5));
    }
  }
}
