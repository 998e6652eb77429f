package io.holdfast.kexec.arrive;

import io.holdfast.core.box.CrossingBox;
import io.holdfast.core.state.MemoryMachine;
import io.holdfast.core.state.MemoryOperation;
import io.holdfast.core.state.MemoryState;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.store.BoxId;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.StoreKey;
import io.holdfast.store.VmId;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * Unpacks boxes into the descriptor store and the run directory, each by itself: one that fails is
 * set aside.
 *
 * <p>Which ones are is in the file {@code ID.aside} beside the update's journal, a name a line. It
 * is written before the journal, so with a journal each box that is not named there is unpacked. A
 * box leaves the file when it is unpacked, and before its VM is recovered: an agent that dies in
 * between unpacks it once more, and nothing runs on it yet.
 */
final class Unpacking {
  private static final LateLogger LOG = new LateLogger(Unpacking.class);

  private final Linux linux;
  private final DescriptorStore store;
  private final ArrivedSessions sessions;
  private final Arrival.Places places;

  private String update = "";

  /** By {@link BoxId#named}. */
  private final Map<BoxId, Manifest.CrossedBox> boxes = new LinkedHashMap<>();

  /** The state of the memory of each box, by {@link BoxId#named}. */
  private final Map<BoxId, MemoryMachine> memory = new HashMap<>();

  /** The boxes that are set aside, and why. */
  private Map<BoxId, String> aside = Map.of();

  Unpacking(Linux linux, DescriptorStore store, ArrivedSessions sessions, Arrival.Places places) {
    this.linux = linux;
    this.store = store;
    this.sessions = sessions;
    this.places = places;
  }

  Linux linux() {
    return linux;
  }

  Arrival.Places places() {
    return places;
  }

  /** Unpacks all boxes. */
  synchronized void all(Manifest manifest) throws IOException {
    read(manifest);
    set(take(boxes.keySet()));
  }

  /** Unpacks the boxes that an earlier agent set aside. */
  synchronized void again(Manifest manifest) throws IOException {
    read(manifest);
    Set<BoxId> ids = new HashSet<>();
    if (Files.exists(file())) {
      Files.readAllLines(file()).forEach(line -> ids.add(BoxId.of(line)));
      ids.retainAll(boxes.keySet());
    }
    for (Map.Entry<BoxId, MemoryMachine> each : memory.entrySet()) {
      if (!ids.contains(each.getKey())) {
        each.getValue().enter(MemoryState.RESTORED);
      }
    }
    set(take(ids));
  }

  synchronized Set<BoxId> retry() throws IOException {
    Set<BoxId> back = new HashSet<>(aside.keySet());
    try {
      set(take(back));
    } finally {
      sessions.release();
    }
    back.removeAll(aside.keySet());
    return back;
  }

  synchronized Map<BoxId, String> aside() {
    return Map.copyOf(aside);
  }

  synchronized Optional<String> aside(BoxId box) {
    return Optional.ofNullable(aside.get(box.named()));
  }

  synchronized boolean giveUp(BoxId box) throws IOException {
    BoxId named = box.named();
    if (!aside.containsKey(named)) {
      return false;
    }
    // First: a record without its box would be taken for a VM, and a part of a box for the whole.
    if (named instanceof VmId vm) {
      try (DirectoryStream<Path> files = Files.newDirectoryStream(places.vm(vm.name()))) {
        for (Path file : files) {
          Files.delete(file);
        }
      }
    } else {
      Set<StoreKey> its = new HashSet<>(store.keys());
      its.removeIf(key -> !(key instanceof StoreKey.InServiceBox each && each.box().equals(named)));
      store.drop(its);
    }
    Map<BoxId, String> rest = new LinkedHashMap<>(aside);
    rest.remove(named);
    set(rest);
    memory.remove(named);
    if (named instanceof VmId vm) {
      Files.deleteIfExists(places.vm(vm.name()));
    }
    return true;
  }

  /**
   * Checks that no box is set aside.
   *
   * @throws IOException if one is, with its name and the reason
   */
  synchronized void checkNothingAside() throws IOException {
    for (Map.Entry<BoxId, String> each : aside.entrySet()) {
      throw new IOException(who(each.getKey()) + " is set aside: " + each.getValue());
    }
  }

  /** The kernel has dropped all sessions: what they preserved is ordinary memory. */
  synchronized void finished() {
    for (MemoryMachine each : memory.values()) {
      if (each.state() != MemoryState.RELEASED) {
        each.enter(MemoryState.RELEASED);
      }
    }
    try {
      sessions.settle();
    } catch (IOException e) {
      LOG.get().log(System.Logger.Level.DEBUG, "the next agent looks for sessions once more", e);
    }
  }

