package io.holdfast.vm.adopt;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.run.Patience;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.UnixSocket;
import io.holdfast.linux.file.StorageCalls;
import io.holdfast.linux.file.StorageHangsException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.option.OptionText;
import io.holdfast.vm.option.QemuCommand;
import io.holdfast.vm.probe.QemuProbe;
import io.holdfast.vm.qemu.Credentials;
import io.holdfast.vm.qemu.QemuBinary;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.QmpException;
import io.holdfast.vm.spec.Adopted;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.Device;
import io.holdfast.vm.spec.Disk;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A look at a running QEMU that Holdfast did not start: what it is, what is in the way of taking it
 * over, and everything that is needed for that. Looking changes nothing in it; the control channel
 * is connected for as long as the look takes.
 *
 * <p>Its descriptors are this object's until {@link #release}.
 */
public final class Adoption implements AutoCloseable {
  private static final Duration GREETING = Patience.of(Duration.ofSeconds(5));
  private static final Pattern ADDRESS = Pattern.compile("\\(([^)]*)\\) is (0x[0-9a-f]+)");
  private static final Set<String> IDLE = Set.of("none", "completed", "failed", "cancelled");

  private final Linux linux;
  private final String name;
  private final ProcessFiles process;
  private final ProcessIdentity identity;
  private final List<Obstacle> obstacles = new ArrayList<>();
  private final StorageCalls storage;
  private final List<String> preserved = new ArrayList<>();
  private final Map<String, Fd> descriptors = new LinkedHashMap<>();
  private final List<Device> devices = new ArrayList<>();

  /** How long the storage of its images may take to answer. */
  private static final Duration STORAGE = Patience.of(Duration.ofSeconds(10));

  private Optional<VmSpec> spec = Optional.empty();
  private Optional<QemuBinary> binary = Optional.empty();

  /** Kinds of namespaces (namespaces(7)) that confine a process, and their names for people. */
  private static final Map<String, String> NAMESPACES =
      new TreeMap<>(
          Map.of("ipc", "IPC", "mnt", "mount", "net", "network", "pid", "PID", "user", "user"));

  private List<String> firstLosses = new ArrayList<>();
  private Optional<Credentials> credentials = Optional.empty();
  private List<String> losses = List.of();

  private Adoption(
      Linux linux,
      String name,
      ProcessFiles process,
      ProcessIdentity identity,
      StorageCalls storage) {
    this.linux = linux;
    this.name = name;
    this.storage = storage;
    this.process = process;
    this.identity = identity;
  }

  /**
   * Looks at the QEMU behind a control socket.
   *
   * @param name that the VM is to have
   * @param socket a QMP monitor that nobody else is connected to
   * @param program the binary that successors are to run; what the process runs when empty
   * @param console where a successor writes what now goes to a terminal
   * @param more whether successors may do more on the host than the process: they get the agent's
   *     namespaces and confinement where its own can't be kept
   * @param storage makes the calls that wait for the storage of its files; not closed
   * @return to be closed; {@link #obstacles} says whether it can be adopted
   * @throws StorageHangsException if that storage does not answer
   * @throws IOException if it can't even be looked at: nobody listens there, it does not answer, or
   *     the process is not to be found
   */
  public static Adoption of(
      Linux linux,
      String name,
      Path socket,
      Optional<String> program,
      Path console,
      boolean more,
      StorageCalls storage)
      throws IOException {
    UnixSocket connected;
    try {
      connected = linux.connect(socket);
    } catch (SystemCallException e) {
      throw new IOException(
          socket + ": " + e.getMessage() + "; name the socket of a running QEMU's QMP monitor", e);
    }
    int likely = connected.peer().pid();
    Optional<Adoption> adoption = Optional.empty();
    try (Qmp qmp = Qmp.over(linux, connected, "QEMU on " + socket, GREETING)) {
      int pid = ProcessFiles.listeningOn(socket, likely).orElse(likely);
      Adoption found =
          new Adoption(linux, name, new ProcessFiles(pid), ProcessIdentity.of(pid), storage);
      adoption = Optional.of(found);
      boolean done = false;
      try {
        found.look(qmp, program, console, more);
        done = true;
      } finally {
        if (!done) {
          found.close();
        }
      }
      return found;
    } catch (QmpException e) {
      throw e.late() && adoption.isEmpty()
          ? new IOException(
              socket
                  + ": nobody answers there; a monitor serves one at a time: if libvirt or another"
                  + " holds this one, give the VM a second one (-qmp unix:PATH,server=on,wait=off)",
              e)
          : e;
    }
  }

