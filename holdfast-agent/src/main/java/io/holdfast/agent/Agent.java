package io.holdfast.agent;

import io.holdfast.core.run.Patience;
import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.kexec.session.SessionGuard;
import io.holdfast.kexec.session.StoredSessions;
import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.MemfdOption;
import io.holdfast.linux.Seal;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixListener;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.ProcessStore;
import io.holdfast.store.ServiceManager;
import io.holdfast.store.SystemdStore;
import io.holdfast.varlink.Call;
import io.holdfast.varlink.VarlinkInterface;
import io.holdfast.varlink.VarlinkServer;
import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Vm;
import io.holdfast.vm.channel.Console;
import io.holdfast.vm.device.network.ConnectionBudget;
import io.holdfast.vm.probe.QemuProbe;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * The daemon: {@code holdfast agent [--run DIR] [--socket PATH]}.
 *
 * <p>It listens, and takes back what an earlier agent left: who names a VM waits for that one. Only
 * root and its own user may call it. On SIGTERM and SIGINT it stops listening and goes; the VMs go
 * on, and the next agent finds them.
 */
public final class Agent implements AutoCloseable {
  /** Version of Holdfast. */
  public static final String VERSION = "0.1.0";

  /** How long a socket in use is waited for. */
  private static final Duration LETTING_GO = Duration.ofSeconds(2);

  private static final LateLogger LOG = new LateLogger(Agent.class);

  /** From one attempt to take back an unknown VM to the next. */
  private static final Duration AGAIN = Duration.ofSeconds(5);

  /** How many attempts at that there may be at the same time. */
  private static final int TRIED = 16;

  /** How long the rehearsal waits for what is taken back. */
  private static final Duration REHEARSED = Duration.ofSeconds(5);

  /** How long an agent that is to end goes on taking back VMs. */
  private static final Duration ENDING = Duration.ofSeconds(5);

  /** How long an agent takes back VMs before it says that it is ready for all others. */
  private static final Duration READY = Duration.ofSeconds(30);

  private static final int MOST_CLIENTS = 128;

  /** An eighth of the agent's descriptors at most, however few it may have. */
  private static final int SHARE_OF_CLIENTS = 8;

  /** Requests are definitions of VMs at most; what is long comes in a memfd, one a request. */
  private static final int MOST_BYTES_OF_REQUEST = 1 << 20;

  private static final int MOST_DESCRIPTORS_OF_REQUEST = 4;

  private static final String USAGE = "Usage: holdfast agent [--run DIR] [--socket PATH]";

  private static final String HELP =
      USAGE
          + """

          Runs the agent, which holds the VMs' memory, until it is stopped. Running VMs continue
          without it; a guest that an update has paused waits for the next agent.
                --run=DIR       Its run directory; else HOLDFAST_RUN, else /run/holdfast for root,
                                else the user's own.
                --socket=PATH   Where it listens; else HOLDFAST_SOCKET, else agent.sock in the run
                                directory.
          HOLDFAST_PATIENCE=N in its environment multiplies the deadlines of updates and of QEMUs'
          answers by N, for hosts that are slower than others (1 to 100).""";

  private final Linux linux;
  private final AgentPaths places;
  private final FileChannel lockFile;
  private final Optional<ServiceManager> manager;
  private final DescriptorStore store;
  private final Vms vms;
  private final Boxes boxes;
  private final Updates updates;
  private final DebugView debugView;
  private final List<String> recovered = new CopyOnWriteArrayList<>();
  private final boolean arrived;
  private final CountDownLatch recovery = new CountDownLatch(1);
  private final long started = System.nanoTime();
  private final VarlinkServer server;
  private volatile boolean closed;

