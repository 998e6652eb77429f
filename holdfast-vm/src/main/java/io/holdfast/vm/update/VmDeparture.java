package io.holdfast.vm.update;

import io.holdfast.core.box.Box;
import io.holdfast.core.box.CrossingBox;
import io.holdfast.core.participant.Obstacle;
import io.holdfast.core.participant.Plan;
import io.holdfast.core.participant.Source;
import io.holdfast.core.participant.Step;
import io.holdfast.core.state.Operation;
import io.holdfast.linux.Fd;
import io.holdfast.linux.FdPair;
import io.holdfast.linux.FileSystem;
import io.holdfast.linux.Linux;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.linux.SocketType;
import io.holdfast.store.StoreKey;
import io.holdfast.vm.Hotplug;
import io.holdfast.vm.Vm;
import io.holdfast.vm.device.disk.Images;
import io.holdfast.vm.device.disk.Storage;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.qemu.RunState;
import io.holdfast.vm.spec.CommandLine;
import io.holdfast.vm.spec.Findings;
import io.holdfast.vm.spec.VmSpec;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * A VM as a participant of an update of the kernel, up to the reboot call. What it leaves is what
 * an update of its QEMU leaves whose agent died after the commit: memory, device state, record and
 * journal. So on the other side it is a {@link VmUpdate} that is recovered.
 *
 * <p>Brownout: guest RAM, and what it booted from, are preserved. Blackout: the guest stops, and
 * its device state goes into a memfd that is preserved too.
 */
public final class VmDeparture implements Source {
  /** How long it took until the guest stood still, in microseconds: a fact, to be told there. */
  static final String STOPPED_IN = "stop.us";

  private static final int CHUNK = 256 << 10;

  /** Files that are read once, at the guest's start: a copy serves as well. */
  private static final Set<String> COPIED = Set.of(CommandLine.KERNEL, CommandLine.INITRD);

  private final Linux linux;
  private final Vm vm;
  private final CrossingBox crossing;
  private final Stopping stopping;
  private final GuestClock clock;
  private Optional<VmSpec> promised = Optional.empty();
  private boolean prepared;

  /** Where QEMU writes the device state to. */
  private Optional<Fd> state = Optional.empty();

  /** The device state as far as QEMU has written it: a repeated call goes on from there. */
  private Optional<Fd> memory = Optional.empty();

  private Optional<Qmp.Expectation> saved = Optional.empty();
  private final MemorySegment buffer = Arena.ofAuto().allocate(CHUNK);

  /** Bytes in {@link #buffer} that may not be in {@link #memory}, where {@link #written} are. */
  private int pending;

  private long written;

  /** What was put into the box since the guest stopped. */
  private final Set<String> packed = new HashSet<>();

  /**
   * Makes a participant for one update.
   *
   * @param crossing its box on the way; undone by {@link #cancel}
   * @param choice what becomes of the guest's wall clock
   */
  public VmDeparture(Linux linux, Vm vm, CrossingBox crossing, GuestClock.Choice choice) {
    this.linux = linux;
    this.vm = vm;
    this.crossing = crossing;
    this.clock = new GuestClock(linux, vm, choice);
    this.stopping = new Stopping(linux, vm, clock);
  }

  @Override
  public String name() {
    return vm.spec().name();
  }

  /**
   * The labels of what {@link #prepare} would put into a VM's box now, in that order. {@link
   * #freeze} adds what there is only once the guest stands still: the device state, the console's
   * log.
   */
  public static List<String> labels(Vm vm) {
    List<String> labels = new ArrayList<>(vm.inherited().keySet());
    labels.add(CrossingBox.RECORD);
    return labels;
  }

  @Override
  public Optional<String> instance() {
    return vm.id().instance();
  }

  @Override
  public List<Box> boxes() {
    return List.of(vm.box());
  }

