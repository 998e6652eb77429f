package io.holdfast.agent.rescue;

import io.holdfast.agent.rescue.Rescue.Agent;
import io.holdfast.agent.rescue.Rescue.Box;
import io.holdfast.agent.rescue.Rescue.Place;
import io.holdfast.agent.rescue.Rescue.Seen;
import io.holdfast.agent.rescue.Rescue.Sessions;
import io.holdfast.core.journal.JournalException;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.journal.UpdateHistory;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.kexec.arrive.ManifestSearch;
import io.holdfast.kexec.manifest.Handover;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.kexec.session.OpenSessions;
import io.holdfast.kexec.session.StoredSessions;
import io.holdfast.kho.memory.KernelCore;
import io.holdfast.kho.memory.MemoryException;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.linux.file.StorageCalls;
import io.holdfast.linux.file.StorageHangsException;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Needs;
import io.holdfast.vm.Vm;
import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Reads what a {@link Rescue} shows, and changes nothing: no session is retrieved and no file is
 * written.
 *
 * <p>{@code /dev/liveupdate} is not opened either. The kernel rebuilds its sessions at the first
 * open, and if that fails, as where a driver of one of their files is not there yet, each later
 * open fails with EIO until a reboot ({@code kernel/liveupdate/luo_session.c}). The descriptor
 * store's queue is not read: an agent that starts meanwhile would read from where this stopped.
 */
public final class RescueSurvey {
  /** How long memory is searched for the names of what waits. */
  private static final Duration SEARCH = Duration.ofSeconds(20);

  private static final Path ROOT = Path.of("/");
  private static final String DEVICE = "dev/liveupdate";
  private static final String INITRD = "etc/initrd-release";

  private final Linux linux;
  private final Arrival.Places places;
  private final Path root;
  private final Optional<Agent> agent;
  private final Path host;
  private final Path kcore;

  private final Map<String, Box> boxes = new TreeMap<>();
  private final List<String> missing = new ArrayList<>();
  private final List<String> unknown = new ArrayList<>();
  private final Set<Integer> storing = new TreeSet<>();
  private final OpenSessions open;

  /** How long the storage of what VMs need may still take to answer. */
  private Duration answer = Duration.ofSeconds(10);

  private RescueSurvey(
      Linux linux, Arrival.Places places, Path root, Optional<Agent> agent, Path host, Path kcore) {
    this.linux = linux;
    this.places = places;
    this.root = root;
    this.agent = agent;
    this.host = host;
    this.kcore = kcore;
    this.open = OpenSessions.read(host.resolve("proc"), places.run().resolve("agent.lock"));
  }

  /**
   * Reads it.
   *
   * @param places the run directory, which need not exist
   * @param root the root file system on which VMs are to run: where their QEMUs and images are
   * @param agent the agent of that run directory, if one listens
   */
  public static Rescue read(Linux linux, Arrival.Places places, Path root, Optional<Agent> agent) {
    return read(linux, places, root, agent, ROOT, KernelCore.PROC_KCORE);
  }

  /** The same, on a host that a test makes. */
  static Rescue read(
      Linux linux, Arrival.Places places, Path root, Optional<Agent> agent, Path host, Path kcore) {
    return new RescueSurvey(linux, places, root, agent, host, kcore).read();
  }

  private Rescue read() {
    if (linux.effectiveUser() != 0) {
      unknown.add("Not everything can be read, as this is not root: run `holdfast rescue` as root");
    } else if (open.hidden()) {
      unknown.add(
          "What some processes have open cannot be read in "
              + host.resolve("proc")
              + ": is proc"
              + " mounted there?");
    }
    agent.flatMap(Agent::vms).ifPresent(vms -> vms.forEach(this::seen));
    Optional<Path> store = existing(places.run().resolve("keeper"));
    Optional<ProcessIdentity> keeping = store.flatMap(this::alive);
    keeping.ifPresent(each -> storing.add(each.pid()));
    directories(store.isPresent(), keeping);
    openSessions();
    Verdict verdict = sessions();
    if (verdict.sessions == Sessions.UNKNOWN
        || (verdict.sessions == Sessions.WAITING && boxes.isEmpty())) {
      verdict = search(verdict);
    }
    device(verdict);
    starting();
    Rescue found =
        new Rescue(
            verdict.sessions,
            verdict.evidence,
            places.run(),
            root,
            agent,
            List.copyOf(boxes.values()),
            missing,
            unknown,
            List.of(),
            List.of());
    return new RescueSteps(found, storing, isInitrd(), isBeforeSwitch(), unbound()).add();
  }

