package io.holdfast.vm;

import io.holdfast.core.box.Box;
import io.holdfast.core.box.Entry;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.linux.file.StorageCalls;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.store.VmId;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.channel.Console;
import io.holdfast.vm.device.BackendContext;
import io.holdfast.vm.device.disk.Images;
import io.holdfast.vm.qemu.Correction;
import io.holdfast.vm.qemu.Credentials;
import io.holdfast.vm.qemu.Layout;
import io.holdfast.vm.qemu.QemuBinary;
import io.holdfast.vm.qemu.QemuProcess;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.qemu.RunState;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;

/**
 * A VM: what its guest was promised, the box with its memory, and the QEMU process that runs it
 * now.
 *
 * <p>Its record in its directory says who runs it, so that another agent finds it again. The box
 * owns its descriptors: {@code ram}, and {@code kernel} and {@code initrd} where it has them, which
 * stay the same files even when others take their names.
 */
public final class Vm implements AutoCloseable {
  /** The format of the record that is written, of VMs with an instance. */
  private static final long FORMAT = 1;

  private final VmId id;
  private final Box box;
  private final Backends backends;
  private final Path directory;
  private final List<Consumer<JsonObject>> listeners = new CopyOnWriteArrayList<>();
  private VmSpec spec;

  /** What each QEMU of it may do on the host; the same as the agent if empty. */
  private final Optional<Credentials> credentials;

  private Images images = Images.NONE;
  private int generation;
  private QemuProcess process;

  /** Whose QMP events are passed on; its predecessor's are, too. */
  private Optional<QemuProcess> followed = Optional.empty();

  private final StorageCalls storage;
  private Optional<String> lost = Optional.empty();

  /** It comes from another kernel, and its backends are not at work yet. */
  private boolean arriving;

  /** Why it still does not run after it came from another kernel. */
  private Optional<String> hindrance = Optional.empty();

  private boolean ended;

  private Vm(
      VmId id,
      VmSpec spec,
      Optional<Credentials> credentials,
      Box box,
      Backends backends,
      Path directory,
      int generation,
      QemuProcess process) {
    this.id = id;
    this.spec = spec;
    this.credentials = credentials;
    this.box = box;
    this.backends = backends;
    this.directory = directory;
    this.generation = generation;
    this.process = process;
    this.storage = new StorageCalls("images of " + spec.name());
    follow(process);
  }

  /**
   * Starts a VM. Its record is written before this returns.
   *
   * @param box with its descriptors; owned by the VM if this returns, by the caller if it throws
   * @throws IOException if QEMU does not come up; nothing but the directory is left then
   */
  public static Vm start(BackendContext context, QemuBinary binary, VmSpec spec, Box box)
      throws IOException {
    int first = 1;
    Backends backends = Backends.of(context, spec);
    Optional<QemuProcess> started = Optional.empty();
    boolean done = false;
    try (StorageCalls storage = new StorageCalls("images of " + spec.name())) {
      Path directory = context.directory();
      QemuProcess process =
          launch(
              context.linux(),
              binary,
              spec,
              Optional.empty(),
              box,
              backends,
              directory,
              first,
              CommandLine.Start.BOOT,
              Optional.empty(),
              storage);
      started = Optional.of(process);
      Vm vm =
          new Vm(context.id(), spec, Optional.empty(), box, backends, directory, first, process);
      vm.opened(context.linux());
      vm.writeRecord();
      backends.attached(first);
      done = true;
      return vm;
    } finally {
      if (!done) {
        if (started.isPresent()) {
          started.get().end();
        }
        Files.deleteIfExists(context.directory().resolve("vm.json"));
        backends.drop(first);
        backends.close();
      }
    }
  }

