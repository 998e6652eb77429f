package io.holdfast.varlink;

import io.holdfast.linux.OncePerFlood;
import io.holdfast.linux.PeerCredentials;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixListener;
import io.holdfast.linux.UnixSocket;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Predicate;
import java.util.function.ToLongFunction;
import java.util.stream.Collectors;

/**
 * A Varlink service on a Unix socket.
 *
 * <p>Each connection has a thread of its own, in which its calls are answered in order. All threads
 * are daemons. Whoever breaks the protocol is disconnected.
 *
 * <pre>{@code
 * try (VarlinkServer server =
 *     VarlinkServer.builder("Holdfast", "holdfast", "1", "https://example.org")
 *         .implement(VarlinkInterface.parse(text))
 *         .on("io.holdfast.Vm.List", call -> call.reply(JsonObject.of("vms", vms())))
 *         .allow(peer -> peer.uid() == 0)
 *         .start(linux.listen(path, 16))) {
 *   ...
 * }
 * }</pre>
 */
public final class VarlinkServer implements AutoCloseable {
  /** The protocol's own interface, https://varlink.org/Service. */
  private static final VarlinkInterface SERVICE =
      VarlinkInterface.parse(
          """
          # What every Varlink service answers: what it is and which interfaces it has.
          interface org.varlink.service

          # The service, and the names of its interfaces.
          method GetInfo() -> (
            vendor: string,
            product: string,
            version: string,
            url: string,
            interfaces: []string
          )

          # The definition of one of its interfaces.
          method GetInterfaceDescription(interface: string) -> (description: string)

          error InterfaceNotFound (interface: string)
          error MethodNotFound (method: string)
          error MethodNotImplemented (method: string)
          error InvalidParameter (parameter: string)
          error PermissionDenied ()
          error ExpectedMore ()
          """);

  /** Connections of those who are not allowed, waiting to be told so at their first call. */
  private static final int MOST_REFUSED = 8;

  private static final long STACK_BYTES = 512 << 10;
  private static final Duration PATIENCE = Duration.ofSeconds(5);
  private static final Duration BEFORE_ACCEPTING_AGAIN = Duration.ofMillis(100);

  private record Served(VarlinkInterface definition, Map<String, Handler> handlers) {}

  private final Map<String, Served> interfaces;
  private final Predicate<PeerCredentials> allowed;
  private final int mostConnections;
  private final Connection.Most mostOfRequest;
  private final UnixListener listener;
  private final Map<Peer, Thread> connections = new ConcurrentHashMap<>();
  private final AtomicInteger refused = new AtomicInteger();
  private final OncePerFlood turnedAway = new OncePerFlood();
  private final Thread acceptor;
  private volatile boolean closing;

  private VarlinkServer(Builder builder, UnixListener listener) {
    this.interfaces = builder.interfaces;
    this.allowed = builder.allowed;
    this.mostConnections = builder.mostConnections;
    this.mostOfRequest = builder.mostOfRequest;
    this.listener = listener;
    this.acceptor = thread("varlink " + listener.path(), this::accept);
  }

  /**
   * A server to be.
   *
   * @param vendor who made the service, for GetInfo like the rest
   * @param product its name
   * @param version its version
   * @param url where to read about it
   */
  public static Builder builder(String vendor, String product, String version, String url) {
    return new Builder(vendor, product, version, url);
  }

  /** What a server is made of. */
  public static final class Builder {
    private final Map<String, Served> interfaces = new LinkedHashMap<>();
    private Predicate<PeerCredentials> allowed = peer -> true;
    private int mostConnections = 128;
    private Connection.Most mostOfRequest = Connection.Most.ANY;

    private Builder(String vendor, String product, String version, String url) {
      implement(SERVICE);
      on(
          "org.varlink.service.GetInfo",
          call ->
              call.reply(
                  JsonObject.of(
                      "vendor", vendor,
                      "product", product,
                      "version", version,
                      "url", url,
                      "interfaces", interfaces.keySet())));
      on("org.varlink.service.GetInterfaceDescription", this::describe);
    }