  /** Says who has the run directory's lock, if that is not a known agent or a guard. */
  private void starting() {
    Set<Integer> others = new TreeSet<>(open.lock());
    others.removeAll(storing);
    if (agent.isEmpty() && !others.isEmpty()) {
      unknown.add(
          "An agent starts, or listens on another socket (--socket): "
              + processes(others)
              + " has "
              + places.run().resolve("agent.lock")
              + " open");
    }
  }

  /** Whether this runs in an initrd: systemd's mark of one, or a root in memory without systemd. */
  private boolean isInitrd() {
    if (Files.exists(host.resolve(INITRD))) {
      return true;
    }
    try {
      String type = "";
      for (String line : Files.readAllLines(host.resolve("proc/mounts"))) {
        String[] fields = line.split(" ", -1);
        if (fields.length > 2 && fields[1].equals("/")) {
          type = fields[2];
        }
      }
      return Set.of("rootfs", "ramfs", "tmpfs").contains(type)
          && !Files.exists(host.resolve("run/systemd/system"));
    } catch (IOException e) {
      return false;
    }
  }

  /** Whether the first program has yet to switch from an initrd to the real root. */
  private boolean isBeforeSwitch() {
    return isInitrd() || Files.exists(host.resolve("proc/1/root").resolve(INITRD));
  }

  /** What another root file system lacks of this one's: an agent in a chroot needs it. */
  private List<String> unbound() {
    List<String> unbound = new ArrayList<>();
    if (root.equals(ROOT)) {
      return unbound;
    }
    for (String name : List.of("dev", "proc", "sys", "run")) {
      try {
        if (!Files.isSameFile(ROOT.resolve(name), root.resolve(name))) {
          unbound.add(name);
        }
      } catch (IOException e) {
        unbound.add(name);
      }
    }
    return unbound;
  }

  private record Verdict(Sessions sessions, String evidence) {}

  // The run directory.

  private void seen(Seen vm) {
    String where =
        agent.orElseThrow().named()
            + " has it: "
            + vm.state()
            + vm.reason().map(reason -> ": " + reason).orElse("");
    boxes.put(
        vm.name(),
        new Box(
            vm.name(),
            vm.bytes(),
            place(vm),
            where,
            place(vm) == Place.SERVED ? List.of() : needs(record(vm.name()))));
  }

  /**
   * Where a VM of an agent is. One whose update by kexec has not ended is not lost, whatever its
   * state: the agent shows one as lost that nothing runs, also while its memory is stored.
   */
  private Place place(Seen vm) {
    return switch (vm.state()) {
      case "running", "paused", "stopped" -> Place.SERVED;
      case "updating" -> retrieved().isPresent() ? Place.NOT_BACK : Place.SERVED;
      case "lost" -> retrieved().isPresent() ? Place.NOT_BACK : Place.NOT_FOUND;
      default -> Place.NOT_BACK;
    };
  }

  private static Optional<Path> existing(Path file) {
    return Files.exists(file) ? Optional.of(file) : Optional.empty();
  }

  /** The process that a file names, if it lives. */
  private Optional<ProcessIdentity> alive(Path file) {
    try {
      return alive(ProcessIdentity.parse(Files.readString(file).strip()));
    } catch (IOException | RuntimeException e) {
      unknown.add(file + " cannot be read: " + e.getMessage());
      return Optional.empty();
    }
  }