  /**
   * Starts the QEMU of a generation and waits until it is up and its backends are ready for it.
   *
   * @throws IOException if it does not come up; the process is gone then, and the backends have yet
   *     to drop the generation
   */
  private static QemuProcess launch(
      Linux linux,
      QemuBinary binary,
      VmSpec spec,
      Optional<Credentials> credentials,
      Box box,
      Backends backends,
      Path directory,
      int generation,
      CommandLine.Start start,
      Optional<Duration> remaining,
      StorageCalls storage)
      throws IOException {
    Map<String, Fd> own = new HashMap<>(backends.open(generation));
    QemuProcess process;
    try {
      Map<String, Fd> descriptors = new HashMap<>(inherited(box));
      for (String label : CommandLine.images(spec.arguments())) {
        Fd image = descriptors.get(label);
        if (image != null) {
          own.put(
              label, storage.make("opening " + label, Images.PATIENCE, () -> linux.reopen(image)));
        }
      }
      descriptors.putAll(own);
      process =
          QemuProcess.start(
              linux,
              binary,
              spec,
              credentials,
              generationDirectory(directory, generation),
              descriptors,
              start,
              remaining);
    } finally {
      own.values().forEach(Fd::close);
    }
    boolean ready = false;
    try {
      if (start.incoming) {
        process.enable("events", "x-ignore-shared");
      }
      backends.prepared(generation, process.qmp());
      ready = true;
      return process;
    } finally {
      if (!ready) {
        process.end();
      }
    }
  }

  /** Starts a successor within what is left of a step; see {@link #launch}. */
  public QemuProcess startSuccessor(
      Linux linux,
      QemuBinary binary,
      int next,
      CommandLine.Start start,
      Optional<Duration> remaining)
      throws IOException {
    // Populating would take back what the guest has given away, by its balloon or otherwise.
    CommandLine.Start kept =
        start.populates && Memory.hasHoles(linux, ram()) ? CommandLine.Start.SUCCEED_LATE : start;
    return launch(
        linux,
        binary,
        spec(),
        credentials,
        box,
        backends,
        directory,
        next,
        kept,
        remaining,
        storage);
  }

  /**
   * Finds a VM again that another agent started.
   *
   * @param box with its descriptors; owned by the VM if this returns, by the caller if it throws
   */
  public static Vm attach(BackendContext context, JsonObject record, Box box) throws IOException {
    VmSpec spec = VmSpec.fromJson(record.object("promise"));
    int generation = Math.toIntExact(record.number("generation"));
    QemuBinary binary = QemuBinary.fromJson(record.object("binary"));
    ProcessIdentity identity = ProcessIdentity.parse(record.string("process"));
    QemuProcess process =
        QemuProcess.attach(
            context.linux(),
            identity,
            binary,
            generationDirectory(context.directory(), generation),
            "QEMU of " + spec.name());
    Backends backends = Backends.of(context, spec);
    boolean arriving = identity.nobody();
    boolean attached = false;
    try {
      if (!arriving) {
        backends.attached(generation);
      }
      Vm vm =
          new Vm(
              context.id(),
              spec,
              record.optionalObject("credentials").map(Credentials::fromJson),
              box,
              backends,
              context.directory(),
              generation,
              process);
      vm.arriving = arriving;
      vm.images = record.optionalObject("images").map(Images::fromJson).orElse(Images.NONE);
      attached = true;
      return vm;
    } finally {
      if (!attached) {
        // A QEMU answers one client at a time, and the next attempt is to be that.
        process.close();
        backends.close();
      }
    }
  }

  /**
   * Takes a running QEMU for a VM's first generation. Nothing changes in it, and nothing is written
   * down before {@link #keep}.
   *
   * @param spec what its guest has
   * @param credentials what its successors may do on the host
   * @param box with its descriptors; owned by the VM if this returns, by the caller if it throws
   * @param control its control socket, at which nobody else may be
   * @throws IOException if it does not answer there
   */
  public static Vm adopt(
      BackendContext context,
      QemuBinary binary,
      VmSpec spec,
      Credentials credentials,
      Box box,
      ProcessIdentity identity,
      Path control)
      throws IOException {
    Path first = generationDirectory(context.directory(), 1);
    Files.createDirectories(first);
    boolean done = false;
    try {
      QemuProcess process = QemuProcess.adopt(context.linux(), identity, binary, first, control);
      done = true;
      return new Vm(
          context.id(),
          spec,
          Optional.of(credentials),
          box,
          Backends.of(context, spec),
          context.directory(),
          1,
          process);
    } finally {
      if (!done) {
        QemuProcess.removeNames(first);
      }
    }
  }