  private void read(Manifest manifest) {
    update = manifest.update();
    for (Manifest.CrossedBox box : manifest.boxes()) {
      boxes.put(box.id().named(), box);
      memory.put(box.id().named(), MemoryMachine.incoming());
    }
  }

  private Path file() {
    return places.updates().resolve(update + ".aside");
  }

  private void set(Map<BoxId, String> failed) throws IOException {
    for (BoxId id : failed.keySet()) {
      if (id instanceof VmId vm) {
        // It is unknown, not gone.
        Files.createDirectories(places.vm(vm.name()));
      }
    }
    if (failed.isEmpty()) {
      Files.deleteIfExists(file());
    } else {
      String text = failed.keySet().stream().map(BoxId::text).collect(Collectors.joining("\n"));
      WholeFile.write(file(), text.getBytes(StandardCharsets.UTF_8));
    }
    aside = failed;
  }

  /** Unpacks boxes; returns those that could not be, and why. */
  private Map<BoxId, String> take(Set<BoxId> ids) {
    Map<BoxId, String> failed = new LinkedHashMap<>();
    for (Map.Entry<BoxId, Manifest.CrossedBox> each : boxes.entrySet()) {
      BoxId id = each.getKey();
      Manifest.CrossedBox box = each.getValue();
      if (!ids.contains(id)) {
        continue;
      }
      try {
        take(box, Objects.requireNonNull(memory.get(id)));
      } catch (IOException | RuntimeException e) {
        String why =
            "it cannot be restored from the previous kernel: "
                + ArrivedSessions.sentence(e)
                + " Its session "
                + box.session()
                + " is preserved; `holdfast update retry` tries again"
                + (id instanceof VmId
                    ? ", and `holdfast vm stop " + id.name() + "` gives the VM up"
                    : ", and `holdfast box give-up " + id.name() + "` gives the box up");
        LOG.get().log(System.Logger.Level.ERROR, who(id) + ": " + why);
        LOG.get().log(System.Logger.Level.DEBUG, "where that failed", e);
        failed.put(id, why);
      }
    }
    return failed;
  }

  private static String who(BoxId box) {
    return (box instanceof VmId ? "VM " : "box ") + box.name();
  }

  /** All of it is retrieved before anything is unpacked, and a VM's record is written last. */
  private void take(Manifest.CrossedBox box, MemoryMachine state) throws IOException {
    Optional<IncomingSession> found = sessions.box(box.session());
    if (found.isEmpty()) {
      if (box.entries().isEmpty()) {
        restored(state);
        return;
      }
      throw new IOException("this kernel has no session " + box.session() + " (ENOENT)");
    }
    List<Fd> memfds = new ArrayList<>();
    try (IncomingSession session = found.get()) {
      for (Manifest.CrossedEntry entry : box.entries()) {
        state.check(MemoryOperation.RETRIEVE, box.id() + ", entry " + entry.label());
        memfds.add(retrieve(session, entry));
      }
      Optional<Fd> record = Optional.empty();
      for (int i = 0; i < memfds.size(); i++) {
        String label = box.entries().get(i).label();
        if (label.equals(CrossingBox.RECORD) && box.id() instanceof VmId) {
          record = Optional.of(memfds.get(i));
        } else {
          store.put(box.id().key(label), memfds.get(i));
        }
      }
      if (record.isPresent()) {
        Path directory = places.vm(box.id().name());
        Files.createDirectories(directory);
        WholeFile.write(directory.resolve("vm.json"), bytes(record.get()));
      }
      restored(state);
    } finally {
      memfds.forEach(Fd::close);
    }
  }

  private static void restored(MemoryMachine state) {
    if (state.state() != MemoryState.RESTORED) {
      state.enter(MemoryState.RESTORED);
    }
  }

  private static Fd retrieve(IncomingSession session, Manifest.CrossedEntry entry)
      throws IOException {
    try {
      return session.retrieve(entry.token());
    } catch (SystemCallException e) {
      throw new IOException("entry " + entry.label() + ": " + e.getMessage(), e);
    }
  }

  private byte[] bytes(Fd memfd) {
    try (Mapping mapping = linux.map(memfd, 0, linux.size(memfd), Protection.READ)) {
      return mapping.segment().toArray(java.lang.foreign.ValueLayout.JAVA_BYTE);
    }
  }
}