  /** What is in the way, all of it; empty if it can be adopted. */
  public List<Obstacle> obstacles() {
    return List.copyOf(obstacles);
  }

  /** What stays. */
  public List<String> preserved() {
    return List.copyOf(preserved);
  }

  /** What ends with the first update, and what is lost in each. */
  public List<String> losses() {
    List<String> all = new ArrayList<>(firstLosses);
    all.addAll(losses);
    return all;
  }

  /** What it may do on the host, and its successors may; only without obstacles. */
  public Credentials credentials() {
    return credentials.orElseThrow(
        () -> new IllegalStateException("there are obstacles: " + obstacles));
  }

  /** Who it is. */
  public ProcessIdentity identity() {
    return identity;
  }

  /** What its guest has; only without obstacles. */
  public VmSpec spec() {
    return spec.orElseThrow(() -> new IllegalStateException("there are obstacles: " + obstacles));
  }

  /** What it runs; only without obstacles. */
  public QemuBinary binary() {
    return binary.orElseThrow(() -> new IllegalStateException("there are obstacles: " + obstacles));
  }

  /**
   * Hands out its descriptors by label, the caller's from now on: {@code ram} and what successors
   * inherit.
   */
  public Map<String, Fd> release() {
    Map<String, Fd> all = new HashMap<>(descriptors);
    descriptors.clear();
    return all;
  }

  @Override
  public void close() {
    descriptors.values().forEach(Fd::close);
    descriptors.clear();
  }

  private void obstacle(String what, String why, String advice) {
    obstacles.add(new Obstacle(what, why, advice));
  }

  private void look(Qmp qmp, Optional<String> asked, Path console, boolean more)
      throws IOException {
    String program = program(asked);
    binary = Optional.of(QemuProbe.describe(program, qmp));
    QemuCommand command;
    try {
      command = QemuCommand.parse(process.commandLine());
    } catch (IllegalArgumentException e) {
      obstacle(
          process.toString(),
          "its command line is none of QEMU's: " + e.getMessage(),
          "Name the QMP socket of a QEMU that was started by its own command.");
      return;
    }
    readiness(qmp);
    String machine = type(qmp, "/machine").replaceFirst("-machine$", "");
    String accelerator = qmp.execute("query-kvm").object("return").bool("enabled") ? "kvm" : "tcg";
    List<JsonObject> cpus = qmp.execute("query-cpus-fast").array("return").objects();
    String cpu = cpu(qmp, command, program, cpus);
    credentials = Optional.of(Credentials.of(process.pid()));
    Credentials agent = Credentials.of(Math.toIntExact(ProcessHandle.current().pid()));
    Reconstruction made =
        Reconstructor.of(
            new RunningQemu(
                command,
                process.workingDirectory(),
                machine,
                accelerator,
                cpu,
                fdSets(qmp, command),
                process.listeners(),
                // In a directory of the agent's.
                Optional.of(console).filter(_ -> credentials.equals(Optional.of(agent)))));
    obstacles.addAll(made.obstacles());
    firstLosses.addAll(made.firstLosses());
    losses = made.losses();
    changedSince(qmp, command);
    long memory = memory(qmp, made);
    unnamed(qmp, made);
    boolean overlays = command.options().stream().anyMatch(o -> o.name().equals("snapshot"));
    if (!overlays) {
      disks(qmp);
    }
    descriptors.putAll(
        storage
            .make("opening the files of " + process, STORAGE, () -> inherited(made))
            .descriptors());
    surroundings(command, more);
    if (!obstacles.isEmpty()) {
      return;
    }
    preserved.add("the guest goes on in " + process + "; nothing changes in it");
    preserved.add("guest RAM, " + (memory >> 20) + " MiB, is held by Holdfast too");
    preserved.add("machine " + machine + ", " + cpus.size() + " CPUs");
    devices.addAll(List.of(new Adopted(firstLosses, losses)));
    spec =
        Optional.of(
            new VmSpec(
                name,
                memory,
                cpus.size(),
                machine,
                cpu,
                accelerator,
                "what it had when it was adopted",
                devices,
                made.arguments(),
                Optional.empty()));
  }

