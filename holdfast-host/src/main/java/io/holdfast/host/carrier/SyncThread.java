package io.holdfast.host.carrier;

import io.holdfast.core.Step;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;

/**
 * Writes out all file systems, and stops waiting for that at a deadline: on storage that hangs
 * sync(2) does not return, and nothing can end it.
 *
 * <p>The thread that makes the call is started before the blackout; one whose call hangs is left
 * behind.
 */
final class SyncThread implements AutoCloseable {
  /** Types of file systems whose storage is another machine's or program's (mount(8)). */
  private static final Set<String> REMOTE =
      Set.of("9p", "afs", "ceph", "cifs", "glusterfs", "nfs", "nfs4", "smb3", "virtiofs");

  /**
   * Before the deadline of a step, at which its thread is interrupted, so that the reason is told.
   */
  private static final Duration MARGIN = Duration.ofMillis(300);

  private final BlockingQueue<CompletableFuture<Boolean>> wanted = new LinkedBlockingQueue<>();
  private final Thread thread;

  SyncThread(Linux linux) {
    thread = Thread.ofPlatform().daemon().name("sync").start(() -> run(linux));
  }

  private void run(Linux linux) {
    try {
      while (true) {
        CompletableFuture<Boolean> done = wanted.take();
        try {
          linux.mounts().sync();
          boolean _ = done.complete(true);
        } catch (SystemCallException e) {
          boolean _ = done.completeExceptionally(e);
        }
      }
    } catch (InterruptedException e) {
      // Closed.
      Thread.currentThread().interrupt();
    }
  }

  /**
   * Writes out all file systems.
   *
   * @throws IOException if that failed, or has not ended shortly before the step's deadline
   */
  void sync(Step step) throws IOException {
    sync(step.remaining().minus(MARGIN));
  }

  /** As {@link #sync(Step)}, within {@code limit}. */
  void sync(Duration limit) throws IOException {
    CompletableFuture<Boolean> done = new CompletableFuture<>();
    wanted.add(done);
    try {
      boolean _ = done.get(Math.max(1, limit.toNanos()), TimeUnit.NANOSECONDS);
    } catch (TimeoutException e) {
      String remote = remote();
      throw new IOException(
          "the file systems are not written out within "
              + limit.toMillis()
              + " ms: storage is slow or hangs; repair or unmount it, then update again"
              + (remote.isEmpty() ? "" : ". On remote storage are: " + remote),
          e);
    } catch (ExecutionException e) {
      throw new IOException("the file systems cannot be written out: " + e.getCause(), e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while the file systems were written out", e);
    }
  }

  /** Mount points of remote file systems. Reading them touches none. */
  private static String remote() throws IOException {
    return Files.readAllLines(Path.of("/proc/self/mounts"), StandardCharsets.ISO_8859_1).stream()
        .map(line -> line.split(" ", -1))
        .filter(fields -> REMOTE.contains(fields[2]) || fields[2].startsWith("fuse"))
        .map(fields -> fields[1] + " (" + fields[2] + ")")
        .collect(Collectors.joining(", "));
  }

  /** Ends the thread, unless its call hangs. */
  @Override
  public void close() {
    thread.interrupt();
  }
}
