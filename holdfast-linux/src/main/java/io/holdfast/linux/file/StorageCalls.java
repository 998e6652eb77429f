package io.holdfast.linux.file;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;

/**
 * Makes calls that wait for storage, such as stat(2) or sync(2), and stops waiting for one at a
 * limit. On storage that hangs such a call does not return, and nothing can end it.
 *
 * <p>The calls run on one thread, which ends when it has been idle for a while. A call that hangs
 * leaves that thread behind until storage answers, and the next calls wait for it in vain: an
 * object never has more than one thread. May be used by several threads.
 */
public final class StorageCalls implements AutoCloseable {
  /** Types of file systems whose storage is another machine's or program's (mount(8)). */
  private static final Set<String> REMOTE =
      Set.of("9p", "afs", "ceph", "cifs", "glusterfs", "nfs", "nfs4", "smb3", "virtiofs");

  /** Longer than an update waits between its brownout and its blackout. */
  private static final Duration IDLE = Duration.ofMinutes(5);

  private static final int PARTS = 4;

  private final ThreadPoolExecutor executor;

  /**
   * A call that waits for storage.
   *
   * @param <T> its result
   */
  public interface Call<T> {
    /**
     * Makes the call.
     *
     * @throws IOException if it fails
     */
    T make() throws IOException;
  }

  /**
   * Starts no thread yet.
   *
   * @param name of the thread
   */
  public StorageCalls(String name) {
    this(name, true);
  }

  private StorageCalls(String name, boolean ends) {
    executor =
        new ThreadPoolExecutor(
            1,
            1,
            IDLE.toSeconds(),
            TimeUnit.SECONDS,
            new LinkedBlockingQueue<>(),
            Thread.ofPlatform().daemon().name(name).factory());
    executor.allowCoreThreadTimeOut(ends);
  }

  /** Starts a thread that does not end before {@link #close}, however long it is idle. */
  public static StorageCalls started(String name) {
    StorageCalls calls = new StorageCalls(name, false);
    boolean _ = calls.executor.prestartCoreThread();
    return calls;
  }

  /**
   * Makes a call on the thread.
   *
   * @param what the call does, as the subject of a message: "comparing the images"
   * @param limit how long to wait; a limit that is not positive counts as 1 ms
   * @param call whose result is the caller's; one that comes too late is closed if it can be
   * @throws StorageHangsException if the call did not return in time; it is not made any more if it
   *     had not begun
   * @throws IOException what the call throws, or if the calling thread was interrupted, which it
   *     still is then
   */
  public <T> T make(String what, Duration limit, Call<T> call) throws IOException {
    Duration wait = limit.compareTo(Duration.ofMillis(1)) < 0 ? Duration.ofMillis(1) : limit;
    CompletableFuture<T> done = new CompletableFuture<>();
    executor.execute(() -> make(call, done));
    try {
      return await(done, wait);
    } catch (TimeoutException e) {
      if (!done.cancel(false) && done.state() == Future.State.SUCCESS) {
        return done.resultNow();
      }
      throw new StorageHangsException(
          what
              + " does not end within "
              + wait.toMillis()
              + " ms: storage is slow or hangs; repair or unmount it, then try again"
              + remote(),
          e);
    } catch (ExecutionException e) {
      if (e.getCause() instanceof IOException failure) {
        throw failure;
      }
      if (e.getCause() instanceof RuntimeException failure) {
        throw failure;
      }
      throw new IOException(what + " failed: " + e.getCause(), e);
    } catch (InterruptedException e) {
      boolean _ = done.cancel(false);
      Thread.currentThread().interrupt();
      throw new IOException(what + " was interrupted", e);
    }
  }

  /**
   * Waits in several parts. If this process is stopped for a while (SIGSTOP, a host that swaps),
   * the part that has begun is over when it goes on, and the call has the others.
   */
  private static <T> T await(CompletableFuture<T> done, Duration limit)
      throws InterruptedException, ExecutionException, TimeoutException {
    long part = limit.toNanos() / PARTS;
    for (int i = 1; i < PARTS; i++) {
      try {
        return done.get(part, TimeUnit.NANOSECONDS);
      } catch (TimeoutException _) {
        // The next part.
      }
    }
    return done.get(part, TimeUnit.NANOSECONDS);
  }

  private static <T> void make(Call<T> call, CompletableFuture<T> done) {
    if (done.isDone()) {
      return;
    }
    try {
      T result = call.make();
      if (!done.complete(result) && result instanceof AutoCloseable late) {
        late.close();
      }
    } catch (Throwable e) {
      boolean _ = done.completeExceptionally(e);
    }
  }

  /** The mount points of remote file systems, as the end of a message. Touches none of them. */
  private static String remote() throws IOException {
    String remote =
        Files.readAllLines(Path.of("/proc/self/mounts"), StandardCharsets.ISO_8859_1).stream()
            .map(line -> line.split(" ", -1))
            .filter(fields -> REMOTE.contains(fields[2]) || fields[2].startsWith("fuse"))
            .map(fields -> fields[1] + " (" + fields[2] + ")")
            .collect(Collectors.joining(", "));
    return remote.isEmpty() ? "" : ". On remote storage are: " + remote;
  }

  /** Ends the thread once its calls have returned. */
  @Override
  public void close() {
    executor.shutdown();
  }
}
