package io.holdfast.kexec.depart;

import io.holdfast.core.box.CrossingBox;
import io.holdfast.core.journal.Journal;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.participant.Undoable;
import io.holdfast.core.run.Crossing;
import io.holdfast.core.state.MemoryMachine;
import io.holdfast.core.state.MemoryOperation;
import io.holdfast.core.state.MemoryState;
import io.holdfast.core.state.Operation;
import io.holdfast.kexec.manifest.Bridge;
import io.holdfast.kexec.manifest.Clock;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.kexec.session.ForeignSessions;
import io.holdfast.kexec.session.SessionHolder;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.store.BoxId;
import io.holdfast.store.ServiceBox;
import io.holdfast.store.VmId;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;

/**
 * The host as a participant of an update of its kernel, up to the reboot call, which it makes. It
 * loads the next kernel, preserves the boxes that are nobody's else, stops the rest of the host,
 * and last of all writes the manifest.
 */
public final class Departure implements Source, Crossing {
  /** Its name as a participant. */
  public static final String NAME = "host-kernel";

  /** The journal for each participant, beyond what it has when the host is prepared. */
  private static final int PER_PARTICIPANT = 16 << 10;

  private static final int SPARE = 64 << 10;

  /** What a plan adds to the kernel's own boot: stopping, saving, the agent, QEMU, loading. */
  private static final Duration BESIDES = Duration.ofSeconds(2);

  private final Linux linux;
  private final UpdateId update;
  private final NextKernel next;
  private final KernelFiles files;
  private final Journal journal;
  private final HostShutdown shutdown;
  private final SessionHolder holder;
  private final Supplier<List<Obstacle>> checks;
  private final Map<ServiceBox, Map<String, Fd>> plainBoxes;
  private final List<Outgoing> boxes = new ArrayList<>();

  /** Those of {@link #boxes} that no participant sees to. */
  private final List<Outgoing> plain = new ArrayList<>();

  private final Set<String> others;
  private final Set<String> bridgeNames;
  private final List<Bridge> bridges = new ArrayList<>();
  private final Clock begun;

  /** The state of all that the update preserves. */
  private final MemoryMachine memory = MemoryMachine.outgoing();

  private Optional<OutgoingSession> session = Optional.empty();
  private Optional<Fd> manifest = Optional.empty();
  private Map<String, Fd> foreign = Map.of();
  private Optional<SyncThread> syncing = Optional.empty();
  private boolean prepared;

  /**
   * Makes the host's part of one update.
   *
   * @param files of {@code next}; borrowed
   * @param journal of the update, which travels along
   * @param others the names of all other participants
   * @param bridgeNames the bridges that VMs are plugged into
   * @param plainBoxes memfds by label, by box: those that no participant sees to; borrowed
   * @param holder of the sessions, besides this process
   * @param checks what is in the way, found out when the plan is made
   */
  public Departure(
      Linux linux,
      UpdateId update,
      NextKernel next,
      KernelFiles files,
      Journal journal,
      Set<String> others,
      Set<String> bridgeNames,
      Map<ServiceBox, Map<String, Fd>> plainBoxes,
      HostShutdown shutdown,
      SessionHolder holder,
      Supplier<List<Obstacle>> checks) {
    this.linux = linux;
    this.update = update;
    this.next = next;
    this.files = files;
    this.journal = journal;
    this.others = Set.copyOf(others);
    this.bridgeNames = Set.copyOf(bridgeNames);
    this.plainBoxes = Map.copyOf(plainBoxes);
    this.shutdown = shutdown;
    this.holder = holder;
    this.checks = checks;
    this.begun = Clock.now(linux);
  }

  /** Makes a box on its way, for a participant that fills it. */
  public CrossingBox box(VmId vm) {
    return outgoing(vm);
  }

  private Outgoing outgoing(BoxId id) {
    synchronized (boxes) {
      Outgoing box = new Outgoing(linux, holder, memory, id, boxes.size() + 1);
      boxes.add(box);
      return box;
    }
  }

  @Override
  public String name() {
    return NAME;
  }

  /** All: what they put into their boxes has to be there before the manifest. */
  @Override
  public Set<String> after() {
    return others;
  }

  @Override
  public Plan plan() throws IOException {
    List<String> preserved = new ArrayList<>();
    List<Obstacle> obstacles = new ArrayList<>(checks.get());
    Map<String, Fd> others = ForeignSessions.find(linux, next.sessions());
    others.values().forEach(Fd::close);
    for (String name : next.sessions()) {
      if (others.containsKey(name)) {
        preserved.add("session " + name + " of another program");
      } else {
        obstacles.add(
            new Obstacle(
                "session " + name,
                "no process has a session of this name open",
                "Start its program first, or leave it out."));
      }
    }
    preserved.add("the host goes to " + next.image() + ", with: " + next.commandLine());
    if (!plainBoxes.isEmpty()) {
      int entries = plainBoxes.values().stream().mapToInt(Map::size).sum();
      preserved.add(plainBoxes.size() + " boxes with " + entries + " memfds");
    }
    List<String> losses = new ArrayList<>();
    losses.add("everything else on the host is stopped: " + shutdown.describe());
    for (String name : bridgeNames) {
      preserved.add("bridge " + name + ", made again where the host's configuration has not yet");
      List<String> uplinks = Bridge.uplinks(name);
      if (!uplinks.isEmpty()) {
        losses.add(
            "bridge "
                + name
                + " is without "
                + String.join(", ", uplinks)
                + " until the host's own configuration plugs that in again");
      }
    }
    return new Plan(
        preserved,
        obstacles,
        losses,
        List.of(),
        Optional.empty(),
        Optional.of(BESIDES.plus(boot())));
  }

