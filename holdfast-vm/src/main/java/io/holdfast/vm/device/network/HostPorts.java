package io.holdfast.vm.device.network;

import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OncePerFlood;
import io.holdfast.linux.Readiness;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.TcpListener;
import io.holdfast.linux.TcpSocket;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;

/**
 * Passes TCP connections to ports of the host on to the QEMU that runs the guest, all on one
 * thread, which never waits for one of them.
 *
 * <p>When another generation takes over, a connection that has carried something is reset; one that
 * has not carried a byte yet is made again to the new generation, unnoticed.
 */
final class HostPorts implements AutoCloseable {
  private static final Set<Readiness> READING = Set.of(Readiness.READABLE);
  private static final LateLogger LOG = new LateLogger(HostPorts.class);

  private static final int BUFFER = 32 * 1024;

  /** What a connection may hold of which neither side takes anything. */
  static final int MOST_BYTES = 2 * BUFFER;

  private static final Duration FOREVER = Duration.ofDays(1);

  /** How long nobody is accepted after this process had no descriptor left for one. */
  private static final Duration SHORTAGE = Duration.ofMillis(200);

  /** How long the thread may take to end; it waits for nobody. */
  private static final Duration END = Duration.ofSeconds(5);

  private final Linux linux;
  private final String vm;
  private final String name;
  private final ConnectionBudget budget;
  private final Fd wake;
  private final OncePerFlood tooMany = new OncePerFlood();
  private final OncePerFlood noDescriptor = new OncePerFlood();
  private final OncePerFlood noWay = new OncePerFlood();

  /** Only the thread uses it. */
  private final List<Connection> connections = new ArrayList<>();

  // Guarded by this; the thread looks at it each turn.
  private final List<TcpListener> listeners = new ArrayList<>();
  private Optional<Target> target = Optional.empty();
  private boolean held;
  private Optional<Thread> thread = Optional.empty();
  private boolean closed;

  /** Who runs the guest, and its port for each listener. */
  private record Target(int generation, List<InetSocketAddress> guests) {}

  /**
   * Passes nothing yet.
   *
   * @param vm whose ports they are
   * @param network its card
   * @param budget the connections of all VMs
   */
  HostPorts(Linux linux, String vm, String network, ConnectionBudget budget) {
    this.linux = linux;
    this.vm = vm;
    this.name = vm + "/" + network;
    this.budget = budget;
    this.wake = linux.eventfd();
  }

  /** One port more, before the first {@link #passTo}; its ownership is taken. */
  synchronized void listen(TcpListener listener) {
    listeners.add(listener);
  }

  /**
   * From now on connections go to this generation, and those that wait, too.
   *
   * @param guests its port for each listener, in their order
   */
  synchronized void passTo(int generation, List<InetSocketAddress> guests) {
    target = Optional.of(new Target(generation, List.copyOf(guests)));
    held = false;
    if (thread.isEmpty() && !closed) {
      thread =
          Optional.of(
              Thread.ofPlatform()
                  .daemon()
                  .name("host ports of " + name)
                  .stackSize(256 * 1024)
                  .start(this::run));
    }
    wake();
  }

  /** New connections wait; those there are go on. */
  synchronized void hold() {
    held = true;
    wake();
  }

  /** Connections wait no longer, for the generation that they went to before. */
  synchronized void goOn() {
    held = false;
    wake();
  }

