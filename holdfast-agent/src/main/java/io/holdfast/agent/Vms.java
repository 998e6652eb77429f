package io.holdfast.agent;

import io.holdfast.core.box.Box;
import io.holdfast.core.box.Entry;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.run.Patience;
import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.MemfdOption;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.linux.Protection;
import io.holdfast.linux.Seal;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.StorageCalls;
import io.holdfast.linux.file.StorageHangsException;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.StoreKey;
import io.holdfast.store.VmId;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Hotplug;
import io.holdfast.vm.Media;
import io.holdfast.vm.Vm;
import io.holdfast.vm.adopt.Adoption;
import io.holdfast.vm.device.BackendContext;
import io.holdfast.vm.probe.QemuProbe;
import io.holdfast.vm.qemu.QemuBinary;
import io.holdfast.vm.qemu.QemuUnusableException;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.qemu.RunState;
import io.holdfast.vm.spec.Cdrom;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.Device;
import io.holdfast.vm.spec.Pages;
import io.holdfast.vm.spec.PortDevice;
import io.holdfast.vm.spec.TapNetwork;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BiPredicate;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/**
 * The agent's VMs, by name. One operation at a time has a VM: who wants another is told what has
 * it.
 */
final class Vms {
  private static final LateLogger LOG = new LateLogger(Vms.class);

  /** What has a VM that was unknown. */
  private static final String RECOVERY = "its recovery";

  private static final String BEING_TAKEN_BACK = "it is being taken back from the agent before";

  /** How many VMs are taken back at the same time. */
  private static final int TOGETHER = 16;

  /** How long the VMs that are listed may take to answer, together. */
  private static final Duration LISTED = Duration.ofSeconds(2);

  /** How long who wants a VM waits for it to be taken back. */
  private static final Duration TAKEN_BACK = Duration.ofSeconds(30);

  /** Longer than an attempt at a stuck update takes, by the deadlines of its calls. */
  private static final Duration ATTEMPT = Patience.of(Duration.ofSeconds(90));

  /** From one look for a late answer to the next. */
  private static final Duration LATE = Duration.ofSeconds(5);

  private final Linux linux;
  private final AgentPaths places;
  private final DescriptorStore store;
  private final QemuProbe probe;
  private final Optional<Arrival> arrival;
  private final DefinitionReader definitions;
  private final Map<String, Vm> vms = new TreeMap<>();
  private final Map<String, QmpServer> channels = new HashMap<>();
  private final Retries retries = new Retries();

  /**
   * What has a VM at the moment, such as {@code an update}; a name without a VM yet is being
   * started.
   */
  private final Map<String, String> busy = new HashMap<>();

  /** Commands that change a VM's machine and that its QEMU has not answered in time. */
  private final Map<String, Qmp.Pending> late = new HashMap<>();

  /**
   * What made a call for an adoption that hangs, by the QEMU's socket: another attempt leaves no
   * further thread behind.
   */
  private final Map<Path, StorageCalls> hanging = new ConcurrentHashMap<>();

  /** Why no VM may be started, if so. */
  private Optional<String> closed = Optional.empty();

  /**
   * VMs of an earlier agent that could not be taken back, and why. They may run: so their names and
   * all they have are held until an agent can tell.
   */
  private final Map<String, String> unknown = new TreeMap<>();

  /** VMs of an earlier agent that are being taken back since this one's start. */
  private final Set<String> recovering = new TreeSet<>();

  /** Updates of the kernel that an earlier agent left have yet to be taken up. */
  private boolean expecting = true;

  /** VMs in updates that can't go on. */
  private final Map<String, Stuck> stuck = new ConcurrentHashMap<>();

  /**
   * Names the update of a VM that can't go on, until another attempt ends it.
   *
   * @param why for people
   */
  private record Stuck(UpdateId update, String why) {
    String words(String name) {
      return "update "
          + update
          + " can't go on: "
          + why
          + ". It is tried again every few seconds; `holdfast vm stop "
          + name
          + "` ends the guest instead";
    }
  }

  /**
   * @param arrival what came from the previous kernel, if something did
   */
  Vms(
      Linux linux,
      AgentPaths places,
      DescriptorStore store,
      QemuProbe probe,
      Optional<Arrival> arrival) {
    this.linux = linux;
    this.places = places;
    this.store = store;
    this.probe = probe;
    this.arrival = arrival;
    this.definitions = new DefinitionReader(linux, probe, places);
  }

  /** Returns what the descriptor store has of VMs; the caller's. */
  private Map<VmId, Map<StoreKey.OfVm, Fd>> kept() {
    Map<VmId, Map<StoreKey.OfVm, Fd>> kept = new HashMap<>();
    store
        .all(StoreKey.OfVm.class::isInstance)
        .forEach(
            (each, fd) -> {
              if (each instanceof StoreKey.OfVm key) {
                kept.computeIfAbsent(key.vm(), _ -> new HashMap<>()).put(key, fd);
              }
            });
    return kept;
  }

  /**
   * Tries again to take an unknown VM back. It is nobody's but its recovery's then, until {@link
   * #recovered}: it may have an update that has to be taken up first.
   *
   * @return whether that was done; if not, it is as unknown as before
   */
  boolean takeBack(String name, List<String> story, BiPredicate<VmId, ProcessIdentity> fenced) {
    Map<VmId, Map<StoreKey.OfVm, Fd>> kept = Map.of();
    synchronized (this) {
      if (!unknown.containsKey(name) || busy.putIfAbsent(name, RECOVERY) != null) {
        return false;
      }
    }
    try {
      kept = kept();
      recover(name, places.vm(name), kept, story, fenced);
      synchronized (this) {
        unknown.remove(name);
      }
      return true;
    } catch (Throwable e) {
      // Errors too, such as one for want of a thread: another attempt follows.
      synchronized (this) {
        unknown.put(name, String.valueOf(e.getMessage()));
        busy.remove(name);
      }
      return false;
    } finally {
      kept.values().forEach(descriptors -> descriptors.values().forEach(Fd::close));
    }
  }