  private String program(Optional<String> asked) throws IOException {
    if (asked.isPresent()) {
      return asked.get();
    }
    Path program;
    try {
      program = process.program();
    } catch (IOException e) {
      obstacle(
          process.toString(),
          "its program can't be told: " + e.getMessage(),
          "Run the agent as root, or as that process's user.");
      return "unknown";
    }
    if (program.getFileName().toString().startsWith("ld-")) {
      obstacle(
          process.toString(),
          "it was started through the dynamic linker " + program,
          "Name a program that runs this QEMU with --qemu PATH.");
    } else if (!Files.isExecutable(program)) {
      obstacle(
          process.toString(),
          "its program " + program + " is not there any more",
          "Name a QEMU that successors are to run with --qemu PATH.");
    }
    return program.toString();
  }

  /** Whether it is in a state to be taken over. */
  private void readiness(Qmp qmp) throws IOException {
    String status = qmp.execute("query-status").object("return").string("status");
    if (!status.equals("running") && !status.equals("paused")) {
      obstacle(
          "VM " + name,
          "its guest is " + status + ", neither running nor paused",
          "Wait until that has ended, or let it run first.");
    }
    JsonObject migration = qmp.execute("query-migrate").object("return");
    migration
        .optionalArray("blocked-reasons")
        .ifPresent(
            reasons ->
                reasons
                    .strings()
                    .forEach(
                        r -> obstacle("VM " + name, r, "Remove what QEMU names, then try again.")));
    String state = migration.optionalString("status").orElse("none");
    if (!IDLE.contains(state)) {
      obstacle("VM " + name, "a migration of it is " + state, "Wait until it has ended.");
    }
    for (JsonObject job : qmp.execute("query-block-jobs").array("return").objects()) {
      obstacle(
          "VM " + name,
          "a block job is under way: " + job.string("type") + " on " + job.string("device"),
          "Wait until it has ended, or cancel it.");
    }
  }

  private static String type(Qmp qmp, String path) throws QmpException {
    return qmp.execute("qom-get", JsonObject.of("path", path, "property", "type")).string("return");
  }

  /**
   * The CPU as the guest has it. A model may be another one in the next QEMU, so it is expanded by
   * the one that runs; what no expansion tells is kept as it was given.
   */
  private String cpu(Qmp qmp, QemuCommand command, String program, List<JsonObject> cpus)
      throws IOException {
    String type = type(qmp, cpus.getFirst().string("qom-path"));
    String model = type.replaceFirst("-[a-z0-9_]+-cpu$", "");
    for (QemuCommand.Option option : command.options()) {
      if (option.name().equals("cpu")) {
        model = option.text();
      }
    }
    try {
      return QemuProbe.expandExactly(qmp, program, model);
    } catch (IOException e) {
      obstacle(
          "CPU " + model,
          String.valueOf(e.getMessage()),
          "Start the VM with a CPU model that QEMU can expand, then adopt it.");
      return model;
    }
  }