    private void describe(Call call) {
      String name = call.parameters().string("interface");
      Served served = interfaces.get(name);
      if (served == null) {
        throw interfaceNotFound(name);
      }
      call.reply(JsonObject.of("description", served.definition().source()));
    }

    /**
     * Adds an interface; each of its methods then needs a handler.
     *
     * @throws IllegalArgumentException if it was added before
     */
    public Builder implement(VarlinkInterface definition) {
      Served served = new Served(definition, new LinkedHashMap<>());
      if (interfaces.putIfAbsent(definition.name(), served) != null) {
        throw new IllegalArgumentException("interface added twice: " + definition.name());
      }
      return this;
    }

    /**
     * Sets what answers a method.
     *
     * @param method its full name, such as {@code io.holdfast.Vm.List}
     * @throws IllegalArgumentException if no interface added so far has it, or it has a handler
     */
    public Builder on(String method, Handler handler) {
      int dot = method.lastIndexOf('.');
      Served served = interfaces.get(method.substring(0, Math.max(0, dot)));
      String name = method.substring(dot + 1);
      if (served == null || !served.definition().methods().contains(name)) {
        throw new IllegalArgumentException("no interface was added that has the method " + method);
      }
      if (served.handlers().putIfAbsent(name, handler) != null) {
        throw new IllegalArgumentException("a second handler for " + method);
      }
      return this;
    }

    /** Sets who may call; all others are answered PermissionDenied. Everybody may by default. */
    public Builder allow(Predicate<PeerCredentials> allowed) {
      this.allowed = allowed;
      return this;
    }

    /**
     * Sets how many connections there may be at a time, 128 by default, at least 2; a process may
     * have half of them. One more takes the place of one without a call under way, of the process
     * that has most connections, and there of the one that has been idle for the longest time; if
     * all have a call under way, it is closed at once.
     */
    public Builder mostConnections(int most) {
      this.mostConnections = most;
      return this;
    }

    /**
     * Sets how long a request may be, 16 MiB by default, and how many descriptors may come with it,
     * 253 by default. A client that sends more is disconnected.
     */
    public Builder mostOfRequest(int bytes, int descriptors) {
      this.mostOfRequest = new Connection.Most(bytes, descriptors);
      return this;
    }

    /**
     * Starts to serve.
     *
     * @param listener taken over, and closed with the server; its file is the caller's to remove
     * @throws IllegalStateException if a method has no handler; the listener is still the caller's
     */
    public VarlinkServer start(UnixListener listener) {
      for (Served served : interfaces.values()) {
        for (String method : served.definition().methods()) {
          if (!served.handlers().containsKey(method)) {
            throw new IllegalStateException(
                "no handler for " + served.definition().name() + "." + method);
          }
        }
      }
      VarlinkServer server = new VarlinkServer(this, listener);
      server.acceptor.start();
      return server;
    }
  }

  private static Thread thread(String name, Runnable work) {
    return Thread.ofPlatform().daemon().stackSize(STACK_BYTES).name(name).unstarted(work);
  }

  private void accept() {
    while (!closing) {
      Optional<UnixSocket> accepted;
      try {
        accepted = listener.accept();
      } catch (SystemCallException e) {
        // No descriptor or memory left. The connection waits in the backlog; so does this thread.
        log(Level.WARNING, "cannot accept a connection on " + listener.path(), e);
        try {
          Thread.sleep(BEFORE_ACCEPTING_AGAIN);
        } catch (InterruptedException closed) {
          return;
        }
        continue;
      }
      if (accepted.isEmpty()) {
        return;
      }
      begin(new Connection(accepted.get(), mostOfRequest));
    }
  }