  /**
   * Starts an agent and listens.
   *
   * @throws IOException if another agent has the run directory, or its socket is in use
   */
  public Agent(Linux linux, AgentPaths places) throws IOException {
    this.linux = linux;
    this.places = places;
    places.create();
    // First of all: what a dead agent had open, its lock included, is so as long as its guard
    // lives.
    SessionGuard guard = SessionGuard.open(linux, places.run().resolve("guard"));
    this.lockFile =
        FileChannel.open(
            places.run().resolve("agent.lock"),
            StandardOpenOption.CREATE,
            StandardOpenOption.WRITE);
    FileLock lock = lockFile.tryLock();
    if (lock == null) {
      lockFile.close();
      guard.close();
      throw new IOException(
          "another agent has "
              + places.run()
              + "; talk to that one, or choose another directory with --run DIR");
    }
    // Before anything is started that would be left over when the socket is somebody else's.
    UnixListener listener = listen();
    QemuProbe.removeLeftovers(places.run());
    this.manager = ServiceManager.find(linux, System.getenv());
    this.store = open();
    guard.keep(store);
    if (manager.isPresent()) {
      new StoredSessions(store, StoredSessions.boot()).sort(places.run().resolve("sorted"));
    }
    Optional<Arrival> arrival = Arrival.unpack(linux, store, guard, places);
    this.arrived = arrival.isPresent();
    this.vms = new Vms(linux, places, store, new QemuProbe(linux, places.run()), arrival);
    this.boxes = new Boxes(linux, store, arrival);
    this.updates = new Updates(linux, places, vms, boxes, store, arrival);
    this.debugView = new DebugView(linux, store, vms, boxes, updates);
    updates.expect();
    vms.expect();
    // Guests may wait for it, after a kexec; and who calls waits for no VM but the one that it
    // names.
    Thread.ofPlatform().name("recovery").start(this::recover);
    this.server = serve(listener);
    Thread.ofPlatform().daemon().name("after the recovery").start(this::prepare);
  }

  private void recover() {
    while (!closed && !tookBack()) {
      LockSupport.parkNanos(AGAIN.toNanos());
    }
    List<String> story = new ArrayList<>();
    updates.recover(story);
    recovered.addAll(story);
    vms.allRecovered();
    recovery.countDown();
  }

  /** Whether the descriptor store could be asked what it has; no VM is free before. */
  private boolean tookBack() {
    try {
      vms.recover(recovered::add, updates::fenced, updates::recover);
      return true;
    } catch (RuntimeException e) {
      LOG.get().log(System.Logger.Level.ERROR, "VMs are taken back in some seconds", e);
      return false;
    }
  }

  /** Prepares for what may be asked for, when no guest waits any more. */
  private void prepare() {
    // Guests that came from another kernel are paused until then.
    boolean _ = awaitRecovery(arrived ? READY : REHEARSED);
    updates.rehearse();
    boolean _ = awaitRecovery(READY);
    try {
      if (manager.isPresent()) {
        manager.get().tell("READY=1", List.of());
      }
    } catch (IOException | RuntimeException e) {
      LOG.get().log(System.Logger.Level.ERROR, "the service manager is not told of the start", e);
    }
    Loading.load(budgets());
    takeBack();
  }

