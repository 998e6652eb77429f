package io.holdfast.vm.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * The rings of a virtio device: how many entries the device offers for each of its queues. A
 * version of QEMU may offer others than its own properties say (Debian 13's 10.0.13 has 1024 for
 * virtio-blk where {@code queue-size} reads 256), and a device state with longer rings is refused
 * by some targets and loaded without a word by others, which then work on half a ring.
 *
 * @param type such as {@code virtio-blk}
 * @param entries of each queue, in order; of a network card's pairs that are alike, only of one
 */
public record VirtioRings(String type, List<Integer> entries) {
  /** More queues than any device has (VIRTIO_QUEUE_MAX): where the count ends at the latest. */
  private static final int MOST = 1024;

  /** Queues of a SCSI controller besides those for requests: for control and for events. */
  private static final int SCSI_OTHERS = 2;

  public VirtioRings {
    entries = List.copyOf(entries);
  }

  /**
   * Asks for the rings of all virtio devices by {@code x-query-virtio-queue-status}. The guest's
   * part, what it has made of a ring, is not asked for. Never asked is {@code
   * x-query-virtio-status}, which would tell the features as well: it ends QEMU 11.1.3 by a failed
   * assertion.
   *
   * @return by the device's path in QOM; empty if this QEMU does not know the command
   */
  static SortedMap<String, VirtioRings> of(Qmp qmp) throws QmpException {
    SortedMap<String, VirtioRings> all = new TreeMap<>();
    List<JsonObject> devices;
    try {
      devices = qmp.execute("x-query-virtio").array("return").objects();
    } catch (QmpException e) {
      // QEMU 10 and later call it an error that there is none.
      boolean none = String.valueOf(e.getMessage()).contains("No virtio devices found");
      if (none || e.errorClass().equals("CommandNotFound")) {
        return all;
      }
      throw e;
    }
    for (JsonObject device : devices) {
      String path = device.string("path");
      List<Integer> entries = new ArrayList<>();
      Optional<Integer> next = entries(qmp, path, 0);
      while (next.isPresent()) {
        entries.add(next.get());
        next = entries.size() < MOST ? entries(qmp, path, entries.size()) : Optional.empty();
      }
      all.put(path, shown(device.string("name"), entries));
    }
    return all;
  }

  /**
   * The rings that a device shows. A network card has one pair of queues until its driver accepts
   * more, so the number of pairs is the guest's state: of several that are alike, one is left.
   */
  static VirtioRings shown(String type, List<Integer> entries) {
    VirtioRings all = new VirtioRings(type, entries);
    int paired = entries.size() - entries.size() % 2;
    if (!type.equals("virtio-net") || paired <= 2 || !all.pairs()) {
      return all;
    }
    List<Integer> one = new ArrayList<>(entries.subList(0, 2));
    one.addAll(entries.subList(paired, entries.size()));
    return new VirtioRings(type, one);
  }

  /** Of one queue; empty behind the last. */
  private static Optional<Integer> entries(Qmp qmp, String path, int queue) throws QmpException {
    try {
      return Optional.of(
          Math.toIntExact(
              qmp.execute(
                      "x-query-virtio-queue-status", JsonObject.of("path", path, "queue", queue))
                  .object("return")
                  .number("vring-num-default")));
    } catch (QmpException e) {
      if (e.errorClass().equals("GenericError")) {
        return Optional.empty();
      }
      throw e;
    }
  }

  /**
   * The properties by which a device with other rings gets these.
   *
   * @return in a fixed order; empty if no property of this type does it
   */
  Map<String, Integer> properties(VirtioRings other) {
    if (!type.equals(other.type) || entries.isEmpty() || other.entries.isEmpty()) {
      return Map.of();
    }
    Map<String, Integer> wanted = new LinkedHashMap<>();
    int queues = entries.size();
    boolean sameCount = queues == other.entries.size();
    switch (type) {
      case "virtio-blk" -> {
        if (uniform(entries)) {
          wanted.put("queue-size", entries.getFirst());
        }
        if (!sameCount) {
          wanted.put("num-queues", queues);
        }
      }
      case "virtio-scsi" -> {
        if (uniform(entries)) {
          wanted.put("virtqueue_size", entries.getFirst());
        }
        if (!sameCount) {
          wanted.put("num_queues", queues - SCSI_OTHERS);
        }
      }
      case "virtio-net" -> {
        // Receive and transmit in turns; the number of pairs is the back end's.
        if (sameCount && queues > 1 && pairs()) {
          wanted.put("rx_queue_size", entries.get(0));
          wanted.put("tx_queue_size", entries.get(1));
        }
      }
      default -> {}
    }
    return wanted;
  }

  private static boolean uniform(List<Integer> entries) {
    return entries.stream().distinct().count() == 1;
  }

  /** Whether all pairs are as the first; the last ring of an odd number is the control queue. */
  private boolean pairs() {
    for (int i = 2; i < entries.size() - entries.size() % 2; i++) {
      if (!entries.get(i).equals(entries.get(i % 2))) {
        return false;
      }
    }
    return true;
  }

  /** The sizes, those that follow one another and are the same counted: {@code 2 × 256, 64}. */
  @Override
  public String toString() {
    if (entries.isEmpty()) {
      return "none";
    }
    List<String> runs = new ArrayList<>();
    int from = 0;
    for (int i = 1; i <= entries.size(); i++) {
      if (i == entries.size() || !entries.get(i).equals(entries.get(from))) {
        runs.add((i - from > 1 ? (i - from) + " × " : "") + entries.get(from));
        from = i;
      }
    }
    return String.join(", ", runs);
  }
}