  @Override
  public Plan plan() throws IOException {
    Findings findings = new Findings();
    Optional<Obstacle> lost = stopping.lost();
    if (lost.isPresent()) {
      return Plan.refused(lost.get());
    }
    RunState guest = stopping.plan(findings);
    Hotplug.bound(vm.spec(), findings);
    stopping.ask(findings, this::descriptors).orElse(List.of()).forEach(findings::obstacle);
    findings.preserved(
        "guest RAM, " + (vm.spec().memory() >> 20) + " MiB, stays where it is, over the kexec");
    findings.preserved("device state, in memory");
    stopping.devices(findings);
    vm.backends().planCrossing(findings);
    storage(findings);
    if (guest == RunState.RUNNING) {
      clock.plan(findings, Optional.empty());
      counter(findings);
    }
    return new Plan(
        findings.preserved(),
        findings.obstacles(),
        findings.losses(),
        findings.risks(),
        Optional.empty(),
        Optional.empty());
  }

  private void storage(Findings findings) throws IOException {
    Storage.network(vm.process(), findings);
    Set<String> paths = Images.paths(vm.process());
    stopping
        .ask(findings, () -> Storage.find(paths))
        .ifPresent(found -> Storage.plan(found, findings));
    long pid = vm.process().identity().pid();
    List<String> notLasting =
        stopping
            .ask(findings, () -> vm.images().of(linux, pid, paths).notLasting())
            .orElse(List.of());
    for (String path : notLasting) {
      findings.risk(
          "whether "
              + path
              + " is the same file on the next kernel cannot be told: it has no identity that lasts,"
              + " such as a file system's UUID with a file handle");
    }
  }

  /** docs/guest-time.md says what happens to clocks. */
  private void counter(Findings findings) throws IOException {
    if (vm.spec().accelerator().equals("kvm")
        && Files.readAllLines(Path.of("/proc/cpuinfo")).stream()
            .noneMatch(line -> line.startsWith("flags") && line.contains(" constant_tsc "))) {
      findings.loss(
          "the guest's clocks will jump if the next kernel measures the processor's time stamp"
              + " counter wrongly, as this host's is not constant (constant_tsc); tsc_early_khz= on"
              + " its command line prevents that");
    }
  }

  /** Returns the obstacles of its descriptors. */
  private List<Obstacle> descriptors() {
    List<Obstacle> obstacles = new ArrayList<>();
    vm.inherited().forEach((label, fd) -> descriptor(label, fd).ifPresent(obstacles::add));
    return obstacles;
  }

  private Optional<Obstacle> descriptor(String label, Fd fd) {
    FileSystem on = linux.fileSystem(fd);
    boolean memfd = on == FileSystem.TMPFS && linux.links(fd) == 0;
    if (memfd || COPIED.contains(label)) {
      return Optional.empty();
    }
    return Optional.of(
        new Obstacle(
            "VM " + name() + ", its descriptor " + label,
            on == FileSystem.HUGETLBFS
                ? "it is memory of reserved huge pages, which Linux can't carry over a kexec yet"
                : "it is no memfd ("
                    + fd.what()
                    + "), and Linux can carry nothing else over a kexec",
            on == FileSystem.HUGETLBFS
                ? "Run such guests with small or transparent huge pages."
                : "Stop the VM, or run it by `holdfast vm run`, which needs no such descriptor."));
  }

  @Override
  public void prepare(Step step) throws IOException {
    if (prepared) {
      return;
    }
    // What an earlier call began.
    stopping.forget();
    crossing.undo();
    state.ifPresent(Fd::close);
    step.check(Operation.PRESERVE);
    promised = Optional.of(vm.spec());
    vm.reopened(linux);
    step.record(VmUpdate.TARGET, vm.process().binary().path());
    step.progress("preserving " + (vm.spec().memory() >> 20) + " MiB");
    for (Map.Entry<String, Fd> each : vm.inherited().entrySet()) {
      if (COPIED.contains(each.getKey())) {
        try (Fd copy =
            vm.storage()
                .make(
                    "copying the " + each.getKey() + " of VM " + name(),
                    step.remaining(),
                    () -> copy(each.getKey(), each.getValue()))) {
          crossing.put(each.getKey(), copy);
        }
      } else {
        crossing.put(each.getKey(), each.getValue());
      }
    }
    try (Fd record = linux.memfd("record of " + name(), 0)) {
      byte[] text = vm.recordFor(ProcessIdentity.NOBODY).getBytes(StandardCharsets.UTF_8);
      linux.write(record, MemorySegment.ofArray(text));
      crossing.put(CrossingBox.RECORD, record);
    }
    try (FdPair out = linux.socketPair(SocketType.STREAM)) {
      stopping.prepare(step, out.left());
      state = Optional.of(out.right().duplicate());
    }
    stopping.expect();
    prepared = true;
  }

