package io.holdfast.core.run;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Virtual time: real threads of which one runs at a time, handing over when it sleeps, waits or
 * ends. Time passes only when all sleep, so that a run is the same every time.
 */
@SuppressWarnings(
    "LockNotBeforeTry") // Some sections are one statement, and some let go of the lock in between.
final class VirtualWorkers implements Workers {
  private final ReentrantLock lock = new ReentrantLock();
  private final List<Node> nodes = new ArrayList<>();
  private final List<VirtualAlarm> alarms = new ArrayList<>();
  private long now = 1_000_000_000L;
  private @Nullable Node current;
  private @Nullable String deadlock;

  private final class Node {
    final Thread thread;
    final Condition turn = lock.newCondition();
    boolean ready = true;
    boolean sleeping;
    boolean interrupted;
    long wakeAt = now;

    Node(Thread thread) {
      this.thread = thread;
      nodes.add(this);
    }
  }

  interface Body<T> {
    T run() throws InterruptedException;
  }

  /** Runs {@code body} as the first thread of the simulation. */
  <T> T simulate(Body<T> body) {
    lock.lock();
    Node node = new Node(Thread.currentThread());
    current = node;
    lock.unlock();
    try {
      return body.run();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    } finally {
      lock.lock();
      nodes.remove(node);
      current = null;
      lock.unlock();
    }
  }

  void sleep(Duration duration) throws InterruptedException {
    lock.lock();
    try {
      Node me = me();
      me.ready = true;
      me.sleeping = true;
      me.wakeAt = me.interrupted ? now : now + duration.toNanos();
      yieldTurn(me);
      me.sleeping = false;
      if (me.interrupted) {
        me.interrupted = false;
        throw new InterruptedException("interrupted in virtual time");
      }
    } finally {
      lock.unlock();
    }
  }

  @Override
  public long nanoTime() {
    lock.lock();
    try {
      return now;
    } finally {
      lock.unlock();
    }
  }

  @Override
  public Instant now() {
    return Instant.ofEpochMilli(1_790_000_000_000L + nanoTime() / 1_000_000);
  }

  @Override
  public void ready(int tasks) {}

  @Override
  public void together(List<Runnable> tasks) {
    lock.lock();
    try {
      Node parent = me();
      int[] left = {tasks.size() - 1};
      for (Runnable task : tasks.subList(0, tasks.size() - 1)) {
        Thread thread =
            Thread.ofPlatform()
                .daemon()
                .unstarted(
                    () -> {
                      Node self = start();
                      try {
                        task.run();
                      } finally {
                        lock.lock();
                        nodes.remove(self);
                        if (--left[0] == 0 && !parent.ready && !parent.sleeping) {
                          parent.ready = true;
                          parent.wakeAt = now;
                        }
                        next();
                        lock.unlock();
                      }
                    });
        Node _ = new Node(thread);
        thread.start();
      }
      lock.unlock();
      try {
        tasks.getLast().run();
      } finally {
        lock.lock();
      }
      while (left[0] > 0) {
        parent.ready = false;
        yieldTurn(parent);
      }
    } finally {
      lock.unlock();
    }
  }

  private Node start() {
    lock.lock();
    try {
      Node me = me(Thread.currentThread());
      awaitTurn(me);
      return me;
    } finally {
      lock.unlock();
    }
  }

  @Override
  public Gate gate() {
    return new Gate() {
      private final List<Node> waiting = new ArrayList<>();
      private boolean open;

      @Override
      public void open() {
        lock.lock();
        try {
          open = true;
          for (Node node : waiting) {
            node.ready = true;
            node.wakeAt = now;
          }
          waiting.clear();
        } finally {
          lock.unlock();
        }
      }

      @Override
      public void await() {
        lock.lock();
        try {
          Node me = me();
          while (!open) {
            waiting.add(me);
            me.ready = false;
            yieldTurn(me);
          }
        } finally {
          lock.unlock();
        }
      }
    };
  }

  private final class VirtualAlarm implements Alarm {
    final Runnable ring;
    boolean set;
    long at;

    VirtualAlarm(Runnable ring) {
      this.ring = ring;
      alarms.add(this);
    }

    @Override
    public void set(long nanoTime) {
      lock.lock();
      at = nanoTime;
      set = true;
      lock.unlock();
    }

    @Override
    public void close() {
      lock.lock();
      alarms.remove(this);
      lock.unlock();
    }
  }

  @Override
  public Alarm alarm(Runnable ring) {
    lock.lock();
    try {
      return new VirtualAlarm(ring);
    } finally {
      lock.unlock();
    }
  }

  @Override
  public void interrupt(Thread thread) {
    lock.lock();
    try {
      Node node = me(thread);
      node.interrupted = true;
      if (node.sleeping) {
        node.wakeAt = now;
      }
    } finally {
      lock.unlock();
    }
  }

  @Override
  public void clearInterrupt() {
    lock.lock();
    me().interrupted = false;
    lock.unlock();
  }

  private Node me() {
    return me(Thread.currentThread());
  }

  private Node me(Thread thread) {
    for (Node node : nodes) {
      if (node.thread == thread) {
        return node;
      }
    }
    throw new AssertionError("not a thread of the simulation: " + thread);
  }

  private void yieldTurn(Node me) {
    next();
    awaitTurn(me);
  }

  private void awaitTurn(Node me) {
    while (current != me) {
      if (deadlock != null) {
        throw new AssertionError(deadlock);
      }
      me.turn.awaitUninterruptibly();
    }
  }

  /** Gives the turn to whoever is next in time, ringing alarms that come before. */
  private void next() {
    while (true) {
      Node first = null;
      for (Node node : nodes) {
        if (node.ready && (first == null || node.wakeAt < first.wakeAt)) {
          first = node;
        }
      }
      VirtualAlarm alarm = null;
      for (VirtualAlarm each : alarms) {
        if (each.set && (alarm == null || each.at < alarm.at)) {
          alarm = each;
        }
      }
      if (alarm != null && (first == null || alarm.at < first.wakeAt)) {
        now = Math.max(now, alarm.at);
        alarm.set = false;
        alarm.ring.run();
        continue;
      }
      if (first == null) {
        if (!nodes.isEmpty()) {
          deadlock = "nobody can go on: " + nodes.size() + " threads wait";
          nodes.forEach(each -> each.turn.signal());
        }
        current = null;
        return;
      }
      now = Math.max(now, first.wakeAt);
      current = first;
      first.turn.signal();
      return;
    }
  }
}