  /**
   * Finds out which VMs an earlier agent had. From then on they are nobody's but their recovery's,
   * until {@link #recovered}.
   *
   * @throws IOException if their directories can't be listed
   */
  synchronized void expect() throws IOException {
    try (DirectoryStream<Path> all = Files.newDirectoryStream(places.vms())) {
      for (Path directory : all) {
        String name = directory.getFileName().toString();
        recovering.add(name);
        busy.put(name, RECOVERY);
      }
    }
  }

  /** What follows when a VM of an earlier agent has been taken back. */
  interface Then {
    /**
     * Takes up the VM's own update, if it is in one.
     *
     * @return whether the VM is anybody's now; if not, its recovery goes on until {@link
     *     #recovered}
     */
    boolean takenBack(String name, List<String> story);
  }

  /**
   * Takes back the VMs that are {@linkplain #expect expected}, each by itself; what an earlier
   * agent left half started is removed. Those that hang are taken back later, after this has
   * returned.
   *
   * @param story hears of all, also later; any thread
   * @param fenced whether an update of a VM is committed, and may have fenced this process of it
   * @throws RuntimeException if the descriptor store can't be asked; nothing is done then
   */
  void recover(Consumer<String> story, BiPredicate<VmId, ProcessIdentity> fenced, Then then) {
    List<String> names = recovering().stream().sorted().toList();
    Map<VmId, Map<StoreKey.OfVm, Fd>> kept = kept();
    kept.keySet().stream()
        .map(VmId::name)
        .filter(name -> !names.contains(name))
        .forEach(name -> close(kept, name));
    AtomicInteger next = new AtomicInteger();
    CountDownLatch done = new CountDownLatch(names.size());
    Runnable lane =
        () -> {
          for (int i = next.getAndIncrement(); i < names.size(); i = next.getAndIncrement()) {
            try {
              recoverOrHold(names.get(i), kept, story, fenced, then);
            } finally {
              close(kept, names.get(i));
              done.countDown();
            }
          }
        };
    int lanes = 0;
    try {
      for (; lanes < Math.min(TOGETHER, names.size()); lanes++) {
        Thread _ = Thread.ofPlatform().daemon().name("takes back VMs").start(lane);
      }
    } catch (OutOfMemoryError e) {
      // No thread can be had: those that there are do it, or this one.
      LOG.get().log(System.Logger.Level.WARNING, lanes + " threads take back VMs", e);
    }
    if (lanes == 0) {
      lane.run();
    }
    try {
      boolean _ = done.await(TAKEN_BACK.toMillis(), TimeUnit.MILLISECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    dropEnded(kept, story);
  }

  /** A VM whose recovery hangs does not keep the others' descriptors open. */
  private static void close(Map<VmId, Map<StoreKey.OfVm, Fd>> kept, String name) {
    kept.forEach(
        (id, descriptors) -> {
          if (id.name().equals(name)) {
            descriptors.values().forEach(Fd::close);
          }
        });
  }

  private void recoverOrHold(
      String name,
      Map<VmId, Map<StoreKey.OfVm, Fd>> kept,
      Consumer<String> story,
      BiPredicate<VmId, ProcessIdentity> fenced,
      Then then) {
    List<String> its = new ArrayList<>();
    try {
      recover(name, places.vm(name), kept, its, fenced);
    } catch (Throwable e) {
      // One VM that can't be recovered must not keep the agent from the others, nor an error, such
      // as one for want of a thread, make it absent.
      synchronized (this) {
        unknown.put(name, String.valueOf(e.getMessage()));
      }
      story.accept("VM " + name + " could not be taken back: " + e.getMessage());
      LOG.get().log(System.Logger.Level.ERROR, "VM " + name + " could not be taken back", e);
      recovered(name);
      return;
    }
    boolean free = then.takenBack(name, its);
    its.forEach(story);
    takenBack(name, free);
  }

  /**
   * A VM is there again, and its own update is taken up.
   *
   * @param free whether no update of the kernel has it: such a one is taken up when all VMs are
   *     there, if it has not been yet
   */
  synchronized void takenBack(String name, boolean free) {
    if (free || !expecting) {
      recovered(name);
    } else {
      boolean _ = recovering.add(name);
    }
  }

  private void recover(
      String name,
      Path directory,
      Map<VmId, Map<StoreKey.OfVm, Fd>> kept,
      List<String> story,
      BiPredicate<VmId, ProcessIdentity> fenced)
      throws IOException {
    Optional<String> aside = aside(name);
    if (aside.isPresent()) {
      throw new IOException(aside.get());
    }
    Optional<JsonObject> record = Vm.readRecord(directory);
    if (record.isEmpty()) {
      Vm.removeHalfStarted(linux, directory);
      kept.forEach(
          (id, descriptors) -> {
            if (id.name().equals(name)) {
              drop(id, descriptors.keySet());
            }
          });
      story.add("VM " + name + " was only half started, and has been removed");
      return;
    }
    VmId id = Vm.id(record.get());
    if (!id.name().equals(name)) {
      throw new IOException("its record in " + directory + " is of VM " + id.name());
    }
    Box box = new Box(name, name);
    Map<StoreKey.OfVm, Fd> descriptors = kept.getOrDefault(id, Map.of());
    Set<String> images =
        id.instance().isPresent()
            ? Set.of()
            : CommandLine.images(record.get().object("promise").array("arguments").strings());
    Vm vm;
    boolean attached = false;
    try {
      descriptors.forEach(
          (key, fd) -> {
            // What back ends have they find by themselves.
            if (key instanceof StoreKey.Inherited(_, String label)) {
              box.put(label, images.contains(label) ? own(key, fd) : fd.duplicate(), "memfd");
            }
          });
      vm = Vm.attach(context(id), record.get(), box);
      attached = true;
    } finally {
      if (!attached) {
        box.close();
      }
    }
    if (vm.process().stopped() && !fenced.test(id, vm.process().identity())) {
      int pid = vm.process().identity().pid();
      vm.close();
      throw new IOException(
          "its QEMU (process "
              + pid
              + ") is stopped by a signal that Holdfast did not send; `kill -CONT "
              + pid
              + "` lets it go on");
    }
    add(name, vm);
    story.add(
        vm.process().identity().nobody()
            ? "VM " + name + " came from the previous kernel"
            : "VM " + name + " was found again" + vm.lost().map(l -> ", lost: " + l).orElse(""));
  }

  /**
   * An open file of the agent's own for an image that version 0.1.0 adopted with the descriptor of
   * the first QEMU, whose locks would stay as long as the agent has it.
   */
  private Fd own(StoreKey.OfVm key, Fd first) {
    try {
      Fd own = linux.reopen(first);
      try {
        store.put(key, own);
        return own;
      } catch (RuntimeException e) {
        own.close();
        throw e;
      }
    } catch (SystemCallException e) {
      LOG.get()
          .log(
              System.Logger.Level.WARNING, "image " + key.label() + " of VM " + key.vm().name(), e);
      return first.duplicate();
    }
  }

  /** Drops what is left of VMs that have ended: an agent died before it could. */
  private void dropEnded(Map<VmId, Map<StoreKey.OfVm, Fd>> kept, Consumer<String> story) {
    kept.forEach(
        (id, descriptors) -> {
          if (id.instance().isPresent() && Files.notExists(places.vm(id.name()))) {
            try {
              drop(id, descriptors.keySet());
              story.accept("what was left of VM " + id.name() + ", which was stopped, is removed");
            } catch (RuntimeException e) {
              LOG.get().log(System.Logger.Level.WARNING, "left over: what VM " + id + " had", e);
            }
          }
        });
  }

  /** Starts a VM. */
  Vm run(JsonObject definition) {
    String name = DefinitionReader.name(definition.string("name"));
    reserve(name, "its start");
    try {
      DefinitionReader.Accepted accepted = definitions.read(definition);
      Vm vm = start(accepted, definition);
      add(name, vm);
      return vm;
    } finally {
      release(name);
    }
  }

  private synchronized void add(String name, Vm vm) {
    vms.put(name, vm);
    vm.listen(event -> unplugged(vm, event));
    try {
      boolean _ = openChannel(name, vm);
    } catch (IOException | SystemCallException e) {
      // The guest does not need it.
      LOG.get().log(System.Logger.Level.ERROR, "VM " + name + " has no QMP channel yet", e);
      openChannelLater(name, vm);
    }
  }

  private void openChannelLater(String name, Vm vm) {
    try {
      retries.add("the QMP channel of VM " + name, () -> openChannel(name, vm));
    } catch (OutOfMemoryError e) {
      // No thread can be had either: the next agent opens it.
      LOG.get().log(System.Logger.Level.ERROR, "VM " + name + " has no QMP channel", e);
    }
  }

  /** Returns true: its QMP channel is open, or it has ended. */
  private synchronized boolean openChannel(String name, Vm vm) throws IOException {
    if (vms.get(name) == vm && !channels.containsKey(name)) {
      channels.put(
          name, new QmpServer(linux, vm, (command, arguments) -> qmp(name, command, arguments)));
    }
    return true;
  }

  /** The guest has let a device go: the next QEMU is started without it. */
  private static void unplugged(Vm vm, JsonObject event) {
    Optional<String> device =
        event.string("event").equals("DEVICE_DELETED")
            ? event.object("data").optionalString("device")
            : Optional.empty();
    if (device.isPresent()) {
      try {
        vm.promises(Hotplug.unplugged(vm.spec(), device.get()));
      } catch (IOException e) {
        LOG.get()
            .log(System.Logger.Level.ERROR, "the unplugged device could not be written down", e);
      }
    }
  }

  /**
   * Executes a QMP command of somebody else's in a VM; what it changes is written down before this
   * returns.
   *
   * @return QEMU's reply
   * @throws IOException QEMU's error
   */
  JsonObject qmp(String name, String command, JsonObject arguments) throws IOException {
    Optional<String> refused = Hotplug.refused(command, arguments);
    if (refused.isPresent()) {
      throw notPossible(refused.get());
    }
    if (Hotplug.reads(command, arguments)) {
      return get(name).process().qmp().execute(command, arguments);
    }
    Vm vm = claim(name, "the QMP command " + command);
    boolean taken = false;
    try {
      Qmp.Pending pending = vm.process().qmp().send(command, arguments, List.of());
      try {
        JsonObject reply = pending.await(Qmp.COMMAND);
        executed(vm, command, arguments);
        return reply;
      } catch (QmpException e) {
        if (!e.late() || !Hotplug.records(command)) {
          throw e;
        }
        awaitLate(vm, command, arguments, pending);
        taken = true;
        throw new IOException(
            e.getMessage()
                + "; QEMU may execute it yet, so VM "
                + name
                + " is taken until QEMU answers; `holdfast vm stop "
                + name
                + "` ends the guest instead",
            e);
      }
    } finally {
      if (!taken) {
        release(name);
      }
    }
  }

  /** Writes down what a QMP command has changed. */
  private void executed(Vm vm, String command, JsonObject arguments) throws IOException {
    VmSpec before = vm.spec();
    VmSpec after = Hotplug.after(before, command, arguments, vm.process().qmp());
    if (!after.equals(before)) {
      vm.promises(after);
      reopened(vm);
    }
  }

  /** Keeps a VM claimed until its QEMU answers a command, which it may execute until then. */
  private void awaitLate(Vm vm, String command, JsonObject arguments, Qmp.Pending pending) {
    String name = vm.spec().name();
    synchronized (this) {
      late.put(name, pending);
      busy.put(name, "the QMP command " + command + ", which QEMU has not answered yet");
    }
    boolean started = false;
    try {
      Thread _ =
          Thread.ofPlatform()
              .daemon()
              .name("late answer of " + name)
              .start(() -> recordLate(vm, command, arguments, pending));
      started = true;
    } finally {
      if (!started) {
        synchronized (this) {
          late.remove(name);
        }
      }
    }
  }

  private void recordLate(Vm vm, String command, JsonObject arguments, Qmp.Pending pending) {
    String name = vm.spec().name();
    try {
      while (!recorded(vm, command, arguments, pending)) {
        // The answer may be there, and one to what is asked then not.
        LockSupport.parkNanos(LATE.toNanos());
      }
    } catch (IOException | RuntimeException e) {
      LOG.get().log(System.Logger.Level.WARNING, "VM " + name + ", " + command, e);
    } finally {
      forgetLate(name, pending);
    }
  }

  /** Releases the VM, unless it was stopped meanwhile. */
  private synchronized void forgetLate(String name, Qmp.Pending pending) {
    if (late.remove(name, pending)) {
      release(name);
    }
  }

  /** What was asked for is done, and the next update looks again which images it has. */
  private void reopened(Vm vm) {
    try {
      vm.reopened(linux);
    } catch (IOException e) {
      LOG.get().log(System.Logger.Level.WARNING, "the images of VM " + vm.spec().name(), e);
    }
  }

  /** Changes the medium in a drive; an empty path leaves it empty. */
  void media(String name, String drive, Optional<String> path) {
    path.ifPresent(p -> DefinitionReader.medium("medium", p));
    Vm vm = claim(name, "a change of its medium");
    try {
      Media.change(vm, drive, path);
      reopened(vm);
    } catch (IOException e) {
      throw notPossible("the medium could not be changed: " + e.getMessage());
    } finally {
      release(name);
    }
  }

  private synchronized void closeChannel(String name) {
    Optional.ofNullable(channels.remove(name)).ifPresent(QmpServer::close);
  }

  /** No VM is started or adopted until {@link #open}: it would not be part of what is going on. */
  synchronized void close(String why) {
    if (closed.isPresent()) {
      throw notPossible(closed.get() + " is under way; wait until that has ended");
    }
    for (Map.Entry<String, String> each : unknown.entrySet()) {
      throw notPossible(why + ": " + unknown(each.getKey(), each.getValue()));
    }
    for (Map.Entry<String, String> each : busy.entrySet()) {
      if (!vms.containsKey(each.getKey())) {
        // It would come up behind the back of what is going on.
        throw notPossible(
            why
                + ": VM "
                + each.getKey()
                + " is taken by "
                + each.getValue()
                + "; wait until that has ended");
      }
    }
    closed = Optional.of(why);
  }

  /** VMs can be started again. */
  synchronized void open() {
    closed = Optional.empty();
  }

  private synchronized void reserve(String name, String what) {
    if (closed.isPresent()) {
      throw notPossible("VM " + name + " can't be started now: " + closed.get() + " is under way");
    }
    String why = unknown.get(name);
    if (why != null) {
      throw notPossible(unknown(name, why));
    }
    if (vms.containsKey(name) || busy.containsKey(name)) {
      throw new VarlinkError(
          "io.holdfast.Vm.VmExists",
          JsonObject.of(
              "name",
              name,
              "message",
              "there is a VM " + name + " already; stop it first, or choose another name"));
    }
    busy.put(name, what);
  }

  private Vm start(DefinitionReader.Accepted accepted, JsonObject definition) {
    VmSpec spec = accepted.spec();
    String name = spec.name();
    VmId id = VmId.fresh(name);
    Path directory = places.vm(name);
    Box box = new Box(name, name);
    try {
      Files.createDirectories(directory);
      box.put("ram", ram(spec, accepted.pages()), "memfd");
      for (String file : List.of("kernel", "initrd")) {
        Optional<String> path = definition.optionalString(file);
        if (path.isPresent()) {
          box.put(file, linux.open(Path.of(path.get()), OpenFlag.READ), "file");
        }
      }
      keepAll(id, box);
      return Vm.start(context(id), accepted.binary(), spec, box);
    } catch (IOException | SystemCallException | IllegalStateException e) {
      Set<StoreKey> keys = new HashSet<>();
      box.entries().keySet().forEach(label -> keys.add(id.key(label)));
      drop(id, keys);
      box.close();
      removeQuietly(directory);
      throw notPossible("VM " + name + " could not be started: " + e.getMessage());
    }
  }

  /**
   * Takes over a QEMU that somebody else started; {@code Adopt} of interface io.holdfast.Vm.
   *
   * @return the reply: the VM, or what is in the way
   */
  JsonObject adopt(JsonObject parameters) {
    String name = DefinitionReader.name(parameters.string("name"));
    boolean dryRun = parameters.optionalBool("dryRun").orElse(false);
    Path socket = Path.of(parameters.string("qmp"));
    if (!socket.isAbsolute()) {
      throw DefinitionReader.bad(
          "qmp", socket + ": the agent works in another directory; give the whole path");
    }
    reserve(name, "its adoption");
    VmId id = VmId.fresh(name);
    Box box = new Box(name, name);
    Optional<Vm> adopted = Optional.empty();
    boolean kept = false;
    StorageCalls storage =
        Optional.ofNullable(hanging.remove(socket))
            .orElseGet(() -> new StorageCalls("files of " + name));
    boolean hangs = false;
    try (Adoption found =
        Adoption.of(
            linux,
            name,
            socket,
            parameters.optionalString("qemu"),
            Vm.consoleLog(places.vm(name)),
            parameters.optionalBool("morePrivileges").orElse(false),
            storage)) {
      refuseTwice(found);
      List<Obstacle> obstacles = new ArrayList<>(found.obstacles());
      if (obstacles.isEmpty()) {
        Files.createDirectories(places.vm(name));
        found.release().forEach((label, fd) -> box.put(label, fd, "file"));
        adopted =
            Optional.of(
                Vm.adopt(
                    context(id),
                    found.binary(),
                    found.spec(),
                    found.credentials(),
                    box,
                    found.identity(),
                    socket));
        obstacles.addAll(rehearse(adopted.get()));
      }
      if (obstacles.isEmpty() && !dryRun) {
        keepAll(id, box);
        adopted.get().keep(linux);
        kept = true;
        add(name, adopted.get());
      }
      return JsonObject.of(
          "vm",
          kept ? adopted.map(this::state) : Optional.empty(),
          "obstacles",
          obstacles.stream()
              .map(o -> JsonObject.of("what", o.what(), "why", o.why(), "advice", o.advice()))
              .toList(),
          "preserved",
          found.preserved(),
          "losses",
          found.losses());
    } catch (IOException | SystemCallException e) {
      hangs = e instanceof StorageHangsException;
      throw notPossible("VM " + name + " could not be adopted: " + e.getMessage());
    } finally {
      if (!hangs) {
        storage.close();
      } else {
        Optional.ofNullable(hanging.put(socket, storage)).ifPresent(StorageCalls::close);
      }
      if (!kept) {
        letGo(id, box, adopted);
      }
      release(name);
    }
  }

  private void refuseTwice(Adoption found) {
    for (Vm vm : all()) {
      if (vm.process().identity().equals(found.identity())) {
        throw notPossible(
            "process " + found.identity().pid() + " is VM " + vm.spec().name() + " already");
      }
    }
  }

  /** What a successor, tried out, says against it. */
  private List<Obstacle> rehearse(Vm vm) throws IOException {
    String path = vm.process().binary().path();
    try {
      QemuBinary binary = probe(vm).binary(path);
      return vm.rehearse(linux, binary).stream()
          .map(
              difference ->
                  new Obstacle(
                      "machine",
                      difference,
                      "Start the VM with everything that it has now on its command line, then"
                          + " adopt it."))
          .toList();
    } catch (QemuUnusableException e) {
      return List.of(new Obstacle(path, e.reason(), e.advice()));
    } catch (IOException e) {
      return List.of(
          new Obstacle(
              "successor",
              String.valueOf(e.getMessage()),
              "See to what QEMU names, then try again."));
    }
  }

  private void letGo(VmId id, Box box, Optional<Vm> adopted) {
    Set<StoreKey> keys = new HashSet<>();
    box.entries().keySet().forEach(label -> keys.add(id.key(label)));
    drop(id, keys);
    try {
      if (adopted.isPresent()) {
        adopted.get().release();
      } else {
        box.close();
        Files.deleteIfExists(places.vm(id.name()));
      }
    } catch (IOException e) {
      LOG.get().log(System.Logger.Level.WARNING, "left over: " + places.vm(id.name()), e);
    }
  }

  private void keepAll(VmId id, Box box) {
    box.entries()
        .forEach(
            (label, entry) -> {
              if (entry instanceof Entry.Descriptor(Fd fd, _)) {
                store.put(id.key(label), fd);
              }
            });
  }

  private BackendContext context(VmId id) {
    return new BackendContext(linux, store, id, places.vm(id.name()));
  }

  private static void removeQuietly(Path directory) {
    try {
      Files.deleteIfExists(directory.resolve("console.log"));
      Files.deleteIfExists(directory);
    } catch (IOException e) {
      LOG.get().log(System.Logger.Level.WARNING, "left over: " + directory, e);
    }
  }

  /** Guest RAM. Its size is sealed: no QEMU can take a page from another one's guest. */
  private Fd ram(VmSpec spec, Pages pages) {
    List<MemfdOption> options = new ArrayList<>(List.of(MemfdOption.ALLOW_SEALING));
    pages.option().ifPresent(options::add);
    Fd ram =
        linux.memfd("ram of " + spec.name(), spec.memory(), options.toArray(MemfdOption[]::new));
    try {
      linux.seal(ram, Set.of(Seal.GROW, Seal.SHRINK));
      if (pages == Pages.TRANSPARENT) {
        // Advice holds for a mapping, and pages stay what they were allocated as: so they are
        // allocated here.
        try (Mapping mapping =
            linux.map(ram, 0, spec.memory(), Protection.READ, Protection.WRITE)) {
          mapping.adviseHuge();
          mapping.populate();
        }
      }
      return ram;
    } catch (RuntimeException e) {
      ram.close();
      throw e;
    }
  }

  /** All VMs. */
  synchronized List<Vm> all() {
    return List.copyOf(vms.values());
  }

  /** The names of the bridges that they are plugged into. */
  Set<String> bridges() {
    return all().stream()
        .flatMap(vm -> vm.spec().devices().stream())
        .filter(TapNetwork.class::isInstance)
        .map(each -> ((TapNetwork) each).bridge())
        .collect(Collectors.toSet());
  }

  /** The VM of this name, if there is one. */
  synchronized Optional<Vm> find(String name) {
    return Optional.ofNullable(vms.get(name));
  }

  /** The VM of this name. */
  Vm get(String name) {
    return find(DefinitionReader.name(name)).orElseThrow(() -> missing(name));
  }

  private synchronized VarlinkError missing(String name) {
    String why = unknown.get(name);
    if (why != null) {
      return notPossible(unknown(name, why));
    }
    return recovering.contains(name) ? notPossible(takenBack(name)) : noSuchVm(name);
  }

  /** Why a VM has yet to be unpacked, which the previous kernel left; empty if it has not. */
  private Optional<String> aside(String name) {
    return arrival.flatMap(each -> each.aside(VmId.named(name)));
  }

  private String unknown(String name, String why) {
    if (aside(name).isPresent()) {
      return "VM " + name + " is unknown: " + why;
    }
    return "VM "
        + name
        + " is unknown: "
        + why
        + ". All it has is held; see to what that names: it is tried again every few seconds, and when"
        + " the agent is started";
  }

  /** The names of VMs that an earlier agent had, and of which this one can't tell. */
  synchronized Set<String> unknown() {
    return Set.copyOf(unknown.keySet());
  }

  /** Why a VM of an earlier agent is unknown; empty if it is not. */
  synchronized Optional<String> whyUnknown(String name) {
    return Optional.ofNullable(unknown.get(name));
  }

  /** All VMs as interface io.holdfast.Vm shows them, by name. */
  List<JsonObject> states() {
    Map<String, JsonObject> states = new TreeMap<>();
    var _ = awaitRecovered(recovering(), LISTED);
    synchronized (this) {
      recovering.forEach(name -> states.put(name, unknownState(name, BEING_TAKEN_BACK)));
      unknown.forEach((name, why) -> states.put(name, unknownState(name, why)));
    }
    // All are asked before one is waited for: of those that hang, each would take its time.
    Map<Vm, Optional<Qmp.Pending>> asked = new LinkedHashMap<>();
    all().forEach(vm -> asked.put(vm, ask(vm)));
    long end = System.nanoTime() + LISTED.toNanos();
    asked.forEach(
        (vm, question) -> {
          Duration left = Duration.ofNanos(Math.max(0, end - System.nanoTime()));
          states.put(vm.spec().name(), state(vm, question, left));
        });
    return List.copyOf(states.values());
  }

  /** Asks what a VM's guest does; empty if that is not to be asked, or can't be. */
  private Optional<Qmp.Pending> ask(Vm vm) {
    String name = vm.spec().name();
    if (vm.lost().isPresent() || stuck.containsKey(name) || updating(name).isPresent()) {
      return Optional.empty();
    }
    try {
      return Optional.of(vm.askRunState());
    } catch (QmpException e) {
      return Optional.empty();
    }
  }

  /** A VM as interface io.holdfast.Vm shows it. */
  JsonObject show(String name) {
    synchronized (this) {
      String why = unknown.get(name);
      if (why != null) {
        return unknownState(name, why);
      }
    }
    return state(get(name));
  }

  private JsonObject unknownState(String name, String why) {
    return JsonObject.of(
        "name", name,
        "state", "unknown",
        "reason", why,
        "generation", 0,
        "qemu", "",
        "qemuVersion", "",
        "machine", "",
        "cpu", "",
        "accelerator", "",
        "acceleratorReason", "",
        "memory", 0,
        "cpus", 0,
        "consoleLog", Vm.consoleLog(places.vm(name)).toString());
  }

  static VarlinkError noSuchVm(String name) {
    return new VarlinkError(
        "io.holdfast.Vm.NoSuchVm",
        JsonObject.of(
            "name",
            name,
            "message",
            "there is no VM " + name + "; `holdfast vm list` shows those there are"));
  }

  /**
   * Takes a VM for one operation, until {@link #release}.
   *
   * @param what takes it, such as {@code an update}
   */
  synchronized Vm claim(String name, String what) {
    Vm vm = get(name);
    Stuck in = stuck.get(name);
    if (in != null) {
      throw notPossible("VM " + name + ": " + in.words(name));
    }
    return take(vm, name, what);
  }

  private synchronized Vm take(Vm vm, String name, String what) {
    String has = busy.putIfAbsent(name, what);
    if (has != null) {
      throw notPossible("VM " + name + " is taken by " + has + "; wait until that has ended");
    }
    return vm;
  }

  /**
   * Takes a VM for another attempt at the update that it is stuck in.
   *
   * @return empty if it is not any more: it was stopped
   */
  synchronized Optional<Vm> claimStuck(String name, UpdateId update) {
    Stuck in = stuck.get(name);
    return in != null && in.update().equals(update)
        ? Optional.of(take(get(name), name, "update " + update))
        : Optional.empty();
  }

  /** Waits for a late answer once more, and returns whether nothing is left to wait for. */
  private boolean recorded(Vm vm, String command, JsonObject arguments, Qmp.Pending pending)
      throws IOException {
    try {
      var _ = pending.await(Qmp.COMMAND);
      if (isLate(vm.spec().name(), pending)) {
        executed(vm, command, arguments);
      }
      return true;
    } catch (QmpException e) {
      if (!e.late()) {
        throw e;
      }
      return !isLate(vm.spec().name(), pending);
    }
  }

  /** Returns whether a VM is still claimed for a late answer: it may have been stopped. */
  private synchronized boolean isLate(String name, Qmp.Pending pending) {
    return late.get(name) == pending;
  }

  /** Takes a VM that is to be stopped; waits for the end of an attempt at a stuck update of it. */
  private synchronized Vm claimToStop(String name) {
    long end = System.nanoTime() + ATTEMPT.toNanos();
    while (stuck.containsKey(name) && busy.containsKey(name) && System.nanoTime() - end < 0) {
      try {
        wait(100);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        break;
      }
    }
    Vm vm = get(name);
    if (late.remove(name) != null) {
      // Its QEMU is ended, and answers no more.
      release(name);
    }
    return take(vm, name, "its stop");
  }

  /** As {@link #claim}, for what belongs to the recovery of a VM that was taken back. */
  synchronized Vm claimRecovered(String name, String what) {
    // Not before it is there: whoever is taking it back still has it, and would leave it taken.
    if (vms.containsKey(name) && busy.remove(name, RECOVERY)) {
      busy.put(name, what);
      return get(name);
    }
    return claim(name, what);
  }

  /** The recovery of a VM that was taken back has ended. */
  synchronized void recovered(String name) {
    boolean _ = busy.remove(name, RECOVERY);
    if (recovering.remove(name)) {
      notifyAll();
    }
  }

  /** Updates of the kernel are taken up too: nobody waits for more than the VMs that hang. */
  synchronized void allRecovered() {
    expecting = false;
    for (String name : recovering()) {
      // What has another one has it still.
      if (vms.containsKey(name)) {
        recovered(name);
      }
    }
  }

  /** The names of VMs of an earlier agent that are being taken back since this one's start. */
  synchronized Set<String> recovering() {
    return Set.copyOf(recovering);
  }

  /**
   * Waits until a VM that an earlier agent had is taken back. Whether it is {@linkplain #unknown
   * unknown} then is another matter.
   */
  void awaitRecovered(String name) {
    if (!awaitRecovered(Set.of(name), TAKEN_BACK)) {
      throw notPossible(takenBack(name));
    }
  }

  /** Likewise, for what concerns all VMs. */
  void awaitRecovered() {
    if (!awaitRecovered(recovering(), TAKEN_BACK)) {
      for (String name : recovering()) {
        throw notPossible(takenBack(name));
      }
    }
  }

  private synchronized boolean awaitRecovered(Set<String> names, Duration limit) {
    long end = System.nanoTime() + limit.toNanos();
    long left = limit.toMillis();
    while (left > 0 && !Collections.disjoint(recovering, names)) {
      try {
        wait(left);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        break;
      }
      left = (end - System.nanoTime()) / 1_000_000;
    }
    return Collections.disjoint(recovering, names);
  }

  private static String takenBack(String name) {
    return "VM "
        + name
        + " is being taken back from the agent before, which is not done after "
        + TAKEN_BACK.toSeconds()
        + " s; its storage or its QEMU may hang. It is held; try again";
  }

  synchronized void release(String name) {
    busy.remove(name);
  }

  /**
   * Ends a VM and frees its memory.
   *
   * @param ended is called when it has ended, before anybody else can have its name
   */
  void stop(String name, Runnable ended) {
    if (aside(name).isPresent()) {
      giveUp(name);
      ended.run();
      return;
    }
    Vm vm = claimToStop(name);
    try {
      Set<StoreKey> keys = new HashSet<>(store.keys());
      keys.removeIf(key -> !(key instanceof StoreKey.OfVm each && each.vm().equals(vm.id())));
      closeChannel(name);
      vm.end(linux);
      drop(vm.id(), keys);
      stuck.remove(name);
      ended.run();
      synchronized (this) {
        vms.remove(name);
        // One that was opened late.
        closeChannel(name);
      }
    } catch (IOException e) {
      throw notPossible("VM " + name + " could not be stopped: " + e.getMessage());
    } finally {
      release(name);
    }
  }

  /** Gives up a VM that could not be unpacked. */
  private void giveUp(String name) {
    synchronized (this) {
      String has = busy.putIfAbsent(name, "its stop");
      if (has != null) {
        throw notPossible("VM " + name + " is taken by " + has + "; wait until that has ended");
      }
    }
    try {
      if (!arrival.orElseThrow().giveUp(VmId.named(name))) {
        throw notPossible("VM " + name + " was restored just now; stop it once more");
      }
      Set<StoreKey> keys = new HashSet<>(store.keys());
      keys.removeIf(key -> !(key instanceof StoreKey.OfVm each && each.vm().name().equals(name)));
      store.drop(keys);
      synchronized (this) {
        unknown.remove(name);
      }
    } catch (IOException e) {
      throw notPossible("VM " + name + " cannot be given up: " + e.getMessage());
    } finally {
      release(name);
    }
  }

  /** Stops a VM's guest until {@link #resume}. */
  Vm pause(String name) {
    return guest(name, "pause", Vm::pause);
  }

  /** Lets a VM's guest go on. */
  Vm resume(String name) {
    return guest(name, "resume", Vm::resume);
  }

  private interface OnGuest {
    void act(Vm vm) throws IOException;
  }

  private Vm guest(String name, String verb, OnGuest action) {
    Vm vm = claim(name, "its " + verb);
    try {
      Optional<String> lost = vm.lost();
      if (lost.isPresent()) {
        throw new IOException(lost.get());
      }
      action.act(vm);
      return vm;
    } catch (IOException e) {
      throw notPossible("VM " + name + ": no " + verb + ": " + e.getMessage());
    } finally {
      release(name);
    }
  }

  /**
   * An update of it can't go on: until it can, nothing but {@link #claimStuck} and its stop may
   * take it.
   */
  void stuck(String name, UpdateId update, String why) {
    stuck.put(name, new Stuck(update, why));
  }

  /** The update that it was stuck in has ended. */
  void unstuck(String name) {
    stuck.remove(name);
  }

  private void drop(VmId id, Set<? extends StoreKey> keys) {
    Set<StoreKey> mine = new HashSet<>(keys);
    mine.add(new StoreKey.DeviceState(id));
    store.drop(mine);
  }

  /** A VM as interface io.holdfast.Vm shows it. */
  JsonObject state(Vm vm) {
    return state(vm, ask(vm), Qmp.COMMAND);
  }

  /** Likewise, of one whose QEMU has been asked. */
  private JsonObject state(Vm vm, Optional<Qmp.Pending> asked, Duration limit) {
    VmSpec spec = vm.spec();
    Optional<String> lost = vm.lost();
    String state = "lost";
    Optional<String> reason = lost;
    Stuck in = stuck.get(spec.name());
    Optional<String> update = updating(spec.name());
    if (in != null) {
      // Not asked: one that hangs would make whoever lists it wait. Nor lost, if the process of its
      // record has ended: it may have a successor, which only the update's end tells.
      state = "stuck";
      reason = Optional.of(in.words(spec.name()));
    } else if (update.isPresent()) {
      // Not asked: in its blackout, or fenced, QEMU would not answer.
      state = "updating";
      reason = Optional.of(update.get() + " is under way");
    } else if (vm.arriving()) {
      // All of it is there, so it is not lost.
      state = "stuck";
      reason =
          lost.map(why -> why + ", or holdfast vm stop " + spec.name() + " to give the guest up");
    } else if (lost.isEmpty()) {
      try {
        RunState guest = asked.isPresent() ? RunState.of(asked.get().await(limit)) : vm.runState();
        boolean runs = guest == RunState.RUNNING;
        state = runs ? "running" : guest.paused() ? "paused" : "stopped";
        reason = Optional.of(guest.why()).filter(_ -> !runs && !guest.paused());
      } catch (QmpException e) {
        state = "unknown";
        reason =
            Optional.of(
                "its QEMU does not answer: "
                    + e.getMessage()
                    + ". If it hangs, so may what it waits for, such as its storage; `holdfast vm stop "
                    + spec.name()
                    + "` ends it");
      }
    }
    return JsonObject.of(
        "name", spec.name(),
        "state", state,
        "reason", reason,
        "pid",
            lost.isPresent() ? Optional.empty() : Optional.of((long) vm.process().identity().pid()),
        "generation", vm.generation(),
        "qemu", vm.process().binary().path(),
        "qemuVersion", vm.process().binary().version(),
        "machine", spec.machine(),
        "cpu", spec.cpu(),
        "accelerator", spec.accelerator(),
        "acceleratorReason", spec.acceleratorReason(),
        "memory", spec.memory(),
        "cpus", spec.cpus(),
        "consoleLog", vm.consoleLog().toString(),
        "channels", channels(vm),
        "cdroms", cdroms(spec),
        "definition", spec.definition());
  }

  private static List<JsonObject> channels(Vm vm) {
    List<JsonObject> channels = new ArrayList<>();
    for (Device device : vm.spec().devices()) {
      if (device instanceof PortDevice port) {
        channels.add(
            JsonObject.of("name", port.name(), "socket", port.socket(vm.directory()).toString()));
      }
    }
    return channels;
  }

  private static List<JsonObject> cdroms(VmSpec spec) {
    List<JsonObject> cdroms = new ArrayList<>();
    for (Device device : spec.devices()) {
      if (device instanceof Cdrom(String id, Optional<String> medium, _)) {
        cdroms.add(JsonObject.of("drive", id, "medium", medium));
      }
    }
    return cdroms;
  }

  /**
   * The update that has a VM, or the recovery of one that was just taken back: an update of it may
   * have to be recovered.
   */
  private synchronized Optional<String> updating(String name) {
    return Optional.ofNullable(busy.get(name))
        .filter(has -> has.startsWith("update") || has.equals(RECOVERY));
  }

  static VarlinkError notPossible(String message) {
    return new VarlinkError("io.holdfast.Vm.NotPossible", JsonObject.of("message", message));
  }

  /** What asks and tries binaries for a VM. */
  QemuProbe probe(Vm vm) {
    return probe.as(vm.credentials());
  }

  /** Lets go of all VMs, which go on. */
  synchronized void close() {
    retries.close();
    channels.values().forEach(QmpServer::close);
    channels.clear();
    vms.values().forEach(Vm::close);
    vms.clear();
  }
}
