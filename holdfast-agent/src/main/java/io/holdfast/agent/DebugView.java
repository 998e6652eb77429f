package io.holdfast.agent;

import io.holdfast.core.box.CrossingBox;
import io.holdfast.kexec.depart.Preview;
import io.holdfast.linux.Fd;
import io.holdfast.linux.FileSystem;
import io.holdfast.linux.Linux;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.store.BoxId;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.ServiceBox;
import io.holdfast.store.VmId;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.Vm;
import io.holdfast.vm.update.VmDeparture;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.TreeMap;

/** What interface io.holdfast.Debug tells. Nothing is changed by looking. */
record DebugView(Linux linux, DescriptorStore store, Vms vms, Boxes boxes, Updates updates) {
  /** The update in a manifest while no update of the kernel is under way. */
  private static final String NO_UPDATE = "none";

  /** What would be preserved now, in the order of {@code KernelUpdates}: VMs, then boxes. */
  private Preview preview() {
    Preview.Builder preview = new Preview.Builder();
    for (Vm vm : vms.all()) {
      preview.box(vm.id(), VmDeparture.labels(vm));
    }
    Map<ServiceBox, Map<String, Fd>> plain = boxes.memfds();
    try {
      plain.forEach((id, entries) -> preview.box(id, List.copyOf(entries.keySet())));
    } finally {
      plain.values().forEach(box -> box.values().forEach(Fd::close));
    }
    return preview.build();
  }

  /** The manifest of an update of the kernel that began now. */
  byte[] manifest() {
    return preview().manifest(linux, updates.kernelUnderWay().orElse(NO_UPDATE), vms.bridges());
  }

  /** All that is held, as {@code Box}es. */
  List<JsonObject> held() {
    Map<String, Map<String, Fd>> all = new TreeMap<>();
    store
        .all(_ -> true)
        .forEach(
            (key, fd) ->
                all.computeIfAbsent(key.group(), _ -> new TreeMap<>()).put(key.label(), fd));
    try {
      List<JsonObject> told = new ArrayList<>();
      for (Preview.Box box : preview().boxes()) {
        Map<String, Fd> entries = all.getOrDefault(box.id().text(), Map.of());
        told.add(
            JsonObject.of(
                "name",
                box.id().named().text(),
                "session",
                Optional.of(box.session()),
                "entries",
                entries(box.id(), box.labels(), entries)));
        entries.values().forEach(Fd::close);
        all.remove(box.id().text());
      }
      all.forEach(
          (name, entries) ->
              told.add(
                  JsonObject.of(
                      "name",
                      name,
                      "session",
                      Optional.empty(),
                      "entries",
                      entries(BoxId.of(name), List.of(), entries))));
      return told;
    } finally {
      all.values().forEach(box -> box.values().forEach(Fd::close));
    }
  }

  /** The entries that would be preserved, in their order, then those that are only held. */
  private List<JsonObject> entries(BoxId box, List<String> labels, Map<String, Fd> held) {
    List<JsonObject> entries = new ArrayList<>();
    for (int i = 0; i < labels.size(); i++) {
      String label = labels.get(i);
      Fd fd = held.get(label);
      if (fd != null) {
        entries.add(entry(label, fd, OptionalLong.of(i + 1L)));
      } else if (label.equals(CrossingBox.RECORD) && box instanceof VmId) {
        entries.add(record(box.name(), label, i + 1L));
      }
    }
    held.forEach(
        (label, fd) -> {
          if (!labels.contains(label)) {
            entries.add(entry(label, fd, OptionalLong.empty()));
          }
        });
    return entries;
  }

  private JsonObject record(String vm, String label, long token) {
    long bytes =
        vms.find(vm)
            .map(each -> each.recordFor(ProcessIdentity.NOBODY))
            .map(text -> text.getBytes(StandardCharsets.UTF_8).length)
            .orElse(0);
    return JsonObject.of("label", label, "kind", "text", "bytes", bytes, "token", token);
  }

  private JsonObject entry(String label, Fd fd, OptionalLong token) {
    String kind = kind(fd);
    boolean memfd = kind.startsWith("memfd");
    boolean sized = memfd || kind.equals("file");
    return JsonObject.of(
        "label",
        label,
        "kind",
        kind,
        "bytes",
        sized ? Optional.of(linux.size(fd)) : Optional.empty(),
        "present",
        memfd ? Optional.of(present(fd)) : Optional.empty(),
        "token",
        token.isPresent() ? Optional.of(token.getAsLong()) : Optional.empty());
  }

  private String kind(Fd fd) {
    FileSystem on = linux.fileSystem(fd);
    if (on == FileSystem.HUGETLBFS) {
      return "memfd of huge pages";
    }
    if (on == FileSystem.TMPFS && linux.links(fd) == 0) {
      return "memfd";
    }
    try {
      String target = Files.readSymbolicLink(Path.of("/proc/self/fd/" + fd.number())).toString();
      if (target.startsWith("/")) {
        return "file";
      }
      return target.replaceFirst("^anon_inode:", "").replaceFirst(":?\\[\\d+]$", "");
    } catch (IOException e) {
      return "unknown";
    }
  }

  /** How much of a memfd is there. Opened anew: the position of what is held is everybody's. */
  private long present(Fd held) {
    try (Fd fd = linux.open(Path.of("/proc/self/fd/" + held.number()))) {
      long end = linux.size(fd);
      long present = 0;
      long at = 0;
      while (at < end) {
        OptionalLong data = linux.nextData(fd, at);
        if (data.isEmpty()) {
          break;
        }
        at = linux.nextHole(fd, data.getAsLong());
        present += at - data.getAsLong();
      }
      return present;
    }
  }
}
