package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.FdPair;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Readiness;
import io.holdfast.linux.SocketType;
import io.holdfast.linux.UnixSocket;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;

/**
 * The way between a guest and the agent, across the generations of QEMU: a socket pair for each
 * generation, of which the agent has both ends; the queue {@code in}, which everybody writes to who
 * types, and from which the running generation is fed; the queue {@code out}, to which comes what
 * the guest says; and the queue {@code held}.
 *
 * <p><b>Output.</b> A generation's socket is read to its end before the next one's: that one says
 * nothing before its guest runs, and then the predecessor is fenced and what it wrote is all there
 * is. So reading needs no switch, and nothing that a recovery would have to find out.
 *
 * <p><b>Input.</b> A QEMU reads its socket while the guest stands still, too. What it takes after
 * its device state has been saved would be lost, and what a successor takes before it has loaded
 * that state as well. So {@link #hold} stops feeding when the predecessor has stopped, and takes
 * back to {@code held} what it has not read yet; only the guest that {@link #feedTo runs} gets it,
 * before anything newer. Taking back is one call of the kernel, as the sockets hold less than a
 * queue does; a kill comes before or after it.
 *
 * <p>Methods don't wait for anybody, but for the descriptor store where they open or drop
 * something. Any thread may call them.
 */
final class Line implements AutoCloseable {
  private static final String IN = "in";
  private static final String HELD = "held";
  private static final String OUT = "out";
  private static final String AGENT = "/agent";
  private static final String QEMU = "/qemu";

  /** 256 pieces that were written by themselves, such as characters. */
  private static final int QUEUE_BYTES = 1 << 20;

  /** What waits in a socket is at most some 80 pieces then, and fits into a queue in any case. */
  private static final int SOCKET_BYTES = 32 << 10;

  /** How much is collected at once: less than a log keeps. */
  private static final long PIECE = 32 << 10;

  /** More than a queue holds. */
  private static final long ALL = 2L * QUEUE_BYTES;

  private static final int NONE = 0;

  private final ChannelDescriptors kept;
  private final Linux linux;
  private final int outputBuffer;
  private final TreeMap<Integer, Ends> generations = new TreeMap<>();
  private final Fd in;
  private final Fd held;
  private final Fd out;

  /** The generation that is fed; none while input is held back. */
  private int fed = NONE;

  /** The generation from which input is taken back, from {@link #hold} to {@link #feedTo}. */
  private int heldFrom = NONE;

  /** Whether there is input for which {@link #fed} has no room. */
  private boolean stuffed;

  private record Ends(Fd agent, Fd qemu) {
    void close() {
      agent.close();
      qemu.close();
    }
  }

  private Line(ChannelDescriptors kept, int outputBuffer, Map<String, Fd> found) {
    this.kept = kept;
    this.linux = kept.linux();
    this.outputBuffer = outputBuffer;
    this.in = queue(IN, found);
    this.held = queue(HELD, found);
    this.out = queue(OUT, found);
  }

  /**
   * Finds what is kept of a line, or makes a new one.
   *
   * @param outputBuffer bytes of kernel memory that may wait for the agent before the guest has to;
   *     a character that a serial port sends by itself takes some 770 of them
   */
  static Line open(ChannelDescriptors kept, int outputBuffer) {
    Map<String, Fd> found = kept.all();
    try {
      Line line = new Line(kept, outputBuffer, found);
      List<String> ends = found.keySet().stream().filter(l -> l.endsWith(AGENT)).toList();
      for (String label : ends) {
        int generation = Integer.parseInt(label.substring(0, label.length() - AGENT.length()));
        Fd qemu = found.remove(generation + QEMU);
        Fd agent = found.remove(label);
        if (qemu != null && agent != null) {
          line.generations.put(generation, new Ends(agent, qemu));
        } else if (agent != null) {
          // Half a pair: the agent died before any QEMU was started with the other half.
          agent.close();
        }
      }
      return line;
    } finally {
      found.values().forEach(Fd::close);
    }
  }

  private Fd queue(String what, Map<String, Fd> found) {
    Fd there = found.remove(what);
    if (there != null) {
      return there;
    }
    Fd made = linux.queue(QUEUE_BYTES);
    kept.keep(what, made);
    return made;
  }

  /**
   * The end for the QEMU of a generation, the caller's. The same pair again if it was opened
   * before: what waits in it, waits.
   */
  synchronized Fd open(int generation) {
    Ends there = generations.get(generation);
    if (there != null) {
      return there.qemu().duplicate();
    }
    try (FdPair pair = linux.socketPair(SocketType.STREAM)) {
      sendBuffer(pair.left(), SOCKET_BYTES);
      sendBuffer(pair.right(), outputBuffer);
      linux.nonblocking(pair.left());
      kept.keep(generation + AGENT, pair.left());
      kept.keep(generation + QEMU, pair.right());
      Ends ends = new Ends(pair.left().duplicate(), pair.right().duplicate());
      generations.put(generation, ends);
      return ends.qemu().duplicate();
    }
  }

