package io.holdfast.kexec.arrive;

import io.holdfast.core.box.CrossingBox;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.store.Keeper;
import io.holdfast.store.VmId;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;

/**
 * Unpacks boxes into the keeper and the run directory, each by itself: one that fails is set aside.
 *
 * <p>Which ones are is in the file {@code ID.aside} beside the update's journal, a name a line. It
 * is written before the journal, so with a journal each box that is not named there is unpacked. A
 * box leaves the file when it is unpacked, and before its VM is recovered: an agent that dies in
 * between unpacks it once more, and nothing runs on it yet.
 */
final class Unpacking {
  /** What the names of VMs' boxes do not begin with. */
  private static final String NO_VM = "@";

  private static final LateLogger LOG = new LateLogger(Unpacking.class);

  private final Linux linux;
  private final Keeper keeper;
  private final ArrivedSessions sessions;
  private final Arrival.Places places;

  private String update = "";

  /** By the VM's name, or the plain box's. */
  private final Map<String, Manifest.CrossedBox> boxes = new LinkedHashMap<>();

  /** The boxes that are set aside, and why. */
  private Map<String, String> aside = Map.of();

  Unpacking(Linux linux, Keeper keeper, ArrivedSessions sessions, Arrival.Places places) {
    this.linux = linux;
    this.keeper = keeper;
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
    Set<String> names = new HashSet<>();
    if (Files.exists(file())) {
      names.addAll(Files.readAllLines(file()));
      names.retainAll(boxes.keySet());
    }
    set(take(names));
  }

  synchronized Set<String> retry() throws IOException {
    Set<String> back = new HashSet<>(aside.keySet());
    try {
      set(take(back));
    } finally {
      sessions.release();
    }
    back.removeAll(aside.keySet());
    return back;
  }

  synchronized Map<String, String> aside() {
    return Map.copyOf(aside);
  }

  synchronized Optional<String> aside(String box) {
    return Optional.ofNullable(aside.get(box));
  }

  synchronized boolean giveUp(String box) throws IOException {
    if (!aside.containsKey(box)) {
      return false;
    }
    boolean vm = !box.startsWith(NO_VM);
    // First: a record without its box would be taken for a VM, and a part of a box for the whole.
    if (vm) {
      try (DirectoryStream<Path> files = Files.newDirectoryStream(places.vm(box))) {
        for (Path file : files) {
          Files.delete(file);
        }
      }
    } else {
      keeper.drop(keeper.labels(box + "/"));
    }
    Map<String, String> rest = new TreeMap<>(aside);
    rest.remove(box);
    set(rest);
    if (vm) {
      Files.deleteIfExists(places.vm(box));
    }
    return true;
  }

  /**
   * Checks that no box is set aside.
   *
   * @throws IOException if one is, with its name and the reason
   */
  synchronized void checkNothingAside() throws IOException {
    for (Map.Entry<String, String> each : aside.entrySet()) {
      throw new IOException(who(each.getKey()) + " is set aside: " + each.getValue());
    }
  }

  /** The kernel has dropped all sessions. */
  void finished() {
    try {
      sessions.settle();
    } catch (IOException e) {
      LOG.get().log(System.Logger.Level.DEBUG, "the next agent looks for sessions once more", e);
    }
  }

  private void read(Manifest manifest) {
    update = manifest.update();
    for (Manifest.CrossedBox box : manifest.boxes()) {
      boxes.put(VmId.ofKeys(box.name()).name(), box);
    }
  }

  private Path file() {
    return places.updates().resolve(update + ".aside");
  }

  private void set(Map<String, String> failed) throws IOException {
    for (String name : failed.keySet()) {
      if (!name.startsWith(NO_VM)) {
        // It is unknown, not gone.
        Files.createDirectories(places.vm(name));
      }
    }
    if (failed.isEmpty()) {
      Files.deleteIfExists(file());
    } else {
      WholeFile.write(file(), String.join("\n", failed.keySet()).getBytes(StandardCharsets.UTF_8));
    }
    aside = failed;
  }

  /** Unpacks boxes; returns those that could not be, and why. */
  private Map<String, String> take(Set<String> names) {
    Map<String, String> failed = new TreeMap<>();
    for (Map.Entry<String, Manifest.CrossedBox> each : boxes.entrySet()) {
      String name = each.getKey();
      Manifest.CrossedBox box = each.getValue();
      if (!names.contains(name)) {
        continue;
      }
      try {
        take(name, box);
      } catch (IOException | RuntimeException e) {
        String why =
            "it cannot be restored from the previous kernel: "
                + ArrivedSessions.sentence(e)
                + " Its session "
                + box.session()
                + " is preserved; `holdfast update retry` tries again"
                + (name.startsWith(NO_VM)
                    ? ", and `holdfast box give-up " + plain(name) + "` gives the box up"
                    : ", and `holdfast vm stop " + name + "` gives the VM up");
        LOG.get().log(System.Logger.Level.ERROR, who(name) + ": " + why);
        LOG.get().log(System.Logger.Level.DEBUG, "where that failed", e);
        failed.put(name, why);
      }
    }
    return failed;
  }

  private static String who(String box) {
    return box.startsWith(NO_VM) ? "box " + plain(box) : "VM " + box;
  }

  private static String plain(String box) {
    return box.substring(box.indexOf('/') + 1);
  }

  /** All of it is retrieved before anything is unpacked, and a VM's record is written last. */
  private void take(String name, Manifest.CrossedBox box) throws IOException {
    Optional<IncomingSession> found = sessions.box(box.session());
    if (found.isEmpty()) {
      if (box.entries().isEmpty()) {
        return;
      }
      throw new IOException("this kernel has no session " + box.session() + " (ENOENT)");
    }
    List<Fd> memfds = new ArrayList<>();
    try (IncomingSession session = found.get()) {
      for (Manifest.CrossedEntry entry : box.entries()) {
        memfds.add(retrieve(session, entry));
      }
      Optional<Fd> record = Optional.empty();
      for (int i = 0; i < memfds.size(); i++) {
        String label = box.entries().get(i).label();
        if (label.equals(CrossingBox.RECORD)) {
          record = Optional.of(memfds.get(i));
        } else {
          keeper.keep(box.name() + "/" + label, memfds.get(i));
        }
      }
      if (record.isPresent()) {
        Path directory = places.vm(name);
        Files.createDirectories(directory);
        WholeFile.write(directory.resolve("vm.json"), bytes(record.get()));
      }
    } finally {
      memfds.forEach(Fd::close);
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