  /** Returns the same if that process lives, and is no zombie. */
  private Optional<ProcessIdentity> alive(ProcessIdentity identity) {
    Optional<PidFd> found = identity.find(linux);
    found.ifPresent(PidFd::close);
    return found.map(_ -> identity);
  }

  private void directories(boolean kept, Optional<ProcessIdentity> store) {
    Path vms = places.vm("x").getParent();
    if (vms == null || !Files.isDirectory(vms)) {
      return;
    }
    Set<String> aside = aside();
    try (DirectoryStream<Path> all = Files.newDirectoryStream(vms)) {
      for (Path each : all) {
        String name = each.getFileName() + "";
        if (!boxes.containsKey(name)) {
          boxes.put(name, directory(name, kept, store, aside));
        }
      }
    } catch (IOException | DirectoryIteratorException e) {
      unknown.add("Which VMs the run directory has cannot be read: " + e);
    }
    for (String name : aside) {
      boxes.computeIfAbsent(
          name,
          _ ->
              new Box(
                  name,
                  OptionalLong.empty(),
                  answers() ? Place.NOT_BACK : Place.STORED,
                  "its session, which could not be restored, is stored",
                  List.of()));
    }
  }

  private Box directory(
      String name, boolean kept, Optional<ProcessIdentity> store, Set<String> aside) {
    Optional<JsonObject> record = record(name);
    OptionalLong memory = OptionalLong.empty();
    Optional<ProcessIdentity> qemu = Optional.empty();
    if (record.isPresent()) {
      try {
        memory = OptionalLong.of(record.get().object("promise").number("memory"));
        qemu = alive(ProcessIdentity.parse(record.get().string("process")));
      } catch (JsonException | NumberFormatException | IndexOutOfBoundsException e) {
        unknown.add("The record of VM " + name + " is damaged: " + e.getMessage());
      }
    }
    List<String> needs = needs(record);
    if (qemu.isPresent()) {
      storing.add(qemu.get().pid());
      return new Box(
          name,
          memory,
          Place.RUNNING,
          "its QEMU runs, process " + qemu.get().pid() + ", and no agent has it",
          needs);
    }
    String what = aside.contains(name) ? "its session, which could not be restored," : "its memory";
    if (store.isPresent()) {
      return new Box(
          name,
          memory,
          Place.STORED,
          what + " is stored by process " + store.get().pid() + keptDescriptors(store.get()),
          needs);
    }
    if (kept) {
      return new Box(
          name,
          memory,
          Place.NOT_FOUND,
          "the process that stored it is gone (" + places.run().resolve("keeper") + ")",
          needs);
    }
    return new Box(
        name,
        memory,
        Place.STORED,
        what + " is stored by systemd, if the agent was its service",
        needs);
  }

  /** How many descriptors are in the descriptor store's queue, without reading it. */
  private static String keptDescriptors(ProcessIdentity store) {
    try {
      for (String line : Files.readAllLines(Path.of("/proc/" + store.pid() + "/fdinfo/3"))) {
        if (line.startsWith("scm_fds:")) {
          return " (" + line.substring("scm_fds:".length()).strip() + " descriptors)";
        }
      }
    } catch (IOException e) {
      // It is said elsewhere that not everything can be read.
    }
    return "";
  }

  private Optional<JsonObject> record(String vm) {
    try {
      return Vm.readRecord(places.vm(vm));
    } catch (IOException e) {
      unknown.add("VM " + vm + ": " + e.getMessage());
      return Optional.empty();
    }
  }

  private List<String> needs(Optional<JsonObject> record) {
    if (record.isEmpty()) {
      return List.of();
    }
    // A thread for each VM: the storage of one must not keep the others from being checked.
    long began = System.nanoTime();
    try (StorageCalls storage = new StorageCalls("needs of a VM")) {
      return storage.make(
          "reading what the VM needs", answer, () -> Needs.missing(linux, record.get(), root));
    } catch (StorageHangsException e) {
      // All together have as long as that.
      answer = answer.minusNanos(System.nanoTime() - began);
      return List.of("what it needs cannot be checked: " + e.getMessage());
    } catch (IOException | RuntimeException e) {
      return List.of("what it needs cannot be checked: " + e.getMessage());
    }
  }