  /** The descriptors of those sets that its command line made. */
  private static Map<Long, List<Integer>> fdSets(Qmp qmp, QemuCommand command) throws QmpException {
    Set<String> given = new HashSet<>();
    for (QemuCommand.Option option : command.options()) {
      if (option.name().equals("add-fd")) {
        given.add(OptionText.parse(option.text(), "").get("set", ""));
      }
    }
    Map<Long, List<Integer>> sets = new TreeMap<>();
    for (JsonObject set : qmp.execute("query-fdsets").array("return").objects()) {
      if (given.contains(Long.toString(set.number("fdset-id")))) {
        sets.put(
            set.number("fdset-id"),
            set.array("fds").objects().stream()
                .map(fd -> Math.toIntExact(fd.number("fd")))
                .sorted()
                .toList());
      }
    }
    return sets;
  }

  /** What was plugged, unplugged or added since the start, so that the command line is not all. */
  private void changedSince(Qmp qmp, QemuCommand command) throws QmpException {
    Set<String> given = new HashSet<>();
    StringBuilder all = new StringBuilder();
    for (QemuCommand.Option option : command.options()) {
      all.append(option.text()).append('\n');
      if (option.name().equals("device")) {
        deviceId(option).ifPresent(given::add);
      }
    }
    Set<String> there = new HashSet<>();
    for (JsonObject child :
        qmp.execute("qom-list", JsonObject.of("path", "/machine/peripheral"))
            .array("return")
            .objects()) {
      String type = child.string("type");
      String id = child.string("name");
      if (!type.startsWith("child<")) {
        continue;
      }
      there.add(id);
      if (!given.contains(id) && !all.toString().contains(id)) {
        obstacle(
            "device " + id + " (" + type.substring(6, type.length() - 1) + ")",
            "it was plugged in after the start, so no command line tells how",
            "Unplug it, adopt the VM, and plug it in again; or start the VM with it.");
      }
    }
    for (String id : given) {
      if (!there.contains(id)) {
        obstacle(
            "device " + id,
            "it was unplugged after the start, and a successor would have it again",
            "Plug it in again as it was, or start the VM without it.");
      }
    }
    for (JsonObject node :
        qmp.execute("query-named-block-nodes", JsonObject.of("flat", true))
            .array("return")
            .objects()) {
      String nodeName = node.string("node-name");
      if (!nodeName.startsWith("#") && !all.toString().contains(nodeName)) {
        obstacle(
            "block node " + nodeName + " (" + node.string("file") + ")",
            "it was added after the start (a snapshot, or a new medium), so no command line tells how",
            "Start the VM with its images as they are now, then adopt it.");
      }
    }
  }

  private static Optional<String> deviceId(QemuCommand.Option option) {
    try {
      return OptionText.parse(option.text(), "driver").get("id");
    } catch (IllegalArgumentException e) {
      // Named by the reconstruction.
      return Optional.empty();
    }
  }

  /**
   * From 8.1 on QEMU leaves only such shared memory where it is that is a file of its own naming:
   * it would send a memfd of its own making with the device state, and no successor would take
   * that.
   */
  private void unnamed(Qmp qmp, Reconstruction made) throws QmpException {
    if (made.memoryBackend().isEmpty()) {
      return;
    }
    String backend = made.memoryBackend().get();
    if (type(qmp, "/objects/" + backend).equals("memory-backend-memfd")
        && binary.orElseThrow().atLeast(8, 1)) {
      obstacle(
          "memory backend " + backend,
          "it is a memory-backend-memfd, which QEMU "
              + binary.orElseThrow().version()
              + " would send through the update in place of leaving it where it is",
          "Start the VM with " + Reconstructor.SHARED_BACKEND + ". Then adopt it.");
    }
  }