  /**
   * Resets all connections; the ports stay with whoever has a duplicate of them. When this returns
   * they are not this process's any more. Idempotent.
   */
  @Override
  public void close() {
    Optional<Thread> serving;
    synchronized (this) {
      if (!closed) {
        closed = true;
        if (thread.isPresent()) {
          wake();
        } else {
          letGo();
        }
      }
      serving = thread;
    }
    try {
      if (serving.isPresent() && !serving.get().join(END)) {
        LOG.get()
            .log(System.Logger.Level.WARNING, "the host's ports of " + name + " are still served");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private void letGo() {
    listeners.forEach(TcpListener::close);
    wake.close();
  }

  private void wake() {
    if (wake.isOpen()) {
      linux.write(wake, MemorySegment.ofArray(new long[] {1}));
    }
  }

  /** What the thread goes by in one turn. */
  private record Orders(List<TcpListener> listeners, Optional<Target> target, boolean closed) {}

  private synchronized Orders orders() {
    return new Orders(
        held ? List.of() : List.copyOf(listeners), held ? Optional.empty() : target, closed);
  }

  private void run() {
    boolean shortage = false;
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment count = arena.allocate(ValueLayout.JAVA_LONG);
      MemorySegment buffer = arena.allocate(BUFFER);
      while (true) {
        Orders orders = orders();
        if (orders.closed()) {
          return;
        }
        orders.target().ifPresent(this::moveTo);
        Map<Fd, Set<Readiness>> wanted = new HashMap<>();
        wanted.put(wake, READING);
        if (!shortage) {
          orders.listeners().forEach(each -> wanted.put(each.fd(), READING));
        }
        connections.forEach(each -> each.addTo(wanted));
        Set<Fd> ready = linux.poll(wanted, shortage ? SHORTAGE : FOREVER).keySet();
        shortage = false;
        if (ready.contains(wake)) {
          int _ = linux.read(wake, count);
          continue; // other orders, perhaps
        }
        for (Iterator<Connection> all = connections.iterator(); all.hasNext(); ) {
          Connection each = all.next();
          if (each.concernedBy(ready) && !each.go(buffer)) {
            all.remove();
          }
        }
        if (orders.target().isPresent()) {
          for (int i = 0; i < orders.listeners().size(); i++) {
            if (ready.contains(orders.listeners().get(i).fd())) {
              shortage |= !accept(orders.listeners().get(i), i, orders.target().get());
            }
          }
        }
      }
    } catch (RuntimeException e) {
      LOG.get()
          .log(System.Logger.Level.ERROR, "the host's ports of " + name + " are served no more", e);
    } finally {
      connections.forEach(Connection::reset);
      connections.clear();
      synchronized (this) {
        closed = true;
        letGo();
      }
    }
  }

  /** Takes what waits on a port; false if this process has no descriptor left for it. */
  private boolean accept(TcpListener listener, int index, Target to) {
    try {
      Optional<TcpSocket> next = listener.acceptNow();
      if (next.isPresent()) {
        begin(new Connection(index, next.get()), to);
      }
      return true;
    } catch (SystemCallException e) {
      if (noDescriptor.begins()) {
        LOG.get()
            .log(System.Logger.Level.WARNING, "a connection to a port of " + name + " waits", e);
      }
      return false;
    }
  }

  private void begin(Connection made, Target to) {
    if (!budget.take(vm)) {
      // Not left to wait: a flood would fill the backlog, and whoever connects would learn nothing.
      if (tooMany.begins()) {
        LOG.get()
            .log(
                System.Logger.Level.WARNING,
                "VM "
                    + vm
                    + " has "
                    + budget.taken(vm)
                    + " connections to its ports of the host, as many as it may; more are reset"
                    + " until some have ended. A higher limit of descriptors (LimitNOFILE= of the"
                    + " agent's unit) allows more");
      }
      abort(made.client);
      return;
    }
    connections.add(made);
    if (!made.connect(to)) {
      connections.removeLast();
    }
  }

  private void moveTo(Target to) {
    connections.removeIf(
        each -> {
          if (each.generation == to.generation()) {
            return false;
          }
          if (each.untouched()) {
            return !each.connect(to);
          }
          each.reset();
          return true;
        });
  }

  /** One direction of a connection. */
  private static final class Direction {
    private static final byte[] NONE = new byte[0];

    /** What the receiver had no room for: most connections have nothing to keep. */
    private byte[] rest = NONE;

    private boolean moved;
    private boolean ended;
    private boolean finished;

    boolean wantsMore() {
      return rest.length == 0 && !ended;
    }

    boolean hasSome() {
      return rest.length > 0;
    }

    /**
     * Moves what can be moved now.
     *
     * @param buffer native memory, used for the time of this call
     */
    void move(TcpSocket from, TcpSocket to, MemorySegment buffer) {
      int length = rest.length;
      MemorySegment.copy(rest, 0, buffer, ValueLayout.JAVA_BYTE, 0, length);
      if (wantsMore()) {
        OptionalInt bytes = from.receiveNow(buffer);
        length = bytes.orElse(0);
        ended = bytes.isPresent() && length == 0;
      }
      if (length > 0) {
        int sent = to.sendNow(buffer.asSlice(0, length));
        moved |= sent > 0;
        if (sent > 0 || !hasSome()) {
          rest = buffer.asSlice(sent, (long) length - sent).toArray(ValueLayout.JAVA_BYTE);
        }
      }
      if (ended && !hasSome() && !finished) {
        to.finishSending();
        finished = true;
      }
    }
  }

  /** A client, and the guest that it talks with. */
  private final class Connection {
    private final int index;
    private final TcpSocket client;
    private final Direction up = new Direction();
    private final Direction down = new Direction();
    private Optional<TcpSocket> guest = Optional.empty();
    private boolean connecting;
    private int generation;

    Connection(int index, TcpSocket client) {
      this.index = index;
      this.client = client;
    }

    /** Begins to connect it with a generation; false if that failed: it is reset then. */
    boolean connect(Target to) {
      guest.ifPresent(HostPorts::abort);
      guest = Optional.empty();
      try {
        guest = Optional.of(linux.connect(to.guests().get(index)));
        connecting = true;
        generation = to.generation();
        return true;
      } catch (SystemCallException e) {
        if (noWay.begins()) {
          LOG.get().log(System.Logger.Level.WARNING, "no way to the guest of " + name, e);
        }
        reset();
        return false;
      }
    }

    /** Whether neither side has had anything from the other. */
    boolean untouched() {
      return !up.moved && !up.finished && !down.moved && !down.hasSome() && !down.ended;
    }

    void addTo(Map<Fd, Set<Readiness>> wanted) {
      add(wanted, client, !connecting && up.wantsMore(), down.hasSome());
      guest.ifPresent(
          socket ->
              add(wanted, socket, !connecting && down.wantsMore(), connecting || up.hasSome()));
    }

    private static void add(
        Map<Fd, Set<Readiness>> wanted, TcpSocket socket, boolean read, boolean write) {
      Set<Readiness> these = EnumSet.noneOf(Readiness.class);
      if (read) {
        these.add(Readiness.READABLE);
      }
      if (write) {
        these.add(Readiness.WRITABLE);
      }
      if (!these.isEmpty()) {
        wanted.put(socket.fd(), these);
      }
    }

    boolean concernedBy(Set<Fd> ready) {
      return ready.contains(client.fd()) || (guest.isPresent() && ready.contains(guest.get().fd()));
    }

    /** Moves what can be moved; false once it has ended. */
    boolean go(MemorySegment buffer) {
      TcpSocket other = guest.orElseThrow();
      try {
        if (connecting) {
          if (linux.poll(Map.of(other.fd(), Set.of(Readiness.WRITABLE)), Duration.ZERO).isEmpty()) {
            return true;
          }
          other.check();
          connecting = false;
        }
        up.move(client, other, buffer);
        down.move(other, client, buffer);
      } catch (SystemCallException e) {
        LOG.get().log(System.Logger.Level.DEBUG, "a connection to a port of " + name + " broke", e);
        reset();
        return false;
      }
      if (up.finished && down.finished) {
        client.close();
        other.close();
        budget.giveBack(vm);
        return false;
      }
      return true;
    }

    /** Ends both halves so that nobody takes it for a good end. */
    void reset() {
      abort(client);
      guest.ifPresent(HostPorts::abort);
      budget.giveBack(vm);
    }
  }

  private static void abort(TcpSocket socket) {
    try {
      socket.resetOnClose();
    } finally {
      socket.close();
    }
  }
}