  /** The boxes that an agent set aside. */
  private Set<String> aside() {
    Set<String> names = new HashSet<>();
    for (Path file : updates("*.aside")) {
      try {
        names.addAll(Files.readAllLines(file));
      } catch (IOException e) {
        unknown.add(file + " cannot be read: " + e);
      }
    }
    return names;
  }

  private List<Path> updates(String glob) {
    List<Path> found = new ArrayList<>();
    if (Files.isDirectory(places.updates())) {
      try (DirectoryStream<Path> all = Files.newDirectoryStream(places.updates(), glob)) {
        all.forEach(found::add);
      } catch (IOException | DirectoryIteratorException e) {
        unknown.add(places.updates() + " cannot be read: " + e);
      }
    }
    return found;
  }

  /** The update whose sessions an agent of this kernel has retrieved, if it has not ended. */
  private Optional<String> retrieved() {
    for (Path journal : updates("*.journal")) {
      try {
        Optional<UpdateHistory> history =
            UpdateHistory.of(JournalText.decode(Files.readAllBytes(journal)).records())
                .filter(each -> each.began().carrier() == CarrierKind.KEXEC)
                .filter(each -> each.entered(UpdateState.HANDED_OVER));
        if (history.isPresent()) {
          return Optional.of(history.get().began().update().toString());
        }
      } catch (IOException | JournalException e) {
        unknown.add("Journal " + journal + " cannot be read: " + e.getMessage());
      }
    }
    return Optional.empty();
  }

  // Sessions.

  /**
   * Sessions that processes have open besides a descriptor store's queue: a guard's, systemd's, an
   * agent's.
   */
  private void openSessions() {
    open.sessions()
        .forEach(
            (session, processes) -> {
              if (!session.startsWith(Manifest.SESSION + "/") || answers()) {
                return;
              }
              String name = session.substring(Manifest.SESSION.length() + 1);
              processes.forEach(storing::add);
              boxes.computeIfAbsent(
                  name,
                  _ ->
                      new Box(
                          name,
                          OptionalLong.empty(),
                          Place.STORED,
                          "its session is stored by " + processes(processes),
                          List.of()));
            });
  }

  private boolean answers() {
    return agent.flatMap(Agent::vms).isPresent();
  }

  private static String processes(Set<Integer> pids) {
    StringBuilder text = new StringBuilder();
    for (int pid : pids) {
      text.append(text.isEmpty() ? "" : " and ");
      text.append(pid == 1 ? "systemd, process 1" : "process " + pid);
    }
    return text.toString();
  }

  private Verdict sessions() {
    Optional<String> update = retrieved();
    if (update.isPresent()) {
      return new Verdict(
          Sessions.RETRIEVED,
          "an agent retrieved the sessions of update " + update.get() + ", which has not ended");
    }
    if (isSettled()) {
      return new Verdict(
          Sessions.NONE,
          "an agent of this boot found none, or ended the update that they came with ("
              + places.run().resolve("settled")
              + ")");
    }
    if (answers()) {
      return new Verdict(Sessions.NONE, agent.orElseThrow().named() + " has searched for them");
    }
    if (open.sessions().keySet().stream()
        .anyMatch(
            name -> name.equals(Manifest.SESSION) || name.startsWith(Manifest.SESSION + "/"))) {
      Set<Integer> processes = new TreeSet<>();
      open.sessions()
          .forEach(
              (name, pids) -> {
                if (name.startsWith(Manifest.SESSION)) {
                  processes.addAll(pids);
                }
              });
      storing.addAll(processes);
      return new Verdict(Sessions.WAITING, "they are stored by " + processes(processes));
    }
    Handover handover = Handover.find(host);
    if (!handover.possible()) {
      return new Verdict(
          Sessions.NONE, "the previous kernel handed no memory over: " + handover.evidence());
    }
    Path handed = host.resolve("sys/kernel/debug/kho/in/sub_fdts");
    if (Files.isDirectory(handed) && !Files.exists(handed.resolve("LUO"))) {
      return new Verdict(
          Sessions.NONE,
          "the previous kernel handed no state of the Live Update Orchestrator over: there is no "
              + handed.resolve("LUO"));
    }
    if (!registered().orElse(true)) {
      return handover.certain()
          ? new Verdict(
              Sessions.LOST,
              "this kernel has no Live Update Orchestrator switched on, so it cannot give back what"
                  + " the previous one handed over: liveupdate=on is not on its command line, or it"
                  + " was built without CONFIG_LIVEUPDATE")
          : new Verdict(Sessions.NONE, "this kernel has no Live Update Orchestrator switched on");
    }
    return new Verdict(
        Sessions.UNKNOWN,
        handover.certain()
            ? "the previous kernel handed memory over, and no agent has retrieved sessions yet ("
                + (Files.exists(handed.resolve("LUO"))
                    ? handed.resolve("LUO")
                    : handover.evidence())
                + ")"
            : "the previous kernel may have handed memory over: " + handover.evidence());
  }