  /** Guest RAM: what is mapped where the guest's address 0 is. Returns its size. */
  private long memory(Qmp qmp, Reconstruction made) throws IOException {
    if (made.memoryBackend().isEmpty()) {
      return 0;
    }
    String backend = made.memoryBackend().get();
    long size =
        qmp.execute("query-memdev").array("return").objects().stream()
            .filter(m -> m.optionalString("id").equals(Optional.of(backend)))
            .mapToLong(m -> m.number("size"))
            .findFirst()
            .orElse(0);
    String said =
        qmp.execute("human-monitor-command", JsonObject.of("command-line", "gpa2hva 0x0"))
            .string("return");
    Matcher address = ADDRESS.matcher(said);
    if (size == 0 || !address.find()) {
      obstacle(
          "memory backend " + backend,
          "where it is in the process can't be told: " + said.strip(),
          "Start the VM with one memory backend for all of its RAM, then adopt it.");
      return size;
    }
    Optional<ProcessFiles.Mapped> mapped =
        process.mapped(Long.parseUnsignedLong(address.group(2).substring(2), 16));
    Optional<Integer> number =
        mapped.isPresent() && mapped.get().shared()
            ? process.descriptorOf(mapped.get())
            : Optional.empty();
    if (number.isEmpty() || mapped.get().offset() != 0) {
      obstacle(
          "memory backend " + backend,
          "the process has no shared file mapped as the guest's RAM",
          "Start the VM with " + Reconstructor.SHARED_BACKEND + ". Then adopt it.");
      return size;
    }
    try (PidFd handle = handle()) {
      Fd ram = handle.take(number.get());
      descriptors.put("ram", ram);
      if (linux.size(ram) < size) {
        obstacle(
            "memory backend " + backend,
            "its file has " + linux.size(ram) + " bytes, less than the guest's RAM, " + size,
            "Start the VM anew, then adopt it.");
      }
    } catch (SystemCallException e) {
      notOurs(e);
    }
    return size;
  }

  private PidFd handle() throws IOException {
    return identity
        .find(linux)
        .orElseThrow(() -> new IOException(process + " has ended while it was looked at"));
  }

  private void notOurs(SystemCallException e) {
    obstacle(
        process.toString(),
        "its descriptors can't be had: " + e.getMessage(),
        "Run the agent as root, or as that process's user with the right to trace it"
            + " (kernel.yama.ptrace_scope).");
  }

  /**
   * Image files, which must be for the agent what they are for the process.
   *
   * @throws StorageHangsException if their storage does not answer
   */
  private void disks(Qmp qmp) throws IOException {
    List<JsonObject> nodes =
        qmp.execute("query-named-block-nodes", JsonObject.of("flat", true))
            .array("return")
            .objects();
    boolean _ =
        storage.make(
            "reading the images of " + process,
            STORAGE,
            () -> {
              disks(nodes);
              return true;
            });
  }

  private void disks(List<JsonObject> nodes) throws IOException {
    Set<Object> open = new HashSet<>();
    for (int number : process.descriptors().keySet()) {
      process.file(number).ifPresent(open::add);
    }
    Set<String> seen = new HashSet<>();
    for (JsonObject node : nodes) {
      String file = node.string("file");
      String path = process.workingDirectory().resolve(file).normalize().toString();
      if (!Set.of("file", "host_device").contains(node.string("drv"))
          || path.startsWith("/dev/fdset/")
          || !seen.add(path)) {
        continue;
      }
      String format =
          nodes.stream()
              .filter(n -> n.string("file").equals(file))
              .map(n -> n.string("drv"))
              .filter(d -> !Set.of("file", "host_device").contains(d))
              .findFirst()
              .orElse("raw");
      preserved.add("disk " + path + " stays the same file");
      devices.add(
          new Disk("image" + devices.size(), path, format, node.bool("ro"), Disk.OTHER_BUS));
      try {
        if (!open.contains(ProcessFiles.identity(Path.of(path)))) {
          obstacle(
              "disk " + path,
              "the file of this name is not the one that the process has open",
              "Put the right file back under its name.");
        }
      } catch (IOException e) {
        obstacle(
            "disk " + path,
            "the agent does not see it: " + e.getMessage(),
            "Run the agent where the path leads to the same file, or put the file back.");
      }
    }
  }