  /**
   * Starts a successor as an update would, compares the machine that it builds with the running
   * one, and ends it again.
   *
   * @return what differs; empty if nothing does
   * @throws IOException if it does not come up
   */
  public List<String> rehearse(Linux linux, QemuBinary binary) throws IOException {
    Layout here = Layout.of(process());
    Layout there = successors(linux, binary);
    List<Correction> found = Correction.between(here, there);
    if (!found.isEmpty()) {
      synchronized (this) {
        // Not written down before the VM is kept.
        spec = spec.with(Correction.apply(found, spec.arguments()), spec.devices());
      }
      there = successors(linux, binary);
    }
    return here.differences(there);
  }

  private Layout successors(Linux linux, QemuBinary binary) throws IOException {
    int next = generation() + 1;
    try {
      QemuProcess successor =
          startSuccessor(linux, binary, next, CommandLine.Start.SUCCEED, Optional.empty());
      try {
        return Layout.of(successor);
      } finally {
        successor.end();
      }
    } finally {
      backends.drop(next);
    }
  }

  /** Writes down a VM that was adopted: from now on it is Holdfast's. */
  public void keep(Linux linux) throws IOException {
    opened(linux);
    writeRecord();
    backends.attached(generation());
  }

  /** Lets go of a VM that was adopted and shall not be kept; it goes on as before. */
  public void release() throws IOException {
    process().close();
    backends.close();
    box.close();
    Files.deleteIfExists(directory.resolve("vm.json"));
    // A successor that was tried has made it.
    Files.deleteIfExists(consoleLog());
    QemuProcess.removeNames(generationDirectory(directory, 1));
    Files.deleteIfExists(directory);
  }

  /**
   * Reads a VM's record, empty if there is none: the VM never came up.
   *
   * @throws IOException if there is one that can't be read, or of a format that this version does
   *     not know
   */
  public static Optional<JsonObject> readRecord(Path directory) throws IOException {
    Path record = directory.resolve("vm.json");
    try {
      JsonObject read = Json.parse(Files.readAllBytes(record));
      long format = read.optionalNumber("format").orElse(0);
      if (format > FORMAT) {
        throw new IOException(
            "its record "
                + record
                + " is of format "
                + format
                + ", and this Holdfast reads formats 0 and "
                + FORMAT
                + ": start the version that wrote it");
      }
      return Optional.of(read);
    } catch (NoSuchFileException e) {
      return Optional.empty();
    } catch (JsonException e) {
      throw new IOException("its record " + record + " is damaged: " + e.getMessage(), e);
    }
  }

  /** Which VM a record is of. */
  public static VmId id(JsonObject record) {
    return new VmId(record.object("promise").string("name"), record.optionalString("instance"));
  }

  /** Which VM it is. */
  public VmId id() {
    return id;
  }

  /** What its guest was promised; what is plugged in or out later changes it. */
  public synchronized VmSpec spec() {
    return spec;
  }

  /**
   * The guest's machine has changed, and so has what a successor must be started with; the record
   * is written before this returns.
   */
  public synchronized void promises(VmSpec changed) throws IOException {
    spec = changed;
    writeRecord();
  }

  /**
   * Passes on the QMP events of whatever process runs it.
   *
   * @param listener must return soon, and may not execute a command
   */
  public void listen(Consumer<JsonObject> listener) {
    listeners.add(listener);
  }

  /** Passes on the events of this process, too; each once, however often this is called. */
  public final synchronized void follow(QemuProcess runs) {
    if (followed.filter(each -> each == runs).isEmpty()) {
      followed = Optional.of(runs);
      runs.follow(event -> listeners.forEach(listener -> listener.accept(event)));
    }
  }

  /** What its QEMUs may do on the host; the same as the agent if empty. */
  public Optional<Credentials> credentials() {
    return credentials;
  }

