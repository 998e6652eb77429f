package io.holdfast.agent;

import io.holdfast.core.box.Names;
import io.holdfast.kexec.arrive.Arrival;
import io.holdfast.linux.Fd;
import io.holdfast.linux.FileSystem;
import io.holdfast.linux.Linux;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.ServiceBox;
import io.holdfast.store.StoreKey;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;

/**
 * Boxes of services: labelled memfds that outlive whoever put them in, the agent, and the kernel.
 * All that there is of them is in the descriptor store, under {@link StoreKey.InServiceBox}.
 */
final class Boxes {
  private final Linux linux;
  private final DescriptorStore store;
  private final Optional<Arrival> arrival;

  /** Why nothing may be put in or removed, if so. */
  private Optional<String> closed = Optional.empty();

  /**
   * @param arrival what came from the previous kernel, if something did
   */
  Boxes(Linux linux, DescriptorStore store, Optional<Arrival> arrival) {
    this.linux = linux;
    this.store = store;
    this.arrival = arrival;
  }

  /** Nothing is put in or removed until {@link #open}: it would not be part of what is going on. */
  synchronized void close(String why) {
    closed = Optional.of(why);
  }

  /** Boxes can be changed again. */
  synchronized void open() {
    closed = Optional.empty();
  }

  private void checkOpen(String box) {
    if (closed.isPresent()) {
      throw notPossible(
          "box "
              + box
              + " can't be changed now: "
              + closed.get()
              + " is under way; wait for its end");
    }
  }

  /** What is in a box that could not be unpacked is unknown, not absent. */
  private void checkUnpacked(String box) {
    Optional<String> aside = arrival.flatMap(each -> each.aside(new ServiceBox(box)));
    if (aside.isPresent()) {
      throw notPossible("box " + box + " is unknown: " + aside.get());
    }
  }

  private static VarlinkError notPossible(String message) {
    return new VarlinkError("io.holdfast.Box.NotPossible", JsonObject.of("message", message));
  }

  private static StoreKey key(String box, String label) {
    check("box", box);
    check("label", label);
    return new ServiceBox(box).key(label);
  }

  private static void check(String what, String name) {
    if (!Names.valid(name)) {
      throw notPossible("not a valid " + what + ": \"" + name + "\"; it is " + Names.RULE);
    }
  }

  /**
   * Puts a memfd in, in place of what has the label; it is kept when this returns.
   *
   * @param fd borrowed
   */
  synchronized void put(String box, String label, Fd fd) {
    StoreKey key = key(box, label);
    checkOpen(box);
    checkUnpacked(box);
    if (linux.fileSystem(fd) != FileSystem.TMPFS || linux.links(fd) != 0) {
      throw notPossible(
          "entry "
              + label
              + " of box "
              + box
              + " is no memfd of ordinary pages, and a box takes nothing else yet: Linux can't carry it"
              + " over a kexec");
    }
    store.put(key, fd);
  }

  /** What has a label; the caller's to close. */
  Fd get(String box, String label) {
    StoreKey key = key(box, label);
    checkUnpacked(box);
    return store.find(key).orElseThrow(() -> noSuchEntry(box, label));
  }

  /** Takes an entry out for good. */
  synchronized void remove(String box, String label) {
    get(box, label).close();
    checkOpen(box);
    store.drop(Set.of(key(box, label)));
  }

  /**
   * Gives up a box that the previous kernel left and that could not be unpacked: it is discarded
   * when the update ends.
   */
  synchronized void giveUp(String box) {
    check("box", box);
    checkOpen(box);
    try {
      if (arrival.isEmpty() || !arrival.get().giveUp(new ServiceBox(box))) {
        throw notPossible(
            "box "
                + box
                + " is not unknown, so there is nothing to give up; `holdfast box remove` takes an entry"
                + " out of it");
      }
    } catch (IOException e) {
      throw notPossible("box " + box + " cannot be given up: " + e.getMessage());
    }
  }

  private static VarlinkError noSuchEntry(String box, String label) {
    return new VarlinkError(
        "io.holdfast.Box.NoSuchEntry",
        JsonObject.of(
            "box",
            box,
            "label",
            label,
            "message",
            "box " + box + " has no entry " + label + "; `holdfast box list` shows what there is"));
  }

  /**
   * All boxes with their entries' sizes in bytes, as interface io.holdfast.Box lists them; those
   * that could not be unpacked with the reason.
   */
  List<JsonObject> list() {
    Map<String, JsonObject> boxes = new TreeMap<>();
    Map<ServiceBox, Map<String, Fd>> all = memfds();
    try {
      all.forEach(
          (id, entries) -> {
            List<JsonObject> each = new ArrayList<>();
            entries.forEach(
                (label, fd) ->
                    each.add(
                        JsonObject.of("label", label, "kind", "memfd", "bytes", linux.size(fd))));
            boxes.put(id.name(), box(id, each, Optional.empty()));
          });
    } finally {
      all.values().forEach(box -> box.values().forEach(Fd::close));
    }
    arrival
        .map(Arrival::aside)
        .orElse(Map.of())
        .forEach(
            (id, why) -> {
              if (id instanceof ServiceBox box) {
                boxes.put(box.name(), box(box, List.of(), Optional.of(why)));
              }
            });
    return List.copyOf(boxes.values());
  }

  private static JsonObject box(ServiceBox id, List<JsonObject> entries, Optional<String> unknown) {
    return JsonObject.of("name", id.name(), "entries", entries, "unknown", unknown);
  }

  /** Returns all entries by box and label; the caller's to close. */
  Map<ServiceBox, Map<String, Fd>> memfds() {
    Map<ServiceBox, Map<String, Fd>> boxes = new HashMap<>();
    store
        .all(StoreKey.InServiceBox.class::isInstance)
        .forEach(
            (key, fd) -> {
              if (key instanceof StoreKey.InServiceBox entry) {
                boxes.computeIfAbsent(entry.box(), _ -> new TreeMap<>()).put(entry.label(), fd);
              }
            });
    return boxes;
  }
}
