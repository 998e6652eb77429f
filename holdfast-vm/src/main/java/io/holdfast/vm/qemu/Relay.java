package io.holdfast.vm.qemu;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixSocket;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Carries the device state from the predecessor to the successor and keeps a copy, so that a
 * successor that dies between the commit and its first instruction can be started again from the
 * same state.
 *
 * <p>The thread is there and waits before the guest stops; in the blackout it only moves bytes, as
 * they come.
 */
public final class Relay implements AutoCloseable {
  private static final int CHUNK = 256 * 1024;

  private final Linux linux;
  private final UnixSocket from;
  private final UnixSocket to;
  private final CompletableFuture<Long> moved = new CompletableFuture<>();

  /**
   * Starts relaying.
   *
   * <p>It works with duplicates of what it is given, and closes them at the end of the stream.
   *
   * @param from where the predecessor writes; borrowed
   * @param to where the successor reads; borrowed
   * @param copy an empty file that gets the same bytes; borrowed
   * @throws SystemCallException EMFILE; nothing is open then
   */
  public Relay(Linux linux, Fd from, Fd to, Fd copy) {
    this.linux = linux;
    List<Fd> mine = new ArrayList<>();
    boolean done = false;
    try {
      for (Fd each : List.of(from, to, copy)) {
        mine.add(each.duplicate());
      }
      done = true;
    } finally {
      if (!done) {
        mine.forEach(Fd::close);
      }
    }
    this.from = linux.adopt(mine.get(0));
    this.to = linux.adopt(mine.get(1));
    Fd kept = mine.get(2);
    Thread.ofPlatform().daemon().name("device state").stackSize(256 * 1024).start(() -> run(kept));
  }

  private void run(Fd copy) {
    boolean _ = linux.nice(0, Urgency.MOST);
    try (Arena arena = Arena.ofConfined();
        copy;
        from;
        to) {
      MemorySegment buffer = arena.allocate(CHUNK);
      long total = 0;
      while (true) {
        int bytes = linux.read(from.fd(), buffer);
        if (bytes == 0) {
          break;
        }
        // First to the successor: it loads while the copy is written.
        to.send(buffer.asSlice(0, bytes), List.of());
        linux.write(copy, buffer.asSlice(0, bytes));
        total += bytes;
      }
      moved.complete(total);
    } catch (SystemCallException | IllegalStateException e) {
      moved.completeExceptionally(e);
    }
  }

  /**
   * Waits until the predecessor has written everything and the copy has all of it.
   *
   * @return the device state's size in bytes
   * @throws IOException if either side went away, or {@code timeout} has passed
   */
  public long await(Duration timeout) throws IOException {
    try {
      return moved.get(Math.max(1, timeout.toNanos()), TimeUnit.NANOSECONDS);
    } catch (TimeoutException e) {
      throw new IOException(
          "the device state did not arrive within " + timeout.toMillis() + " ms", e);
    } catch (ExecutionException e) {
      throw new IOException("the device state got lost on its way: " + e.getCause(), e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted while the device state was on its way", e);
    }
  }

  /**
   * Ends both streams, so that the thread that may still wait on them returns. Does nothing after
   * the end.
   */
  @Override
  public void close() {
    from.shutdown();
    to.shutdown();
  }
}