  /** The files that it has as images. */
  public synchronized Images images() {
    return images;
  }

  /** Returns what makes the calls that wait for the storage of its images. */
  public StorageCalls storage() {
    return storage;
  }

  /**
   * Its QEMU may have opened other images, or closed some; the record has yet to be written.
   *
   * @throws IOException if that can't be told
   */
  private void opened(Linux linux) throws IOException {
    Images now = images().of(linux, process(), storage);
    synchronized (this) {
      images = now;
    }
  }

  /**
   * Its QEMU may have opened other images, or closed some; the record is written before this
   * returns.
   *
   * @throws IOException if that can't be told or written
   */
  public void reopened(Linux linux) throws IOException {
    Images before = images();
    opened(linux);
    if (!images().equals(before)) {
      recorded();
    }
  }

  /** Its descriptors. */
  public Box box() {
    return box;
  }

  /** What stands behind its devices. */
  public Backends backends() {
    return backends;
  }

  /** The VM's directory on the host. */
  public Path directory() {
    return directory;
  }

  /** Which generation of QEMU runs it: 1 at first, one more after each update. */
  public synchronized int generation() {
    return generation;
  }

  /** The process that runs it. */
  public synchronized QemuProcess process() {
    return process;
  }

  /** What its console has said; the log before that is beside it, with {@code .1} added. */
  public Path consoleLog() {
    return consoleLog(directory);
  }

  /** Its console, if it has one that somebody can watch. */
  public Optional<Console> console() {
    return backends.console();
  }

  /** Its descriptors by label; borrowed. */
  public Map<String, Fd> inherited() {
    return inherited(box);
  }

  /** Guest RAM, borrowed. */
  public Fd ram() {
    Fd ram = inherited(box).get(CommandLine.RAM);
    if (ram == null) {
      throw new IllegalStateException(
          "VM " + spec.name() + " has no memory: its box holds " + box.entries().keySet());
    }
    return ram;
  }

  /**
   * From now on this process runs it, for whoever asks this agent; {@link #recorded} tells the next
   * one.
   */
  public synchronized void becomes(int newGeneration, QemuProcess successor) {
    generation = newGeneration;
    process = successor;
    follow(successor);
    lost = Optional.empty();
    arriving = false;
  }

  /** The record is that of the process that runs it, before this returns. */
  public synchronized void recorded() throws IOException {
    writeRecord();
  }

  /**
   * Asks what its guest does, without waiting; {@link RunState#of(JsonObject)} reads the reply.
   *
   * @throws QmpException if that can't be asked
   */
  public Qmp.Pending askRunState() throws QmpException {
    return process().askRunState();
  }

  /**
   * What its guest does at this moment.
   *
   * @throws QmpException if its QEMU does not say
   */
  public RunState runState() throws QmpException {
    return process().runState();
  }

  /**
   * Stops its guest until {@link #resume}; does nothing to one that is paused.
   *
   * @throws IOException if it does not run for another reason, or QEMU does not answer
   */
  public void pause() throws IOException {
    RunState now = runState();
    if (now.paused()) {
      return;
    }
    if (now != RunState.RUNNING) {
      throw new IOException(now.why() + ". " + now.advice(spec.name()));
    }
    var _ = process().qmp().execute("stop");
  }

  /**
   * Lets its guest go on; does nothing to one that runs.
   *
   * @throws IOException if it can't go on, or QEMU does not answer
   */
  public void resume() throws IOException {
    RunState now = runState();
    if (now == RunState.RUNNING) {
      return;
    }
    if (!now.resumable()) {
      throw new IOException(now.why() + ". " + now.advice(spec.name()));
    }
    var _ = process().qmp().execute("cont");
  }

  /**
   * Removes what is left of a VM whose agent died while it started it: a QEMU that nobody was told
   * of, and its names.
   */
  public static void removeHalfStarted(Linux linux, Path directory) throws IOException {
    for (int generation = 1; generation <= 2; generation++) {
      // The second is one that was tried when a QEMU was being adopted; that one itself goes on.
      QemuProcess.endUnknown(linux, generationDirectory(directory, generation), QemuProcess.DEATH);
    }
    // What its backends made, too: nobody else has anything in there.
    try (DirectoryStream<Path> files = Files.newDirectoryStream(directory)) {
      for (Path file : files) {
        Files.delete(file);
      }
    }
    Files.delete(directory);
  }

