package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Readiness;
import io.holdfast.linux.SystemCallException;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.VmId;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * A channel between a guest and its host that lives on across the generations of QEMU and of the
 * agent. A thread of its own moves what comes, from {@link #attached} to {@link #close}.
 *
 * <p>What is said of generations is what the backend of a device is told; see there for the order.
 */
public abstract sealed class Channel implements AutoCloseable permits Console, Port {
  private static final LateLogger LOGGER = new LateLogger(Channel.class);
  private static final Duration FOREVER = Duration.ofDays(36_500);

  /**
   * A serial port says each character by itself: who waits a little moves many at once, and leaves
   * the processor to the guest.
   */
  private static final Duration GATHER = Duration.ofMillis(2);

  /** How many times at most what the guest says is moved before others get their turn. */
  private static final int TURN = 32;

  private static final Duration AFTER_FAILURE = Duration.ofSeconds(1);
  private static final int STACK_BYTES = 256 * 1024;

  private final ChannelDescriptors kept;
  private final Linux linux;
  private final int outputBuffer;
  private Optional<Line> line = Optional.empty();
  private Optional<Thread> thread = Optional.empty();
  private Optional<Fd> wake = Optional.empty();
  private volatile boolean closed;

  Channel(Linux linux, DescriptorStore store, VmId vm, String device, int outputBuffer) {
    this.linux = linux;
    this.kept = new ChannelDescriptors(linux, store, vm, device);
    this.outputBuffer = outputBuffer;
  }

  Linux linux() {
    return linux;
  }

  ChannelDescriptors kept() {
    return kept;
  }

  /** Whether this agent has let go of it, or its last generation has gone. */
  boolean isClosed() {
    return closed;
  }

  /** Makes or finds the host's end. */
  abstract Sink open(Line opened) throws IOException;

  /** The host's end, once the channel is {@link #line opened}. */
  abstract Sink sink();

  private synchronized Line line() throws IOException {
    if (line.isEmpty()) {
      Line opened = Line.open(kept, outputBuffer);
      boolean done = false;
      try {
        Sink _ = open(opened);
        line = Optional.of(opened);
        done = true;
      } finally {
        if (!done) {
          opened.close();
        }
      }
    }
    return line.get();
  }

  /**
   * The end of the channel that the QEMU of a generation inherits: a connected stream socket, the
   * caller's to close.
   *
   * @throws IOException if the host's end can't be made
   */
  public Fd open(int generation) throws IOException {
    Fd end = line().open(generation);
    try {
      // The thread may be waiting for the others.
      wake();
      return end;
    } catch (RuntimeException e) {
      end.close();
      throw e;
    }
  }

  /** This generation runs the guest, or an update under way will say which one does. */
  public synchronized void attached(int generation) throws IOException {
    Line opened = line();
    if (opened.generations().equals(Set.of(generation))) {
      opened.feedTo(generation);
    }
    if (thread.isEmpty()) {
      // What another agent collected and did not come to pass on.
      sink().take();
      Fd event = linux.eventfd();
      wake = Optional.of(event);
      thread =
          Optional.of(
              Thread.ofPlatform()
                  .daemon()
                  .name("channel " + kept.label())
                  .stackSize(STACK_BYTES)
                  .start(() -> run(opened, sink(), event)));
    }
  }

  /**
   * The guest stands still in this generation, and its state has not been saved yet: input is held
   * back from now on.
   *
   * @throws IOException if what was held back before has not been read yet
   */
  public void frozen(int generation) throws IOException {
    line().hold(generation);
  }

  /**
   * The guest stands still for good, as far as this kernel is concerned.
   *
   * @return memfds with what the channel needs to go on under another kernel, by their labels there
   *     without the VM's name; the caller's to close
   */
  public Map<String, Fd> packed(int generation) throws IOException {
    Line opened = line();
    while (opened.collectFrom(generation)) {
      sink().take();
    }
    sink().take();
    Map<String, Fd> packed = new HashMap<>();
    sink().packed().forEach((what, fd) -> packed.put(kept.label(what), fd));
    return packed;
  }

  /** The guest runs in this generation: it gets what was held back. */
  public void running(int generation) throws IOException {
    line().feedTo(generation);
    wake();
  }

  /**
   * The QEMU of this generation is gone; returns when all that it said has been taken. With the
   * last one goes the channel, its names included.
   */
  public void drop(int generation) throws IOException {
    Line opened;
    synchronized (this) {
      if (line.isEmpty()) {
        // It could not be opened: what was kept of it is no use.
        kept.dropAll();
      }
      if (closed || line.isEmpty()) {
        return;
      }
      opened = line.get();
    }
    while (opened.collectFrom(generation)) {
      sink().take();
    }
    sink().take();
    if (opened.pending(generation)) {
      LOGGER
          .get()
          .log(
              System.Logger.Level.WARNING,
              kept.label() + ": nobody reads what the guest said; the rest is dropped");
    }
    opened.drop(generation);
    wake();
    Set<Integer> left = opened.generations();
    if (left.size() == 1) {
      // Whoever it is, the guest runs in no other.
      running(left.iterator().next());
    } else if (left.isEmpty()) {
      close();
      sink().end();
      opened.end();
    }
  }

  /** Has the thread look again. */
  void wake() {
    try {
      wake.ifPresent(
          event -> {
            byte[] one = new byte[Long.BYTES];
            one[0] = 1;
            linux.write(event, MemorySegment.ofArray(one));
          });
    } catch (IllegalStateException e) {
      LOGGER.get().log(System.Logger.Level.DEBUG, "closed already", e);
    }
  }

  private void run(Line opened, Sink sink, Fd event) {
    while (!closed) {
      try {
        if (!round(opened, sink, event)) {
          continue;
        }
        Thread.sleep(GATHER);
      } catch (SystemCallException | IllegalStateException e) {
        if (closed) {
          return;
        }
        LOGGER.get().log(System.Logger.Level.WARNING, kept.label() + " halts for a moment", e);
        try {
          Thread.sleep(AFTER_FAILURE);
        } catch (InterruptedException _) {
          return;
        }
      } catch (InterruptedException e) {
        return;
      }
    }
  }

  /** Waits for something and does it; whether the guest may say more in a moment. */
  private boolean round(Line opened, Sink sink, Fd event) {
    Map<Fd, Set<Readiness>> wanted = new HashMap<>();
    sink.want(wanted);
    opened.want(wanted, sink.room());
    wanted.put(event, Set.of(Readiness.READABLE));
    Map<Fd, Set<Readiness>> ready;
    try {
      ready = linux.poll(wanted, FOREVER);
    } catch (IllegalStateException e) {
      // A generation was dropped when this was about to wait for it.
      LOGGER.get().log(System.Logger.Level.DEBUG, kept.label() + " looks again", e);
      return true;
    }
    if (ready.containsKey(event)) {
      int _ = linux.read(event, MemorySegment.ofArray(new byte[Long.BYTES]));
    }
    boolean said = false;
    for (int i = 0; i < TURN && !closed && sink.room() && opened.collect(); i++) {
      sink.take();
      said = true;
    }
    sink.serve(ready);
    opened.feed();
    return said;
  }

  /** Lets go; the channel goes on, and another agent finds it again. */
  @Override
  public synchronized void close() {
    if (closed) {
      return;
    }
    closed = true;
    wake();
    if (thread.isPresent()) {
      try {
        thread.get().join();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    wake.ifPresent(Fd::close);
    if (line.isPresent()) {
      sink().close();
      line.get().close();
    }
  }
}