  private void begin(Connection connection) {
    try {
      PeerCredentials credentials = connection.socket().peer();
      boolean permitted = allowed.test(credentials);
      if (!permitted && refused.incrementAndGet() > MOST_REFUSED) {
        refused.decrementAndGet();
        connection.close();
        return;
      }
      Peer peer = new Peer(connection, credentials, permitted);
      // Nobody has to make room for those who are not allowed.
      if (permitted && !makeRoom(credentials.pid())) {
        if (turnedAway.begins()) {
          log(
              Level.WARNING,
              "process "
                  + credentials.pid()
                  + " is turned away from "
                  + listener.path()
                  + ": all connections have calls under way; more are not named until it is quiet");
        }
        connection.close();
        return;
      }
      Thread thread = thread("varlink peer " + credentials.pid(), () -> serve(peer));
      connections.put(peer, thread);
      thread.start();
      if (closing) {
        connection.shutdown();
      }
    } catch (RuntimeException | OutOfMemoryError e) {
      // One connection's trouble (its thread could not start, or the check failed) ends that one.
      log(Level.WARNING, "cannot serve a connection on " + listener.path(), e);
      connections.keySet().removeIf(peer -> peer.connection == connection);
      connection.close();
    }
  }

  /** Whether a process may have one connection more, for which another one may have to go. */
  private boolean makeRoom(int pid) {
    Map<Integer, Long> each =
        connections.keySet().stream()
            .filter(peer -> peer.permitted)
            .collect(Collectors.groupingBy(Peer::pid, Collectors.counting()));
    ToLongFunction<Peer> ofItsProcess = peer -> each.getOrDefault(peer.pid(), 0L);
    if (each.getOrDefault(pid, 0L) >= mostConnections / 2) {
      return endIdle(peer -> peer.pid() == pid, ofItsProcess);
    }
    // Of whoever has most: a flood takes no place from a client that has few.
    return each.values().stream().mapToLong(Long::longValue).sum() < mostConnections
        || endIdle(peer -> peer.permitted, ofItsProcess);
  }

  private boolean endIdle(Predicate<Peer> among, ToLongFunction<Peer> ofItsProcess) {
    // They go on meanwhile: what they are sorted by must not change.
    record Candidate(Peer peer, Thread thread, long ofItsProcess, long idleSince) {}
    List<Candidate> candidates =
        connections.entrySet().stream()
            .filter(each -> among.test(each.getKey()))
            .map(
                each ->
                    new Candidate(
                        each.getKey(),
                        each.getValue(),
                        ofItsProcess.applyAsLong(each.getKey()),
                        each.getKey().idleSince))
            .sorted(
                Comparator.comparingLong(Candidate::ofItsProcess)
                    .reversed()
                    .thenComparingLong(Candidate::idleSince))
            .toList();
    for (Candidate each : candidates) {
      if (each.peer().end()) {
        // Its descriptor is to be free before there is another.
        await(each.thread(), System.nanoTime() + PATIENCE.toNanos());
        return true;
      }
    }
    return false;
  }

  /** A connection, and what it does. */
  private static final class Peer {
    private final Connection connection;
    private final PeerCredentials credentials;
    private final boolean permitted;
    private final AtomicReference<Doing> doing = new AtomicReference<>(Doing.IDLE);
    private volatile long idleSince = System.nanoTime();

    private enum Doing {
      IDLE,
      CALL,
      ENDED
    }

    Peer(Connection connection, PeerCredentials credentials, boolean permitted) {
      this.connection = connection;
      this.credentials = credentials;
      this.permitted = permitted;
    }

    int pid() {
      return credentials.pid();
    }

    /** False if it was ended before its call began. */
    boolean begins() {
      return doing.compareAndSet(Doing.IDLE, Doing.CALL);
    }

    void ends() {
      idleSince = System.nanoTime();
      doing.set(Doing.IDLE);
    }

    /** Ends it, unless it has a call under way. */
    boolean end() {
      boolean idle = doing.compareAndSet(Doing.IDLE, Doing.ENDED);
      if (idle) {
        connection.shutdown();
      }
      return idle;
    }
  }

  private void serve(Peer peer) {
    try (Connection connection = peer.connection) {
      while (!closing) {
        Optional<Connection.Message> read = connection.read();
        if (read.isEmpty()) {
          return;
        }
        try (Connection.Message message = read.get()) {
          if (!peer.begins()) {
            return;
          }
          answer(connection, peer.credentials, peer.permitted, message);
        }
        if (!peer.permitted) {
          return;
        }
        peer.ends();
      }
    } catch (VarlinkConnectionException e) {
      log(Level.INFO, "process " + peer.pid() + " is disconnected: " + e.getMessage());
    } catch (RuntimeException e) {
      log(Level.WARNING, "process " + peer.pid() + " is disconnected", e);
    } finally {
      connections.remove(peer);
      if (!peer.permitted) {
        refused.decrementAndGet();
      }
    }
  }