  /** Waits for the file's storage. */
  private Fd copy(String label, Fd file) {
    Fd copy = linux.memfd(label + " of " + name(), 0);
    // Opened anew: the position of the one that is held is everybody's.
    try (Arena arena = Arena.ofConfined();
        Fd source = linux.open(Path.of("/proc/self/fd/" + file.number()))) {
      MemorySegment buffer = arena.allocate(CHUNK);
      for (int n = linux.read(source, buffer); n > 0; n = linux.read(source, buffer)) {
        linux.write(copy, buffer.asSlice(0, n));
      }
      return copy;
    } catch (RuntimeException e) {
      copy.close();
      throw e;
    }
  }

  @Override
  public void freeze(Step step) throws IOException {
    try (Priority _ = new Priority(linux)) {
      Priority.raise(linux, vm.process());
      long began = System.nanoTime();
      boolean _ = stopping.stop(step);
      if (step.recorded(STOPPED_IN).isEmpty()) {
        step.record(STOPPED_IN, Long.toString((System.nanoTime() - began) / 1000));
      }
      if (!promised.equals(Optional.of(vm.spec()))) {
        throw new IOException("a device of VM " + name() + " was unplugged meanwhile; try again");
      }
      if (!packed.contains(StoreKey.DEVICE_STATE)) {
        save(step);
      }
      Map<String, Fd> others = vm.backends().packed(vm.generation());
      try {
        others.forEach(this::put);
      } finally {
        others.values().forEach(Fd::close);
      }
    }
  }

  /** Puts something into the box that only a stopped guest has, unless it is there. */
  private void put(String label, Fd fd) {
    if (!packed.contains(label)) {
      crossing.put(label, fd);
      packed.add(label);
    }
  }

  private void save(Step step) throws IOException {
    Fd from = state.orElseThrow();
    if (memory.isEmpty()) {
      memory = Optional.of(linux.memfd("device state of " + name(), 0));
    }
    if (saved.isEmpty()) {
      saved = Optional.of(vm.process().qmp().expectMigration("completed", "failed"));
    }
    stopping.send(step);
    receive(step, from, memory.get());
    String status = saved.get().await(step.remaining()).object("data").string("status");
    if (!status.equals("completed")) {
      throw new IOException(
          "QEMU could not save the device state"
              + vm.process().said().map(s -> ": " + s).orElse(""));
    }
    step.note("device-state.bytes", Long.toString(written));
    step.check(Operation.PRESERVE_DEVICE_STATE);
    put(StoreKey.DEVICE_STATE, memory.get());
  }

  /** Takes what QEMU writes, to its end. */
  private void receive(Step step, Fd from, Fd to) throws IOException {
    while (true) {
      if (pending == 0) {
        Duration left = step.remaining();
        if (!left.isPositive() || linux.poll(List.of(from), left).isEmpty()) {
          throw new IOException(
              "QEMU wrote " + written + " bytes of device state and then no more in time");
        }
        pending = linux.read(from, buffer);
      }
      if (pending == 0) {
        return;
      }
      // An earlier attempt may have written a part of it.
      linux.seek(to, written);
      linux.write(to, buffer.asSlice(0, pending));
      written += pending;
      pending = 0;
    }
  }

  @Override
  public void cancel(Step step) throws IOException {
    prepared = false;
    stopping.forget();
    saved.ifPresent(Qmp.Expectation::forget);
    saved = Optional.empty();
    state.ifPresent(Fd::close);
    memory.ifPresent(Fd::close);
    memory = Optional.empty();
    written = 0;
    pending = 0;
    packed.clear();
    try {
      step.check(Operation.UNPRESERVE);
      crossing.undo();
    } finally {
      // Nothing that only tidies up may keep the guest from running.
      stopping.letRun(step);
      vm.backends().stays(vm.generation());
    }
    stopping.correctClock(step);
  }
}
