package io.holdfast.kexec.manifest;

import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtException;
import io.holdfast.fdt.FdtNode;
import io.holdfast.fdt.FdtProperty;
import io.holdfast.fdt.FdtTree;
import io.holdfast.linux.InterfaceAddress;
import io.holdfast.store.BoxId;
import io.holdfast.store.VmId;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;

/**
 * What the next kernel's agent is told: which sessions there are, and what is in them. A flattened
 * device tree at the beginning of a memfd of its own, which is preserved in session {@link
 * #SESSION} under {@link #TOKEN}; the update's journal as text is behind it in the same memfd.
 *
 * <p>Unknown properties and nodes are ignored; another {@code compatible} is refused before
 * anything is taken.
 *
 * @param update the update's id
 * @param departed when this was written, just before the reboot call
 * @param boxes in the order in which they were begun
 * @param bridges that VMs are plugged into
 * @param journalAt where the journal begins in the memfd, in bytes
 * @param journalBytes its length
 */
public record Manifest(
    String update,
    Clock departed,
    List<CrossedBox> boxes,
    List<Bridge> bridges,
    long journalAt,
    long journalBytes) {
  /** The session that the manifest is in; all others are named in it. */
  public static final String SESSION = "holdfast";

  /** The manifest's token: "holdfast" in ASCII. */
  public static final long TOKEN = 0x686f_6c64_6661_7374L;

  /** The label of a VM's RAM. */
  private static final String RAM = "ram";

  private static final String COMPATIBLE = "holdfast-v2";

  /** Its boxes have no instances in their names; else the same. */
  private static final String BEFORE = "holdfast-v1";

  public Manifest {
    boxes = List.copyOf(boxes);
    bridges = List.copyOf(bridges);
  }

  /**
   * A box and the session that it became.
   *
   * @param session the session's name
   */
  public record CrossedBox(BoxId id, String session, List<CrossedEntry> entries) {
    public CrossedBox {
      entries = List.copyOf(entries);
    }

    /** The size of a VM's RAM, or of all entries of a plain box; empty if it is not known. */
    public OptionalLong memory() {
      boolean vm = id instanceof VmId;
      long bytes = 0;
      for (CrossedEntry entry : entries) {
        if (!vm || entry.label().equals(RAM)) {
          if (entry.bytes().isEmpty()) {
            return OptionalLong.empty();
          }
          bytes += entry.bytes().getAsLong();
        }
      }
      return bytes == 0 ? OptionalLong.empty() : OptionalLong.of(bytes);
    }
  }

  /**
   * An entry: a memfd.
   *
   * @param label in its box
   * @param token in its session
   * @param bytes its size; empty in a manifest of a version that did not write it
   */
  public record CrossedEntry(String label, long token, OptionalLong bytes) {
    /** One whose size is not known. */
    public CrossedEntry(String label, long token) {
      this(label, token, OptionalLong.empty());
    }
  }

  /** The tree as a blob. */
  public byte[] toBlob() {
    FdtTree tree = FdtTree.of(COMPATIBLE);
    FdtNode root = tree.root();
    FdtNode _ = root.set("update", update);
    FdtNode _ = root.set("journal-at", journalAt);
    FdtNode _ = root.set("journal-bytes", journalBytes);
    FdtNode clock = root.add("departed");
    FdtNode _ = clock.set("real-ns", departed.real());
    FdtNode _ = clock.set("monotonic-ns", departed.monotonic());
    FdtNode _ = clock.set("tsc", departed.counter());
    FdtNode _ = clock.set("tsc-hz", departed.hertz());
    FdtNode all = root.add("boxes");
    int number = 0;
    for (CrossedBox box : boxes) {
      FdtNode node = all.add("box@" + Integer.toHexString(++number));
      FdtNode _ = node.set("box", box.id().text());
      FdtNode _ = node.set("session", box.session());
      for (CrossedEntry entry : box.entries()) {
        FdtNode each = node.add("entry@" + Long.toHexString(entry.token()));
        FdtNode _ = each.set("label", entry.label());
        FdtNode _ = each.set("kind", "memfd");
        FdtNode _ = each.set("token", entry.token());
        entry.bytes().ifPresent(bytes -> each.set("bytes", bytes));
      }
    }
    FdtNode networks = root.add("bridges");
    number = 0;
    for (Bridge bridge : bridges) {
      FdtNode node = networks.add("bridge@" + Integer.toHexString(++number));
      FdtNode _ = node.set("name", bridge.name());
      FdtNode _ = node.set("mac", bridge.mac());
      FdtNode _ = node.set("mtu", bridge.mtu());
      bridge.addresses().stream()
          .map(address -> address + "\0")
          .reduce(String::concat)
          .ifPresent(list -> node.set("addresses", list.getBytes(StandardCharsets.UTF_8)));
      FdtNode settings = node.add("settings");
      bridge.settings().forEach(settings::set);
    }
    return tree.toBlob();
  }

  /**
   * Reads a manifest.
   *
   * @throws IOException if it is damaged, or of a format that this version does not know
   */
  public static Manifest of(MemorySegment memfd) throws IOException {
    try {
      FdtNode root = FdtBlob.of(memfd).tree().root();
      List<String> compatible = property(root, "compatible").strings();
      if (!compatible.contains(COMPATIBLE) && !compatible.contains(BEFORE)) {
        throw new IOException(
            "the manifest from the previous kernel is of format "
                + compatible
                + ", and this Holdfast knows "
                + BEFORE
                + " and "
                + COMPATIBLE
                + " only: start the version of Holdfast that wrote it. Nothing was taken");
      }
      FdtNode clock = child(root, "departed");
      List<CrossedBox> boxes = new ArrayList<>();
      for (FdtNode node : child(root, "boxes").children()) {
        List<CrossedEntry> entries = new ArrayList<>();
        for (FdtNode each : node.children()) {
          entries.add(
              new CrossedEntry(
                  property(each, "label").string(),
                  property(each, "token").u64(),
                  each.property("bytes")
                      .map(bytes -> OptionalLong.of(bytes.u64()))
                      .orElse(OptionalLong.empty())));
        }
        boxes.add(
            new CrossedBox(
                BoxId.of(property(node, "box").string()),
                property(node, "session").string(),
                entries));
      }
      return new Manifest(
          property(root, "update").string(),
          new Clock(
              property(clock, "real-ns").u64(),
              property(clock, "monotonic-ns").u64(),
              property(clock, "tsc").u64(),
              property(clock, "tsc-hz").u64()),
          boxes,
          bridges(root),
          property(root, "journal-at").u64(),
          property(root, "journal-bytes").u64());
    } catch (FdtException | IllegalStateException e) {
      throw new IOException(
          "the manifest from the previous kernel is damaged: "
              + e.getMessage()
              + ". What it describes is held and was not touched",
          e);
    }
  }

  /** None where the manifest is older than they are. */
  private static List<Bridge> bridges(FdtNode root) throws IOException {
    List<Bridge> bridges = new ArrayList<>();
    if (root.child("bridges").isEmpty()) {
      return bridges;
    }
    for (FdtNode node : child(root, "bridges").children()) {
      Map<String, String> settings = new HashMap<>();
      for (FdtProperty each : child(node, "settings").properties()) {
        settings.put(each.name(), each.string());
      }
      List<String> addresses =
          node.property("addresses").map(FdtProperty::strings).orElse(List.of());
      try {
        bridges.add(
            new Bridge(
                property(node, "name").string(),
                property(node, "mac").string(),
                property(node, "mtu").u32(),
                settings,
                addresses.stream().map(InterfaceAddress::of).toList()));
      } catch (IllegalArgumentException e) {
        throw new IOException("the manifest from the previous kernel is damaged: " + e, e);
      }
    }
    return bridges;
  }

  private static FdtProperty property(FdtNode node, String name) throws IOException {
    return node.property(name)
        .orElseThrow(
            () ->
                new IOException(
                    "the manifest from the previous kernel lacks "
                        + name
                        + " in node "
                        + node.name()));
  }

  private static FdtNode child(FdtNode node, String name) throws IOException {
    return node.child(name)
        .orElseThrow(
            () -> new IOException("the manifest from the previous kernel lacks node " + name));
  }
}