  private void answer(
      Connection connection, PeerCredentials peer, boolean permitted, Connection.Message message) {
    Request request = Request.of(message.json());
    int dot = request.method().lastIndexOf('.');
    String name = request.method().substring(0, Math.max(0, dot));
    String method = request.method().substring(dot + 1);
    Optional<Served> served = Optional.ofNullable(interfaces.get(name));
    Call call =
        new Call(
            connection,
            served.map(Served::definition).orElse(SERVICE),
            method,
            request.parameters(),
            message.descriptors(),
            peer,
            request.more(),
            request.oneway());
    try {
      if (!permitted) {
        throw VarlinkError.permissionDenied();
      }
      if (dot > 0 && served.isEmpty()) {
        throw interfaceNotFound(name);
      }
      Optional<Handler> handler = served.map(s -> s.handlers().get(method));
      if (served.isEmpty() || handler.isEmpty()) {
        throw new VarlinkError(
            VarlinkError.SERVICE + ".MethodNotFound", JsonObject.of("method", request.method()));
      }
      if (request.upgrade()) {
        throw VarlinkError.invalidParameter("upgrade");
      }
      served
          .get()
          .definition()
          .wrongParameter(method, request.parameters())
          .ifPresent(
              wrong -> {
                throw VarlinkError.invalidParameter(wrong);
              });
      handler.get().handle(call);
      call.finish();
    } catch (VarlinkError e) {
      call.fail(e);
    } catch (RuntimeException | LinkageError e) {
      log(Level.ERROR, request.method() + " failed", e);
      call.fail(VarlinkError.internal(Optional.ofNullable(e.getMessage()).orElseGet(e::toString)));
    }
  }

  /**
   * A call's members, https://varlink.org/Method-Call; members that it does not name are ignored.
   */
  private record Request(
      String method, JsonObject parameters, boolean more, boolean oneway, boolean upgrade) {
    static Request of(JsonObject call) {
      Request request;
      try {
        request =
            new Request(
                call.string("method"),
                call.optionalObject("parameters").orElse(JsonObject.empty()),
                call.optionalBool("more").orElse(false),
                call.optionalBool("oneway").orElse(false),
                call.optionalBool("upgrade").orElse(false));
      } catch (JsonException e) {
        throw new VarlinkConnectionException("its message is no call: " + e.getMessage(), e);
      }
      if (request.more() && request.oneway()) {
        throw new VarlinkConnectionException("its call is both more and oneway");
      }
      return request;
    }
  }

  private static VarlinkError interfaceNotFound(String name) {
    return new VarlinkError(
        VarlinkError.SERVICE + ".InterfaceNotFound", JsonObject.of("interface", name));
  }

  /** How many connections there are now. */
  public int connections() {
    return connections.size();
  }

  /**
   * Ends everything: listens no more, ends all connections, interrupts the handlers that still
   * work, and waits up to 5 seconds for them. A handler may call this; it then outlives the server.
   */
  @Override
  public void close() {
    closing = true;
    listener.shutdown();
    acceptor.interrupt();
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    await(acceptor, deadline);
    for (Map.Entry<Peer, Thread> open : connections.entrySet()) {
      open.getKey().connection.shutdown();
      if (open.getValue() != Thread.currentThread()) {
        open.getValue().interrupt();
      }
    }
    connections.values().forEach(thread -> await(thread, deadline));
    listener.close();
  }

  private static void await(Thread thread, long deadline) {
    if (thread == Thread.currentThread()) {
      return;
    }
    try {
      boolean _ = thread.join(Duration.ofNanos(Math.max(0, deadline - System.nanoTime())));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Apart, so that logging is set up when there is something to log, not at start. */
  private static final class Log {
    static final System.Logger LOGGER = System.getLogger("io.holdfast.varlink");
  }

  private static void log(Level level, String message) {
    Log.LOGGER.log(level, message);
  }

  private static void log(Level level, String message, Throwable e) {
    Log.LOGGER.log(level, message, e);
  }
}