  /** How long the running kernel took to its first program: so will, by and large, the next one. */
  private static Duration boot() throws IOException {
    String stat = Files.readString(Path.of("/proc/1/stat"));
    String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ", -1);
    // Field 22, in hundredths of a second since the kernel's start.
    return Duration.ofMillis(10 * Long.parseLong(fields[19]));
  }

  @Override
  public void prepare(Step step) throws IOException {
    if (prepared) {
      return;
    }
    step.check(Operation.PRESERVE);
    withdraw();
    syncing = Optional.of(new SyncThread(linux));
    foreign = ForeignSessions.find(linux, next.sessions());
    if (!foreign.keySet().equals(next.sessions())) {
      throw new IOException(
          "of the sessions "
              + next.sessions()
              + " only "
              + foreign.keySet()
              + " are there any more");
    }
    step.progress("loading " + next.image());
    files.load();
    if (!plainBoxes.isEmpty()) {
      step.progress("preserving " + plainBoxes.size() + " boxes");
    }
    plainBoxes.forEach(
        (name, entries) -> {
          Outgoing box = outgoing(name);
          plain.add(box);
          entries.forEach(box::put);
        });
    bridges.clear();
    for (String name : bridgeNames) {
      bridges.add(Bridge.of(linux, name));
    }
    int entries;
    synchronized (boxes) {
      entries = boxes.stream().mapToInt(box -> 4 + box.crossed().entries().size()).sum();
    }
    long bytes =
        SPARE
            + 512L * entries
            + 2048L * bridges.size()
            + (long) PER_PARTICIPANT * (1 + others.size());
    Fd memfd = linux.memfd("manifest of " + update, bytes);
    manifest = Optional.of(memfd);
    linux.allocate(memfd, 0, bytes);
    memory.begin();
    OutgoingSession made = linux.liveUpdate().create(Manifest.SESSION);
    session = Optional.of(made);
    holder.hold(Manifest.SESSION, made.fd());
    memory.check(MemoryOperation.PRESERVE, memfd.what());
    made.preserve(memfd, Manifest.TOKEN);
    prepared = true;
  }

  /** Takes back what {@link #prepare} did, as far as it came, but for the loaded kernel. */
  private void withdraw() {
    prepared = false;
    synchronized (boxes) {
      plain.forEach(Outgoing::undo);
      boxes.removeAll(plain);
    }
    plain.clear();
    foreign.values().forEach(Fd::close);
    foreign = Map.of();
    if (session.isPresent()) {
      memory.check(MemoryOperation.UNPRESERVE, session.get().fd().what());
      session.get().close();
      holder.letGo(Manifest.SESSION);
    }
    session = Optional.empty();
    manifest.ifPresent(Fd::close);
    manifest = Optional.empty();
    syncing.ifPresent(SyncThread::close);
    syncing = Optional.empty();
  }

  @Override
  public void shutDown(Step step) throws IOException {
    shutdown.stopTheRest(step);
  }

  /** Images whose QEMU does not flush them are in the page cache, which does not cross. */
  @Override
  public void handOver(Step step) throws IOException {
    syncing.orElseThrow().sync(step);
    // All others are frozen: what they preserve is complete.
    if (memory.state() != MemoryState.FINALIZED) {
      memory.enter(MemoryState.FINALIZED);
    }
  }

  @Override
  public void cross() throws Exception {
    write();
    shutdown.leave(linux);
    memory.enter(MemoryState.HANDED_OVER);
  }

  private void write() throws IOException {
    Fd memfd = manifest.orElseThrow();
    ByteArrayOutputStream text = new ByteArrayOutputStream();
    journal.read().forEach(each -> text.writeBytes(JournalText.encode(each)));
    List<Manifest.CrossedBox> crossed;
    synchronized (boxes) {
      crossed = boxes.stream().map(Outgoing::crossed).toList();
    }
    Clock now = Clock.now(linux).since(begun);
    int size = new Manifest(update.toString(), now, crossed, bridges, 0, 0).toBlob().length;
    byte[] blob =
        new Manifest(update.toString(), now, crossed, bridges, size, text.size()).toBlob();
    long room = linux.size(memfd);
    if (blob.length + text.size() > room) {
      throw new IOException(
          "the manifest has "
              + (blob.length + text.size())
              + " bytes, and room was made for "
              + room
              + "; try again");
    }
    linux.seek(memfd, 0);
    linux.write(memfd, MemorySegment.ofArray(blob));
    linux.write(memfd, MemorySegment.ofArray(text.toByteArray()));
  }

  /** Called before other participants': what they preserved can be dropped again from here on. */
  @Override
  public void cancel(Step step) {
    step.check(Operation.UNPRESERVE);
    if (memory.state() == MemoryState.FINALIZED) {
      memory.enter(MemoryState.ACTIVE);
    }
    synchronized (boxes) {
      boxes.forEach(Outgoing::undo);
    }
    withdraw();
    linux.kexec().unload();
  }

  /**
   * Returns the host for whoever undoes an update that another agent began: its sessions died with
   * that agent, and what is left is the kernel that it loaded.
   *
   * @param others the names of all other participants
   */
  public static Undoable left(Linux linux, Set<String> others) {
    return new Left(linux, Set.copyOf(others));
  }

  private record Left(Linux linux, Set<String> after) implements Undoable {
    @Override
    public String name() {
      return NAME;
    }

    @Override
    public void cancel(Step step) {
      linux.kexec().unload();
    }
  }
}
