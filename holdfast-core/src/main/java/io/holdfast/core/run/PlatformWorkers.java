package io.holdfast.core.run;

import java.time.Instant;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/** Real time and platform threads, which end by themselves when idle. */
public final class PlatformWorkers implements Workers, AutoCloseable {
  private final AtomicInteger made = new AtomicInteger();
  private final ThreadPoolExecutor threads =
      new ThreadPoolExecutor(
          0,
          Integer.MAX_VALUE,
          60,
          TimeUnit.SECONDS,
          new SynchronousQueue<>(),
          // Not a builder's counter: its first name costs as much as ten classes.
          work ->
              Thread.ofPlatform()
                  .daemon()
                  .name("holdfast-worker-" + made.incrementAndGet())
                  .unstarted(work));

  /** No thread is started before one is needed. */
  public PlatformWorkers() {}

  @Override
  public long nanoTime() {
    return System.nanoTime();
  }

  @Override
  public Instant now() {
    return Instant.now();
  }

  @Override
  public void ready(int tasks) {
    // Core threads don't time out, so however long the brownout takes they are there for the
    // blackout.
    threads.setCorePoolSize(Math.max(0, tasks - 1));
    int _ = threads.prestartAllCoreThreads();
  }

  @Override
  public void together(List<Runnable> tasks) {
    int others = tasks.size() - 1;
    if (others > 0) {
      CountDownLatch left = new CountDownLatch(others);
      for (Runnable task : tasks.subList(0, others)) {
        threads.execute(
            () -> {
              try {
                task.run();
              } finally {
                left.countDown();
              }
            });
      }
      tasks.getLast().run();
      awaitUninterruptibly(left);
    } else if (others == 0) {
      tasks.getLast().run();
    }
  }

  @Override
  public Gate gate() {
    CountDownLatch latch = new CountDownLatch(1);
    return new Gate() {
      @Override
      public void open() {
        latch.countDown();
      }

      @Override
      public void await() {
        awaitUninterruptibly(latch);
      }
    };
  }

  private static void awaitUninterruptibly(CountDownLatch latch) {
    boolean interrupted = false;
    while (true) {
      try {
        latch.await();
        break;
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public Alarm alarm(Runnable ring) {
    return new WatchdogAlarm(ring);
  }

  @Override
  public void interrupt(Thread thread) {
    thread.interrupt();
  }

  @Override
  public void clearInterrupt() {
    boolean _ = Thread.interrupted();
  }

  /** Lets idle threads end. */
  @Override
  public void close() {
    threads.shutdown();
  }

  private static final class WatchdogAlarm implements Alarm {
    private final Runnable ring;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private boolean set;
    private long at;
    private boolean closed;

    WatchdogAlarm(Runnable ring) {
      this.ring = ring;
      Thread.ofPlatform().daemon().name("holdfast-watchdog").start(this::watch);
    }

    private void watch() {
      while (awaitTime()) {
        // Outside the lock: the ring takes locks whose holders set alarms.
        ring.run();
      }
    }

    /** Returns true when it is time to ring, false when the alarm is closed. */
    private boolean awaitTime() {
      lock.lock();
      try {
        while (!closed) {
          long left = at - System.nanoTime();
          if (set && left <= 0) {
            set = false;
            return true;
          }
          try {
            if (set) {
              long _ = changed.awaitNanos(left);
            } else {
              changed.await();
            }
          } catch (InterruptedException e) {
            // Nobody interrupts this thread; if someone does, the loop looks again.
          }
        }
        return false;
      } finally {
        lock.unlock();
      }
    }

    @Override
    public void set(long nanoTime) {
      lock.lock();
      try {
        // The watchdog is woken only when it would sleep too long; a wake-up costs the blackout
        // more than a look too early.
        boolean wake = !set || nanoTime - at < 0;
        at = nanoTime;
        set = true;
        if (wake) {
          changed.signal();
        }
      } finally {
        lock.unlock();
      }
    }

    @Override
    public void close() {
      lock.lock();
      try {
        closed = true;
        changed.signal();
      } finally {
        lock.unlock();
      }
    }
  }
}
