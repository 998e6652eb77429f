package io.holdfast.agent;

import io.holdfast.linux.Linux;
import io.holdfast.linux.OncePerFlood;
import io.holdfast.linux.Received;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixListener;
import io.holdfast.linux.UnixSocket;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Vm;
import io.holdfast.vm.qemu.Lines;
import io.holdfast.vm.qemu.QmpException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.locks.LockSupport;

/**
 * A VM's QMP channel for everybody else: a socket that stays the same, whatever QEMU runs the
 * guest.
 *
 * <p>Clients speak QMP to it (QEMU's docs/interop/qmp-spec), a message a line. Their commands go
 * through the agent's own channel to the QEMU that runs the VM at the moment, as far as {@link
 * io.holdfast.vm.Hotplug} lets them; events come from there, too. An update shows to them as
 * commands that are refused while it is under way.
 */
final class QmpServer implements AutoCloseable {
  private static final int BUFFER = 16 * 1024;

  /** Messages that may wait for a client who does not read. */
  private static final int MOST_WAITING = 1024;

  /** Clients of one VM: each is a descriptor of the agent's, and two threads. */
  static final int MOST_CLIENTS = 16;

  /** Bytes of one command. */
  private static final int MOST_OF_COMMAND = 1 << 20;

  private static final Duration BEFORE_ACCEPTING_AGAIN = Duration.ofMillis(100);

  /** Executes a command for a client. */
  interface Executor {
    /**
     * Executes it.
     *
     * @return QEMU's whole reply
     * @throws QmpException QEMU's error
     * @throws VarlinkError if the VM is taken by something else, or the command is not passed on
     */
    JsonObject execute(String command, JsonObject arguments) throws IOException;
  }

  private final String vm;
  private final Path directory;
  private final Executor executor;
  private final UnixListener listener;
  private final Set<Client> clients = ConcurrentHashMap.newKeySet();
  private final OncePerFlood tooMany = new OncePerFlood();
  private final OncePerFlood noDescriptor = new OncePerFlood();

  /** Listens on the VM's channel, {@code qmp.sock} in its directory. */
  QmpServer(Linux linux, Vm vm, Executor executor) throws IOException {
    this(linux, vm.spec().name(), vm.directory(), executor);
    vm.listen(event -> clients.forEach(client -> client.event(event)));
  }

  /** As for a VM of this name and directory, without its events. */
  QmpServer(Linux linux, String vm, Path directory, Executor executor) throws IOException {
    this.vm = vm;
    this.directory = directory;
    this.executor = executor;
    Path path = path(directory);
    Files.deleteIfExists(path);
    this.listener = linux.listen(path, 16);
    var _ = start("qmp channel of " + vm, this::acceptAll);
  }

  /** Where a VM's channel is. */
  static Path path(Path directory) {
    return directory.resolve("qmp.sock");
  }

  private static Thread start(String name, Runnable work) {
    return Thread.ofPlatform().daemon().name(name).stackSize(256 * 1024).start(work);
  }

  private void acceptAll() {
    while (true) {
      Optional<UnixSocket> accepted;
      try {
        accepted = listener.accept();
      } catch (SystemCallException e) {
        // No descriptor or memory left: the client waits in the backlog until there is.
        if (noDescriptor.begins()) {
          log(System.Logger.Level.WARNING, "a client of VM " + vm + "'s QMP channel waits", e);
        }
        LockSupport.parkNanos(BEFORE_ACCEPTING_AGAIN.toNanos());
        continue;
      }
      if (accepted.isEmpty()) {
        return;
      }
      begin(accepted.get());
    }
  }

  private void begin(UnixSocket socket) {
    Client client = new Client(socket);
    try {
      if (clients.size() >= MOST_CLIENTS) {
        turnAway(socket);
        return;
      }
      clients.add(client);
      var _ = start("qmp client of " + vm, client::serve);
    } catch (SystemCallException | OutOfMemoryError e) {
      // Its own trouble: it has gone, or there is no room for its thread.
      log(System.Logger.Level.WARNING, "a client of VM " + vm + "'s QMP channel is left", e);
      clients.remove(client);
      socket.close();
    }
  }

  private void turnAway(UnixSocket socket) {
    String why =
        "VM "
            + vm
            + "'s QMP channel has "
            + MOST_CLIENTS
            + " clients, as many as it may: disconnect one of them";
    if (tooMany.begins()) {
      System.getLogger(QmpServer.class.getName()).log(System.Logger.Level.WARNING, why);
    }
    try (socket) {
      // There is room: nothing has been sent on it yet.
      socket.send(line(error("GenericError", why)));
    }
  }

