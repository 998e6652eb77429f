package io.holdfast.vm.qemu;

import io.holdfast.core.run.Patience;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Received;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixSocket;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.Predicate;

/**
 * A client of one QEMU's control channel (QMP, docs/interop/qmp-spec.txt of QEMU).
 *
 * <p>One reader thread takes replies and events as they come; nothing polls. Commands may be sent
 * from any thread. When QEMU goes away, everything that waits ends with a {@link QmpException} of
 * class {@code Closed}.
 *
 * <pre>{@code
 * Expectation stopped = qmp.expect("STOP");
 * qmp.execute("stop");
 * stopped.await(Duration.ofSeconds(5));
 * }</pre>
 */
public final class Qmp implements AutoCloseable {
  /** How long an ordinary command may take before QEMU counts as hung. */
  public static final Duration COMMAND = Patience.of(Duration.ofSeconds(10));

  private static final int BUFFER = 64 * 1024;

  /**
   * Commands that QEMU may owe an answer to: more would one day fill the socket, and wait there.
   */
  private static final int OWED = 64;

  private final UnixSocket socket;
  private final String who;
  private final Map<Long, CompletableFuture<JsonObject>> pending = new ConcurrentHashMap<>();
  private final List<Expectation> expectations = new CopyOnWriteArrayList<>();
  private final List<Consumer<JsonObject>> listeners = new CopyOnWriteArrayList<>();
  private final AtomicLong nextId = new AtomicLong();
  private final CompletableFuture<JsonObject> greeting = new CompletableFuture<>();
  private final CompletableFuture<String> closed = new CompletableFuture<>();
  private final Object sending = new Object();

  private Qmp(UnixSocket socket, String who) {
    this.socket = socket;
    this.who = who;
  }

  /**
   * Connects to the listening control socket of a QEMU and negotiates.
   *
   * @param who names the QEMU in errors, such as {@code the successor of vm1}
   * @throws SystemCallException if nothing listens there
   * @throws QmpException if QEMU does not greet within {@code timeout}, or answer within that,
   *     {@link #COMMAND} at least
   */
  public static Qmp connect(Linux linux, Path path, String who, Duration timeout)
      throws QmpException {
    return over(linux, linux.connect(path), who, timeout);
  }

  /** As {@link #connect}, over a connected socket, whose ownership is taken. */
  public static Qmp over(Linux linux, UnixSocket socket, String who, Duration timeout)
      throws QmpException {
    Qmp qmp = new Qmp(socket, who);
    Thread.ofPlatform()
        .daemon()
        .name("qmp " + who)
        .stackSize(256 * 1024)
        .start(
            () -> {
              // What it reads is waited for while a guest stands still, maybe on a busy host.
              boolean _ = linux.nice(0, Urgency.MOST);
              qmp.readAll();
            });
    try {
      var _ = qmp.await(qmp.greeting, "its greeting", timeout);
      // It greets before it makes the machine, and answers after that.
      Duration patience = timeout.compareTo(COMMAND) > 0 ? timeout : COMMAND;
      var _ = qmp.execute("qmp_capabilities", JsonObject.empty(), patience, List.of());
      return qmp;
    } catch (QmpException e) {
      qmp.close();
      throw e;
    }
  }

  /**
   * Executes a command without arguments; see {@link #execute(String, JsonObject, Duration, List)}.
   */
  public JsonObject execute(String command) throws QmpException {
    return execute(command, JsonObject.empty());
  }

  /**
   * Executes a command within {@link #COMMAND}; see {@link #execute(String, JsonObject, Duration,
   * List)}.
   */
  public JsonObject execute(String command, JsonObject arguments) throws QmpException {
    return execute(command, arguments, COMMAND, List.of());
  }

  /**
   * Executes a command and waits for its reply.
   *
   * @param descriptors passed along by SCM_RIGHTS, borrowed (QEMU's {@code getfd} takes one)
   * @return the whole reply; its {@code return} member is what QEMU returned
   * @throws QmpException QEMU's error, or {@code Timeout} or {@code Closed}
   */
  public JsonObject execute(
      String command, JsonObject arguments, Duration timeout, List<Fd> descriptors)
      throws QmpException {
    return send(command, arguments, descriptors).await(timeout);
  }

  /** Sends a command without waiting for its reply. */
  public Pending send(String command, JsonObject arguments, List<Fd> descriptors)
      throws QmpException {
    if (pending.size() >= OWED) {
      throw new QmpException(
          "Timeout", who + " has not answered its last " + OWED + " commands; " + command);
    }
    long id = nextId.incrementAndGet();
    JsonObject request = JsonObject.of("execute", command, "arguments", arguments, "id", id);
    byte[] line = (request + "\n").getBytes(StandardCharsets.UTF_8);
    CompletableFuture<JsonObject> reply = new CompletableFuture<>();
    pending.put(id, reply);
    if (closed.isDone()) {
      throw gone(command);
    }
    try {
      synchronized (sending) {
        socket.send(line, 0, line.length, descriptors);
      }
    } catch (SystemCallException | IllegalStateException e) {
      pending.remove(id);
      throw gone(command);
    }
    return new Pending(command, reply);
  }

  /** A command under way. */
  public final class Pending {
    private final String command;
    private final CompletableFuture<JsonObject> reply;
    private final long sent = System.nanoTime();

    private Pending(String command, CompletableFuture<JsonObject> reply) {
      this.command = command;
      this.reply = reply;
    }