  private boolean isSettled() {
    Path settled = places.run().resolve("settled");
    try {
      return Files.exists(settled)
          && Files.readString(settled).strip().equals(StoredSessions.boot());
    } catch (IOException e) {
      unknown.add(settled + " cannot be read: " + e);
      return false;
    }
  }

  /** Whether the kernel has the device; empty if that cannot be told. */
  private Optional<Boolean> registered() {
    try {
      return Optional.of(
          Files.readAllLines(host.resolve("proc/misc")).stream()
              .anyMatch(line -> line.endsWith(" liveupdate")));
    } catch (IOException e) {
      return Optional.empty();
    }
  }

  /** What the manifest says, if it is found in this machine's memory. */
  private Verdict search(Verdict verdict) {
    ManifestSearch.Found found;
    try (KernelCore memory = KernelCore.open(kcore)) {
      found = ManifestSearch.search(linux, memory, SEARCH);
    } catch (IOException | MemoryException e) {
      unknown.add(
          "Which VMs wait cannot be told: their names are in memory only, and "
              + e.getMessage()
              + ". An agent tells");
      return verdict;
    }
    if (found.update().isEmpty()) {
      unknown.add(
          "Which VMs wait cannot be told: no manifest was found in "
              + (found.complete()
                  ? "memory"
                  : "the first " + (found.searched() >> 20) + " MiB of memory")
              + ". An agent tells for certain");
      return verdict;
    }
    for (ManifestSearch.Named each : found.boxes()) {
      boxes.computeIfAbsent(
          each.name(),
          name ->
              new Box(
                  name,
                  each.bytes(),
                  Place.KERNEL,
                  "its session is in the kernel; no agent has retrieved it",
                  List.of()));
    }
    if (!found.whole()) {
      unknown.add("There may be more VMs: of the manifest only the first page was found in memory");
    }
    return new Verdict(
        Sessions.WAITING,
        verdict.sessions == Sessions.WAITING
            ? verdict.evidence
            : "update " + found.update().get() + " brought them; no agent has retrieved them");
  }

  private void device(Verdict verdict) {
    if (verdict.sessions != Sessions.UNKNOWN && verdict.sessions != Sessions.WAITING) {
      return;
    }
    Path device = host.resolve(DEVICE);
    if (registered().isEmpty()) {
      missing.add("proc is not mounted: " + host.resolve("proc/misc") + " cannot be read");
    }
    if (!Files.exists(device)) {
      missing.add(device + " does not exist (ENOENT): is devtmpfs mounted on /dev?");
    } else if (!Files.isReadable(device) || !Files.isWritable(device)) {
      missing.add(device + " may not be opened (EACCES)");
    } else if (!open.device().isEmpty() && !open.device().equals(Set.of(1))) {
      missing.add(device + " is open in " + processes(open.device()) + " (EBUSY)");
    }
  }
}
