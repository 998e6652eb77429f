package io.holdfast.cli;

import java.io.IOException;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;

/**
 * One file of the debug view. To look at it pins a generation of it: its size, and what an open
 * serves. There is one generation at a time, because the kernel caches pages and size by file: who
 * looks when there is something new is given that, once nobody needs the one before. Those are who
 * has it open, and who has looked and may be about to open it.
 *
 * <p>Any thread may call it.
 */
final class Pinned {
  /** What a file consists of at the moment. */
  interface Source {
    /**
     * Asks for it.
     *
     * @return the caller's to close
     * @throws java.nio.file.NoSuchFileException if there is no such file any more
     */
    Content get() throws IOException;
  }

  /**
   * A generation.
   *
   * @param since when it was first seen
   */
  record Generation(Content content, Instant since) {}

  private static final Duration GRACE = Duration.ofMillis(500);

  private final Source source;
  private final long grace;

  /** Held by the one who asks what there is now, and waits until that may be given. */
  private final ReentrantLock looking = new ReentrantLock();

  private Optional<Generation> current = Optional.empty();

  /** Who looked and has not opened yet, and until when that counts. */
  private final Map<Integer, Long> promises = new HashMap<>();

  /** Who has opened and not closed it, and how often. */
  private final Map<Integer, Integer> openers = new HashMap<>();

  private int opens;
  private long opened;
  private boolean retired;

  Pinned(Source source) {
    this(source, GRACE);
  }

  /**
   * Makes a file that nobody has looked at.
   *
   * @param grace how long who has looked may take to open it; and who has had it open for so long
   *     is not waited for: others are given what that one has
   */
  Pinned(Source source, Duration grace) {
    this.source = source;
    this.grace = grace.toNanos();
  }

  /**
   * Pins what there is now.
   *
   * @param thread the number of the thread that looks
   * @return empty if this object is not in use any more, and another one is to be asked
   * @throws IOException as {@link Source#get}; what was pinned stays so for who has it
   */
  Optional<Generation> look(int thread) throws IOException {
    synchronized (this) {
      if (promised(thread) || openers.containsKey(thread)) {
        return current;
      }
    }
    looking.lock();
    try {
      while (true) {
        synchronized (this) {
          if (retired) {
            return Optional.empty();
          }
        }
        Content now = source.get();
        boolean taken = false;
        try {
          synchronized (this) {
            boolean news = current.filter(each -> each.content().same(now)).isEmpty();
            if (!news || held()) {
              return promise(thread);
            }
            long busy = busyUntil();
            if (busy == 0) {
              drop();
              current = Optional.of(new Generation(now, Instant.now()));
              taken = true;
              return promise(thread);
            }
            long nanos = busy - System.nanoTime();
            if (nanos > 0) {
              wait(nanos / 1_000_000, (int) (nanos % 1_000_000));
            }
          }
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          throw new IOException("interrupted", e);
        } finally {
          if (!taken) {
            now.close();
          }
        }
      }
    } finally {
      looking.unlock();
    }
  }

  private boolean promised(int thread) {
    Long until = promises.get(thread);
    return until != null && current.isPresent() && until - System.nanoTime() > 0;
  }

  private Optional<Generation> promise(int thread) {
    promises.put(thread, System.nanoTime() + grace);
    return current;
  }

  /** Whether somebody has had it open for longer than is waited for. */
  private boolean held() {
    return opens > 0 && System.nanoTime() - opened > grace;
  }

  /** Until when somebody needs the generation that there is; 0 if nobody does. */
  private long busyUntil() {
    long now = System.nanoTime();
    promises.values().removeIf(until -> until - now <= 0);
    if (opens > 0) {
      return opened + grace + 1_000_000;
    }
    return promises.values().stream().mapToLong(Long::longValue).max().orElse(0);
  }

  /**
   * Opens what this thread has looked at; to be given back by {@link #release}.
   *
   * @return empty if that is not the generation any more: the thread must look again, or it would
   *     take one's size for another's
   */
  synchronized Optional<Generation> open(int thread) {
    if (!promised(thread)) {
      return Optional.empty();
    }
    promises.remove(thread);
    openers.merge(thread, 1, Integer::sum);
    if (opens++ == 0) {
      opened = System.nanoTime();
    }
    notifyAll();
    return current;
  }

  /**
   * The thread that opened it has closed it: what it looks at next is what there is then. Others
   * may still have what it opened.
   */
  synchronized void close(int thread) {
    int times = openers.getOrDefault(thread, 0);
    if (times > 1) {
      openers.put(thread, times - 1);
    } else {
      openers.remove(thread);
    }
  }

  /** Gives back what {@link #open} gave, after {@link #close}: nobody has it any more. */
  synchronized void release() {
    opens--;
    notifyAll();
  }

  /**
   * Lets go of what nobody needs.
   *
   * @return whether this object is not in use any more
   */
  boolean retire() {
    if (!looking.tryLock()) {
      return false;
    }
    try {
      synchronized (this) {
        retired = opens == 0 && busyUntil() == 0;
        if (retired) {
          drop();
        }
        return retired;
      }
    } finally {
      looking.unlock();
    }
  }

  private void drop() {
    current.ifPresent(each -> each.content().close());
    current = Optional.empty();
    promises.clear();
  }
}