  private static void log(System.Logger.Level level, String what, Throwable e) {
    System.getLogger(QmpServer.class.getName()).log(level, what, e);
  }

  /** Listens no more, and disconnects everybody. */
  @Override
  public void close() {
    listener.shutdown();
    listener.close();
    clients.forEach(client -> client.socket.shutdown());
    try {
      Files.deleteIfExists(path(directory));
    } catch (IOException e) {
      log(System.Logger.Level.WARNING, "left over: " + path(directory), e);
    }
  }

  private static JsonObject error(String kind, String text) {
    return JsonObject.of("error", JsonObject.of("class", kind, "desc", text));
  }

  private static byte[] line(JsonObject message) {
    return (message + "\r\n").getBytes(StandardCharsets.UTF_8);
  }

  /** One connection. */
  private final class Client {
    private final UnixSocket socket;
    private final BlockingQueue<JsonObject> outgoing = new LinkedBlockingQueue<>(MOST_WAITING);
    private volatile boolean negotiated;

    Client(UnixSocket socket) {
      this.socket = socket;
    }

    void serve() {
      Thread writer = start("qmp answers of " + vm, this::write);
      try (socket) {
        JsonObject version = executor.execute("query-version", JsonObject.empty());
        send(
            JsonObject.of(
                "QMP",
                JsonObject.of("version", version.object("return"), "capabilities", List.of())));
        Lines lines = new Lines(MOST_OF_COMMAND);
        byte[] buffer = new byte[BUFFER];
        while (true) {
          Received received = socket.receive(buffer);
          received.closeDescriptors();
          if (received.end()) {
            return;
          }
          lines.add(buffer, received.bytes(), this::take);
        }
      } catch (IOException | SystemCallException | IllegalStateException | VarlinkError e) {
        log(System.Logger.Level.DEBUG, "a client of " + vm + " went", e);
      } finally {
        clients.remove(this);
        writer.interrupt();
      }
    }

    private void take(String line) {
      if (line.isBlank()) {
        return;
      }
      JsonObject request;
      try {
        request = Json.parse(line);
      } catch (JsonException e) {
        send(error("GenericError", "not JSON: " + e.getMessage()));
        return;
      }
      JsonObject reply = answer(request);
      Optional<Object> id = request.get("id");
      send(id.isPresent() ? reply.with("id", id.get()) : reply);
    }

    private JsonObject answer(JsonObject request) {
      Optional<String> command = request.optionalString("execute");
      if (command.isEmpty()) {
        return error("GenericError", "the message has no member \"execute\"");
      }
      if (command.get().equals("qmp_capabilities")) {
        negotiated = true;
        return JsonObject.of("return", JsonObject.empty());
      }
      if (!negotiated) {
        return error(
            "CommandNotFound",
            "Expecting capabilities negotiation with 'qmp_capabilities' before " + command.get());
      }
      try {
        JsonObject reply =
            executor.execute(
                command.get(), request.optionalObject("arguments").orElse(JsonObject.empty()));
        return JsonObject.of("return", reply.get("return").orElse(JsonObject.empty()));
      } catch (QmpException e) {
        return error(e.errorClass(), String.valueOf(e.getMessage()));
      } catch (IOException | JsonException e) {
        return error("GenericError", String.valueOf(e.getMessage()));
      } catch (VarlinkError e) {
        return error("GenericError", e.parameters().optionalString("message").orElse(e.name()));
      }
    }

    /**
     * Passes an event on. One who does not read is disconnected: nobody may hold up the thread that
     * events come on.
     */
    void event(JsonObject event) {
      if (negotiated && !outgoing.offer(event)) {
        socket.shutdown();
      }
    }

    private void send(JsonObject message) {
      try {
        outgoing.put(message);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted", e);
      }
    }

    /** Sends what is to be sent until the connection ends. */
    private void write() {
      try {
        while (true) {
          JsonObject message = outgoing.take();
          socket.send(line(message));
        }
      } catch (SystemCallException | IllegalStateException e) {
        log(System.Logger.Level.DEBUG, "a client does not listen any more", e);
        socket.shutdown();
      } catch (InterruptedException e) {
        // The reader has ended, and nobody else is there to be told.
        Thread.currentThread().interrupt();
      }
    }
  }
}