  /** Why nothing runs it any more, if so. */
  public synchronized Optional<String> lost() {
    if (arriving) {
      return Optional.of(
          "it came from the previous kernel and does not run yet"
              + hindrance.map(why -> ": " + why).orElse("")
              + "; its memory and its state are held: holdfast update retry");
    }
    if (lost.isEmpty() && process.hasExited()) {
      lost =
          Optional.of(
              "its QEMU (process "
                  + process.identity().pid()
                  + ") "
                  + process.exitStatus().map(Object::toString).orElse("ended")
                  + process.said().map(s -> ": " + s).orElse(""));
    }
    return lost;
  }

  /** The record that says that this process runs it. */
  public synchronized String recordFor(ProcessIdentity identity) {
    return JsonObject.of(
            "format", id.instance().map(_ -> FORMAT),
            "instance", id.instance(),
            "promise", spec.toJson(),
            "credentials", credentials.map(Credentials::toJson),
            "generation", generation,
            "binary", process.binary().toJson(),
            "process", identity.toString(),
            "images", images.toJson())
        .pretty();
  }

  /** Whether it comes from another kernel, and has yet to run here. */
  public synchronized boolean arriving() {
    return arriving;
  }

  /**
   * Records why an attempt to run it here failed; {@link #lost} tells that from then on.
   *
   * @param why for people
   */
  public synchronized void keptFromRunning(String why) {
    hindrance = Optional.of(why);
  }

  /** The guest runs in this generation, and what was not at work before is now. */
  public synchronized void settled(int running) throws IOException {
    if (arriving) {
      backends.attached(running);
      arriving = false;
      // The numbers of devices and files are the previous kernel's.
      images = Images.NONE;
    }
  }

  private void writeRecord() throws IOException {
    if (ended) {
      // Its name may be another VM's by now.
      throw new IOException("VM " + id.name() + " has ended");
    }
    WholeFile.write(directory.resolve("vm.json"), recordFor(process.identity()));
  }

  /**
   * Ends the VM: its QEMU is killed, and so is a successor of an update that could not go on; its
   * memory is freed, its directory removed. No update of it may be running.
   */
  public synchronized void end(Linux linux) throws IOException {
    // Of an update that could not finish; first, as it may hang.
    QemuProcess.endUnknown(
        linux, generationDirectory(directory, generation - 1), QemuProcess.DEATH);
    process.quit();
    QemuProcess.endUnknown(
        linux, generationDirectory(directory, generation + 1), QemuProcess.DEATH);
    backends.drop(generation + 1);
    backends.drop(generation);
    backends.close();
    box.discard();
    ended = true;
    // Successors of an adopted one have made it without a backend.
    Files.deleteIfExists(consoleLog());
    Files.deleteIfExists(directory.resolve("vm.json"));
    Files.deleteIfExists(directory);
  }

  /** Lets go of the VM, which goes on. */
  @Override
  public synchronized void close() {
    process.close();
    backends.close();
    if (arriving) {
      // An update has it that waits for it to come back; the descriptor store holds what it needs.
      box.discard();
    } else {
      box.close();
    }
  }

  /** The directory of a generation's files, in that of its VM. */
  public static Path generationDirectory(Path directory, int generation) {
    return directory.resolve("generation-" + generation);
  }

  /** Where the console's log of a VM is. */
  public static Path consoleLog(Path directory) {
    return directory.resolve("console.log");
  }

  /** The box's descriptors by label; borrowed. */
  private static Map<String, Fd> inherited(Box box) {
    Map<String, Fd> descriptors = new HashMap<>();
    box.entries()
        .forEach(
            (label, entry) -> {
              if (entry instanceof Entry.Descriptor(Fd fd, _)) {
                descriptors.put(label, fd);
              }
            });
    return descriptors;
  }
}