  private void sendBuffer(Fd end, int bytes) {
    try (UnixSocket socket = linux.adopt(end.duplicate())) {
      socket.sendBuffer(bytes);
    }
  }

  /** What everybody writes to who types; borrowed. */
  Fd in() {
    return in;
  }

  /** What the guest has said; borrowed. */
  Fd out() {
    return out;
  }

  /** Whether the guest does not read what is typed. */
  synchronized boolean stuffed() {
    return stuffed;
  }

  /** The generations that have a pair. */
  synchronized Set<Integer> generations() {
    return new HashSet<>(generations.keySet());
  }

  /**
   * Adds what is to be waited for.
   *
   * @param room whether what the guest says can be passed on
   */
  synchronized void want(Map<Fd, Set<Readiness>> wanted, boolean room) {
    if (room) {
      generations.values().forEach(ends -> wanted.put(ends.agent(), Set.of(Readiness.READABLE)));
    }
    if (fed != NONE && !stuffed) {
      wanted.put(in, Set.of(Readiness.READABLE));
    } else if (fed != NONE) {
      Fd to = ends(fed).agent();
      wanted.put(
          to, room ? Set.of(Readiness.READABLE, Readiness.WRITABLE) : Set.of(Readiness.WRITABLE));
    }
  }

  /**
   * Holds input back, and takes back what this generation has not read. May be called again.
   *
   * @throws IOException if what was held back before has not been read yet
   */
  synchronized void hold(int generation) throws IOException {
    fed = NONE;
    if (heldFrom != generation && readable(held)) {
      // What is in the socket is older, and must stay before it.
      throw new IOException(
          "the guest does not read what was typed on " + kept.label() + "; let it, then try again");
    }
    heldFrom = generation;
    while (linux.splice(ends(generation).qemu(), held, ALL).orElse(0) > 0) {
      // One call takes all; what comes meanwhile is not there, as nobody feeds any more.
    }
  }

  /** The guest runs in this generation: it gets what was held back, then what is typed. */
  synchronized void feedTo(int generation) {
    if (generations.containsKey(generation)) {
      heldFrom = NONE;
      fed = generation;
      feed();
    }
  }

  /** Passes on what was typed, as far as there is room. */
  synchronized void feed() {
    if (fed == NONE) {
      return;
    }
    Fd to = ends(fed).agent();
    stuffed = !passed(held, to) || !passed(in, to);
  }

  /** Whether all of a queue went. */
  private boolean passed(Fd queue, Fd to) {
    while (linux.splice(queue, to, ALL).isPresent()) {
      // There may be more.
    }
    return !readable(queue);
  }

  /** Moves some of what the guest says to {@link #out}; false if there is nothing or no room. */
  synchronized boolean collect() {
    if (generations.size() == 1) {
      return collectFrom(generations.firstKey());
    }
    List<Fd> all = generations.values().stream().map(Ends::agent).toList();
    List<Fd> ready = linux.poll(all, Duration.ZERO);
    List<Integer> upToNewest = new ArrayList<>();
    List<Integer> behind = new ArrayList<>();
    generations.forEach(
        (generation, ends) -> {
          behind.add(generation);
          if (ready.contains(ends.agent())) {
            upToNewest.addAll(behind);
            behind.clear();
          }
        });
    // What the older ones said is complete, once a newer one says something.
    for (int generation : upToNewest) {
      if (collectFrom(generation)) {
        return true;
      }
    }
    return false;
  }

  /** As {@link #collect}, from one generation, whatever there is in others. */
  synchronized boolean collectFrom(int generation) {
    Ends ends = generations.get(generation);
    return ends != null && linux.splice(ends.agent(), out, PIECE).orElse(0) > 0;
  }

  /** Whether a generation has said something that was not collected. */
  synchronized boolean pending(int generation) {
    Ends ends = generations.get(generation);
    return ends != null && readable(ends.agent());
  }

  /** Lets go of a generation's pair, with what is still in it. */
  synchronized void drop(int generation) {
    kept.drop(Set.of(generation + AGENT, generation + QEMU));
    Optional.ofNullable(generations.remove(generation)).ifPresent(Ends::close);
    if (fed == generation) {
      fed = NONE;
    }
  }

  /** Lets the queues go from the descriptor store; there is no generation left. */
  synchronized void end() {
    kept.drop(Set.of(IN, HELD, OUT));
  }

  private Ends ends(int generation) {
    Ends ends = generations.get(generation);
    if (ends == null) {
      throw new IllegalStateException(
          kept.label() + " has no generation " + generation + ", but " + generations.keySet());
    }
    return ends;
  }

  private boolean readable(Fd fd) {
    return !linux.poll(List.of(fd), Duration.ZERO).isEmpty();
  }

  /** Closes what this agent has; the descriptor store's stays. */
  @Override
  public synchronized void close() {
    generations.values().forEach(Ends::close);
    generations.clear();
    fed = NONE;
    in.close();
    held.close();
    out.close();
  }
}