    /**
     * Waits for the reply; as {@link Qmp#execute(String, JsonObject, Duration, List)} returns and
     * throws. After a timeout it can be awaited again.
     */
    public JsonObject await(Duration timeout) throws QmpException {
      // In tenths of a second, so that messages of repeated attempts are the same.
      Duration before = Duration.ofMillis((System.nanoTime() - sent) / 100_000_000 * 100);
      JsonObject answer = Qmp.this.await(reply, command, timeout, before);
      if (answer.has("error")) {
        JsonObject error = answer.object("error");
        throw new QmpException(
            error.string("class"), who + " refused " + command + ": " + error.string("desc"));
      }
      return answer;
    }
  }

  /** Expects the next event of this name; to be called before the command that causes it. */
  public Expectation expect(String event) {
    return expect(e -> e.string("event").equals(event), event);
  }

  /**
   * Expects the next migration event with one of these states.
   *
   * @param states such as {@code completed} and {@code failed}
   */
  public Expectation expectMigration(String... states) {
    List<String> wanted = List.of(states);
    return expect(
        e ->
            e.string("event").equals("MIGRATION")
                && wanted.contains(e.object("data").string("status")),
        "migration " + String.join(" or ", wanted));
  }

  /**
   * Passes every event on from now on.
   *
   * @param listener called on the thread that reads the channel: it must return soon, and may not
   *     execute a command
   */
  void listen(Consumer<JsonObject> listener) {
    listeners.add(listener);
  }

  private Expectation expect(Predicate<JsonObject> test, String what) {
    Expectation expectation = new Expectation(test, what);
    expectations.add(expectation);
    if (closed.isDone()) {
      expectation.event.completeExceptionally(gone(what));
    }
    return expectation;
  }

  /** An event that is waited for. */
  public final class Expectation {
    private final Predicate<JsonObject> test;
    private final String what;
    private final CompletableFuture<JsonObject> event = new CompletableFuture<>();

    private Expectation(Predicate<JsonObject> test, String what) {
      this.test = test;
      this.what = what;
    }

    /**
     * Waits until the event has come, and returns it; {@code Timeout} or {@code Closed} if it does
     * not. After a timeout it can be awaited again; one that is not is to be {@link #forget
     * forgotten}.
     */
    public JsonObject await(Duration timeout) throws QmpException {
      JsonObject come = Qmp.this.await(event, what, timeout);
      expectations.remove(this);
      return come;
    }

    /** The event if it has come already. Expects it no more. */
    public Optional<JsonObject> seen() {
      expectations.remove(this);
      return hasCome() ? Optional.of(event.join()) : Optional.empty();
    }

    /** Returns whether the event has come; it is still expected if not. */
    public boolean hasCome() {
      return event.isDone() && !event.isCompletedExceptionally();
    }

    /** Expects it no more; for one that is not going to be awaited. */
    public void forget() {
      expectations.remove(this);
    }
  }

  /** Ends the channel; QEMU goes on. Does nothing the second time. */
  @Override
  public void close() {
    end("closed by Holdfast");
    socket.shutdown();
  }

  private <T> T await(CompletableFuture<T> future, String what, Duration timeout)
      throws QmpException {
    return await(future, what, timeout, Duration.ZERO);
  }

  /** Waits for what has been waited for before, for a time that its message includes. */
  private <T> T await(CompletableFuture<T> future, String what, Duration timeout, Duration before)
      throws QmpException {
    try {
      return future.get(Math.max(1, timeout.toNanos()), TimeUnit.NANOSECONDS);
    } catch (TimeoutException e) {
      throw new QmpException(
          "Timeout",
          who + " did not answer " + what + " within " + timeout.plus(before).toMillis() + " ms");
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new QmpException(
          "Interrupted", "interrupted while waiting for " + who + " (" + what + ")");
    } catch (ExecutionException e) {
      throw gone(what);
    }
  }

  private QmpException gone(String what) {
    String reason = closed.getNow("its control channel ended");
    return new QmpException(
        "Closed", who + " went away (" + reason + ") before it answered " + what);
  }

  private void readAll() {
    byte[] buffer = new byte[BUFFER];
    Lines lines = new Lines();
    try {
      while (true) {
        Received received = socket.receive(buffer);
        received.closeDescriptors();
        if (received.bytes() == 0) {
          break;
        }
        lines.add(buffer, received.bytes(), this::dispatch);
      }
      end("end of file");
    } catch (SystemCallException | IllegalStateException | JsonException e) {
      end(String.valueOf(e.getMessage()));
    } finally {
      socket.close();
    }
  }

  private void dispatch(String line) {
    if (line.isBlank()) {
      return;
    }
    JsonObject message = Json.parse(line);
    if (message.has("QMP")) {
      greeting.complete(message);
    } else if (message.has("event")) {
      for (Expectation e : expectations) {
        if (e.test.test(message)) {
          e.event.complete(message);
        }
      }
      listeners.forEach(listener -> listener.accept(message));
    } else if (message.has("id")) {
      CompletableFuture<JsonObject> reply = pending.remove(message.number("id"));
      if (reply != null) {
        reply.complete(message);
      }
    }
  }

  private void end(String reason) {
    if (!closed.complete(reason)) {
      return;
    }
    QmpException gone = new QmpException("Closed", who + " went away: " + reason);
    greeting.completeExceptionally(gone);
    pending.values().forEach(reply -> reply.completeExceptionally(gone));
    expectations.forEach(e -> e.event.completeExceptionally(gone));
  }
}