  /** Waits until all is taken back, but not for what hangs; whether it is. */
  private boolean awaitRecovery(Duration limit) {
    try {
      return recovery.await(limit.toMillis(), TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return false;
    }
  }

  /**
   * systemd's store where this is a service that has one, else an idle process. What such a process
   * kept for an agent that was no service goes into the store.
   */
  private DescriptorStore open() throws IOException {
    Path record = places.run().resolve("keeper");
    if (manager.isPresent()) {
      Optional<SystemdStore> store = SystemdStore.open(linux, manager.get(), System.getenv());
      if (store.isPresent()) {
        if (Files.exists(record)) {
          ProcessStore process = ProcessStore.open(linux, record);
          process
              .all(_ -> true)
              .forEach(
                  (key, fd) -> {
                    try (fd) {
                      store.get().put(key, fd);
                    }
                  });
          process.end();
        }
        return store.get();
      }
    }
    return ProcessStore.open(linux, record);
  }

  /**
   * What could not be told of may be told later: a QEMU that was busy answers, a disk is back. Each
   * VM has a thread of its own for an attempt, as it may hang.
   */
  private void takeBack() {
    Set<String> tried = ConcurrentHashMap.newKeySet();
    while (!closed
        && (recovery.getCount() > 0 || !vms.recovering().isEmpty() || !vms.unknown().isEmpty())) {
      LockSupport.parkNanos(AGAIN.toNanos());
      for (String name : vms.unknown()) {
        if (tried.size() < TRIED && tried.add(name)) {
          Thread.ofPlatform()
              .daemon()
              .name("takes back VM " + name)
              .start(
                  () -> {
                    try {
                      takeBack(name);
                    } finally {
                      tried.remove(name);
                    }
                  });
        }
      }
    }
  }

  private void takeBack(String name) {
    List<String> story = new ArrayList<>();
    if (!closed && vms.takeBack(name, story, updates::fenced)) {
      vms.takenBack(name, updates.recover(name, story));
      story.forEach(line -> LOG.get().log(System.Logger.Level.INFO, line));
    }
  }

  private UnixListener listen() throws IOException {
    Path socket = places.socket();
    if (Files.exists(socket, LinkOption.NOFOLLOW_LINKS)) {
      boolean file = !Files.readAttributes(socket, BasicFileAttributes.class).isOther();
      if (file) {
        throw new IOException(
            socket
                + " is there and is no socket, so it stays as it is; choose another path with"
                + " --socket PATH, or remove it");
      }
      // The lock says that no agent of this directory runs; but the path may be told, and
      // anybody's. A child of an agent that was killed has its socket too, until it becomes the
      // program that it was started for: recovery has to wait for that anyway, as such a child
      // can't be found yet.
      long end = System.nanoTime() + LETTING_GO.toNanos();
      while (answers(socket) && System.nanoTime() - end < 0) {
        LockSupport.parkNanos(10_000_000);
      }
      if (answers(socket)) {
        throw new IOException(
            "socket "
                + socket
                + " is in use by another service; choose another one with --socket PATH");
      }
      Files.delete(socket);
    }
    return linux.listen(socket, 64);
  }

  private boolean answers(Path socket) {
    try {
      linux.connect(socket).close();
      return true;
    } catch (SystemCallException _) {
      return false;
    }
  }

  private VarlinkServer serve(UnixListener listener) throws IOException {
    int me = linux.effectiveUser();
    return VarlinkServer.builder("Holdfast", "holdfast", VERSION, "https://holdfast.example")
        .implement(definition("Agent"))
        .implement(definition("Vm"))
        .implement(definition("Update"))
        .implement(definition("Box"))
        .implement(definition("Debug"))
        .allow(peer -> peer.uid() == 0 || peer.uid() == me)
        .mostConnections(mostClients())
        .mostOfRequest(MOST_BYTES_OF_REQUEST, MOST_DESCRIPTORS_OF_REQUEST)
        .on("io.holdfast.Agent.Status", call -> call.reply(status()))
        .on("io.holdfast.Vm.Run", call -> call.reply(vm(run(call))))
        .on("io.holdfast.Vm.List", call -> call.reply(JsonObject.of("vms", vms.states())))
        .on("io.holdfast.Vm.Show", call -> call.reply(JsonObject.of("vm", vms.show(name(call)))))
        .on("io.holdfast.Vm.Adopt", this::adopt)
        .on("io.holdfast.Vm.Stop", call -> stop(name(call)))
        .on("io.holdfast.Vm.Pause", call -> call.reply(vm(vms.pause(name(call)))))
        .on("io.holdfast.Vm.Resume", call -> call.reply(vm(vms.resume(name(call)))))
        .on("io.holdfast.Vm.Memory", this::memory)
        .on("io.holdfast.Vm.Qmp", this::qmp)
        .on(
            "io.holdfast.Vm.Media",
            call ->
                vms.media(
                    name(call),
                    call.parameters().string("drive"),
                    call.parameters().optionalString("medium")))
        .on("io.holdfast.Vm.Console", this::console)
        .on("io.holdfast.Update.Vmm", this::updateVmm)
        .on("io.holdfast.Update.Vmms", this::updateVmms)
        .on("io.holdfast.Update.Kernel", this::updateKernel)
        .on("io.holdfast.Update.Retry", this::retry)
        .on("io.holdfast.Update.HostStopped", call -> updates.hostStopped())
        .on("io.holdfast.Box.Put", this::put)
        .on("io.holdfast.Box.Get", this::get)
        .on(
            "io.holdfast.Box.Remove",
            call ->
                boxes.remove(call.parameters().string("box"), call.parameters().string("label")))
        .on("io.holdfast.Box.GiveUp", call -> boxes.giveUp(call.parameters().string("box")))
        .on("io.holdfast.Box.List", call -> call.reply(JsonObject.of("boxes", boxes.list())))
        .on("io.holdfast.Debug.Boxes", call -> call.reply(JsonObject.of("boxes", debugView.held())))
        .on("io.holdfast.Debug.Manifest", this::manifest)
        .on(
            "io.holdfast.Debug.UnderWay",
            call -> call.reply(JsonObject.of("reports", updates.underWay())))
        .on("io.holdfast.Update.Cancel", call -> updates.cancel(call.parameters().string("id")))
        .on("io.holdfast.Update.List", call -> call.reply(JsonObject.of("reports", updates.list())))
        .on(
            "io.holdfast.Update.Show",
            call ->
                call.reply(JsonObject.of("report", updates.show(call.parameters().string("id")))))
        .start(listener);
  }

  private int mostClients() {
    return (int) Math.min(MOST_CLIENTS, linux.raiseDescriptorLimit() / SHARE_OF_CLIENTS);
  }

  private String budgets() {
    return "of "
        + linux.raiseDescriptorLimit()
        + " descriptors at most "
        + 2 * ConnectionBudget.ofProcess().places()
        + " are for connections to VMs' ports, and "
        + mostClients()
        + " for clients of the agent";
  }

  private static VarlinkInterface definition(String name) throws IOException {
    String file = "io.holdfast." + name + ".varlink";
    try (InputStream in = Agent.class.getResourceAsStream(file)) {
      if (in == null) {
        throw new IOException("this build of Holdfast lacks its interface file " + file);
      }
      return VarlinkInterface.parse(new String(in.readAllBytes(), StandardCharsets.UTF_8));
    }
  }

  /** The VM that a call is about, which is not being taken back any more. */
  private String name(Call call) {
    String name = call.parameters().string("name");
    vms.awaitRecovered(name);
    return name;
  }

  private Vm run(Call call) {
    JsonObject definition = call.parameters().object("definition");
    definition.optionalString("name").ifPresent(vms::awaitRecovered);
    return vms.run(definition);
  }

  private void adopt(Call call) {
    // The process may be that of any of them.
    vms.awaitRecovered();
    call.reply(vms.adopt(call.parameters()));
  }

  /** Waits for the VMs of the agent before, and for its updates of the kernel. */
  private void awaitAll() {
    vms.awaitRecovered();
    if (!awaitRecovery(READY)) {
      throw Vms.notPossible(
          "the agent is taking up the updates of the agent before, and has not ended within "
              + READY.toSeconds()
              + " s; try again");
    }
  }

  private void retry(Call call) {
    awaitAll();
    call.reply(JsonObject.of("reports", updates.retry()));
  }

  private void stop(String name) {
    vms.stop(name, () -> updates.stopped(name));
  }

  private JsonObject vm(Vm vm) {
    return JsonObject.of("vm", vms.state(vm));
  }

  private JsonObject status() {
    return JsonObject.of(
        "version", VERSION,
        "pid", ProcessHandle.current().pid(),
        "uptime", (System.nanoTime() - started) / 1_000_000,
        "runDirectory", places.run().toString(),
        "keeper", store.describe(),
        "heldDescriptors", store.size(),
        "vms", vms.all().size(),
        "recovering", vms.recovering().size(),
        "updates", updates.size(),
        "recovered", recovered,
        "refusedConnections", ConnectionBudget.ofProcess().refused());
  }

  private void memory(Call call) {
    Vm vm = vms.get(name(call));
    Fd ram = vm.ram();
    call.reply(JsonObject.of("descriptor", 0, "bytes", vm.spec().memory()), List.of(ram));
  }

  private void qmp(Call call) {
    JsonObject asked = call.parameters();
    try {
      JsonObject reply =
          vms.qmp(
              name(call),
              asked.string("command"),
              asked.optionalObject("arguments").orElse(JsonObject.empty()));
      call.reply(JsonObject.of("reply", reply));
    } catch (IOException e) {
      throw Vms.notPossible(String.valueOf(e.getMessage()));
    }
  }

  private void console(Call call) {
    String name = name(call);
    Console console =
        vms.get(name)
            .console()
            .orElseThrow(
                () ->
                    Vms.notPossible(
                        "VM "
                            + name
                            + " has no console that Holdfast can show: it did not start it"));
    OptionalLong from = call.parameters().optionalNumber("from");
    long tail = call.parameters().optionalNumber("tail").orElse(0);
    try (Console.Attachment watching =
        (from.isPresent() ? console.watchFrom(from.getAsLong()) : console.watchTail(tail))
            .orElseThrow(() -> Vms.noSuchVm(name))) {
      call.reply(
          JsonObject.of("output", 0, "input", 1, "from", watching.from()),
          List.of(watching.output(), watching.input()));
    } catch (IOException e) {
      throw Vms.notPossible(String.valueOf(e.getMessage()));
    }
  }

  private void updateVmm(Call call) {
    JsonObject asked = call.parameters();
    JsonObject report =
        updates.vmm(
            name(call),
            Updates.Wanted.of(asked),
            progress -> {
              if (call.more()) {
                // A client that went away changes nothing: the update goes on to its end.
                var _ = call.progress(JsonObject.of("progress", progress));
              }
            });
    call.reply(JsonObject.of("report", report));
  }

  private void updateKernel(Call call) {
    JsonObject asked = call.parameters();
    awaitAll();
    JsonObject report =
        updates.kernel(
            KernelRequest.of(asked),
            progress -> {
              if (call.more()) {
                // A client that went away changes nothing: it is stopped with the rest of the host.
                var _ = call.progress(JsonObject.of("progress", progress));
              }
            });
    call.reply(JsonObject.of("report", report));
  }

  private void put(Call call) {
    JsonObject asked = call.parameters();
    try (Fd memfd = call.takeDescriptor("descriptor")) {
      boxes.put(asked.string("box"), asked.string("label"), memfd);
    }
  }

  private void manifest(Call call) {
    byte[] manifest = debugView.manifest();
    try (Fd memfd = linux.memfd("manifest", 0, MemfdOption.ALLOW_SEALING)) {
      linux.write(memfd, MemorySegment.ofArray(manifest));
      linux.seal(memfd, EnumSet.allOf(Seal.class));
      call.reply(JsonObject.of("descriptor", 0, "bytes", manifest.length), List.of(memfd));
    }
  }

  private void get(Call call) {
    JsonObject asked = call.parameters();
    try (Fd fd = boxes.get(asked.string("box"), asked.string("label"))) {
      call.reply(JsonObject.of("descriptor", 0, "bytes", linux.size(fd)), List.of(fd));
    }
  }

  private void updateVmms(Call call) {
    JsonObject asked = call.parameters();
    Optional<JsonArray> names = asked.optionalArray("names");
    names.ifPresentOrElse(each -> each.strings().forEach(vms::awaitRecovered), vms::awaitRecovered);
    List<JsonObject> reports =
        updates.vmms(
            names.map(JsonArray::strings),
            Updates.Wanted.of(asked),
            asked.optionalNumber("parallel"),
            batch -> {
              if (call.more()) {
                var _ = call.progress(JsonObject.of("batch", batch));
              }
            },
            progress -> {
              if (call.more()) {
                var _ = call.progress(JsonObject.of("progress", progress));
              }
            });
    call.reply(JsonObject.of("reports", reports));
  }

  /**
   * Stops listening. The VMs and the descriptor store go on, unless there is nothing left to keep.
   */
  @Override
  public void close() {
    closed = true;
    updates.close();
    server.close();
    // What is not done by then the next agent does.
    boolean ended = awaitRecovery(ENDING) && vms.recovering().isEmpty();
    boolean nothing = ended && vms.all().isEmpty() && store.size() == 0;
    vms.close();
    try {
      Files.deleteIfExists(places.socket());
      if (nothing) {
        store.end();
      } else {
        store.close();
      }
      if (ended) {
        lockFile.close();
      } // Else when this process ends, and with it what takes back VMs.
      manager.ifPresent(ServiceManager::close);
    } catch (IOException e) {
      System.getLogger(Agent.class.getName()).log(System.Logger.Level.WARNING, "at the end", e);
    }
  }

  /**
   * Waits until what an earlier agent left is taken back, for 30 s at most: then the agent is
   * ready, and goes on with the rest.
   *
   * @return what there was, and what became of it so far; empty if nothing
   */
  public List<String> recovered() {
    boolean _ = awaitRecovery(READY);
    return List.copyOf(recovered);
  }

  private static String mistake(String argument) {
    return argument.equals("--run") || argument.equals("--socket")
        ? argument + " needs a value"
        : argument + " is not known";
  }

  /** Runs an agent until it is told to end. */
  public static void main(String[] args) throws InterruptedException {
    Optional<Path> run = Optional.empty();
    Optional<Path> socket = Optional.empty();
    for (int i = 0; i < args.length; i++) {
      boolean value = i + 1 < args.length;
      if (args[i].equals("--run") && value) {
        run = Optional.of(Path.of(args[++i]).toAbsolutePath());
      } else if (args[i].equals("--socket") && value) {
        socket = Optional.of(Path.of(args[++i]).toAbsolutePath());
      } else {
        boolean help = args[i].equals("--help") || args[i].equals("-h");
        (help ? System.out : System.err)
            .println(help ? HELP : "holdfast agent: " + mistake(args[i]) + "\n" + USAGE);
        System.exit(help ? 0 : 2);
      }
    }
    // Not refused: guests may wait for this agent, after a kexec.
    Patience.mistake()
        .ifPresent(mistake -> System.err.println("holdfast agent: " + mistake + "; it is ignored"));
    if (Patience.factor() > 1) {
      System.err.printf(
          "holdfast agent: deadlines are %d times the usual ones (%s)%n",
          Patience.factor(), Patience.VARIABLE);
    }
    Path directory = run.orElseGet(AgentPaths::defaultRun);
    AgentPaths places =
        new AgentPaths(directory, socket.orElse(AgentPaths.defaultSocket(directory)));
    // Before there is anything to leave behind: a signal may come as soon as the socket is there.
    CountDownLatch end = new CountDownLatch(1);
    CountDownLatch gone = new CountDownLatch(1);
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  end.countDown();
                  try {
                    var _ = gone.await(10, TimeUnit.SECONDS);
                  } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                  }
                }));
    Agent agent;
    try {
      agent = new Agent(Linux.system(), places);
    } catch (IOException | RuntimeException e) {
      System.err.println("holdfast agent: " + e.getMessage());
      gone.countDown();
      System.exit(1);
      return;
    }
    // Aside: it may be told to end before it is ready.
    Thread.ofPlatform()
        .daemon()
        .name("ready")
        .start(
            () -> {
              agent.recovered().forEach(line -> System.err.println("holdfast agent: " + line));
              System.err.println("holdfast agent: ready on " + places.socket());
            });
    end.await();
    agent.close();
    gone.countDown();
  }
}