  /**
   * An image is opened anew: the locks of the process's own one would hold as long as the agent has
   * it, also when that process has ended.
   *
   * @param taken owned by this
   */
  private Fd own(Fd taken) {
    try (taken) {
      return linux.reopen(taken);
    }
  }

  /** What successors inherit, by label. */
  private record Inherited(Map<String, Fd> descriptors) implements AutoCloseable {
    @Override
    public void close() {
      descriptors.values().forEach(Fd::close);
    }
  }

  /** Fetches what successors inherit; waits for the storage of files. */
  private Inherited inherited(Reconstruction made) throws IOException {
    Inherited inherited = new Inherited(new LinkedHashMap<>());
    boolean done = false;
    try {
      take(made, inherited.descriptors());
      done = true;
      return inherited;
    } finally {
      if (!done) {
        inherited.close();
      }
    }
  }

  private void take(Reconstruction made, Map<String, Fd> inherited) throws IOException {
    Set<String> images = CommandLine.images(made.arguments());
    for (Map.Entry<String, Reconstruction.Source> each : made.sources().entrySet()) {
      try {
        switch (each.getValue()) {
          case Reconstruction.Taken(int number) -> {
            try (PidFd handle = handle()) {
              Fd taken = handle.take(number);
              inherited.put(each.getKey(), images.contains(each.getKey()) ? own(taken) : taken);
            }
          }
          case Reconstruction.Opened(Path path) -> {
            try {
              inherited.put(each.getKey(), linux.open(process.seen(path), OpenFlag.READ));
            } catch (SystemCallException e) {
              obstacle(
                  path.toString(),
                  "the process was started with it, and now it can't be opened: " + e.getMessage(),
                  "Put it back under its name.");
            }
          }
        }
      } catch (SystemCallException e) {
        notOurs(e);
        return;
      }
    }
  }

  /** What is around the process and not around a successor. */
  private void surroundings(QemuCommand command, boolean more) throws IOException {
    Credentials own = credentials();
    ProcessFiles self = new ProcessFiles(Math.toIntExact(ProcessHandle.current().pid()));
    if (!own.equals(Credentials.of(self.pid()))) {
      preserved.add("successors run as it does: " + own);
    }
    for (Map.Entry<String, String> each : NAMESPACES.entrySet()) {
      if (!process.namespace(each.getKey()).equals(self.namespace(each.getKey()))) {
        wider("its " + each.getValue() + " namespace; successors are in the agent's", more);
      }
    }
    if (!ProcessFiles.identity(process.seen(Path.of("/")))
        .equals(ProcessFiles.identity(self.seen(Path.of("/"))))) {
      wider("its root directory (chroot); successors have the agent's", more);
    }
    boolean sandboxed = command.options().stream().anyMatch(o -> o.name().equals("sandbox"));
    if (process.filtered() && !self.filtered() && !sandboxed) {
      wider("the filter of its system calls; successors have none", more);
    }
    if (!process.controlGroup().equals(self.controlGroup())) {
      firstLosses.add(
          "the limits and accounting of its control group ("
              + process.controlGroup().lines().findFirst().orElse("")
              + "); successors are in the agent's");
    }
    if (!process.label().equals(self.label())) {
      wider(
          "its confinement by a security module ("
              + process.label()
              + "); successors have the agent's",
          more);
    }
    boolean libvirt =
        command.options().stream()
            .anyMatch(o -> o.name().equals("object") && o.text().contains("masterKey0"));
    if (libvirt) {
      firstLosses.add(
          "libvirt takes the VM for shut off then, and ends what else it started for it; it must"
              + " not start it again (see docs/adopt.md)");
    }
  }

  /** Without it a successor could do more on the host than the process can. */
  private void wider(String lost, boolean allowed) {
    if (allowed) {
      firstLosses.add(lost);
    } else {
      obstacle(
          process.toString(),
          "a successor would lose " + lost,
          "Run the agent where that is the same; or adopt it with --more-privileges, if its"
              + " successors may do more on this host than it can.");
    }
  }
}
