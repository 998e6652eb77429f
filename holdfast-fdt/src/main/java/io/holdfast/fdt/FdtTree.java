package io.holdfast.fdt;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A device tree in memory.
 *
 * <pre>{@code
 * FdtTree tree = FdtTree.of("holdfast-v1");
 * tree.root().add("boxes").set("count", 2);
 * byte[] blob = tree.toBlob();
 * }</pre>
 *
 * @param bootProcessor the number of the processor that boots; nothing in a handover depends on it
 * @param reservations the memory reservation block
 * @param root the root, whose name is empty
 */
public record FdtTree(int bootProcessor, List<FdtReservation> reservations, FdtNode root) {
  /** Copies the list; the root stays what it is, and can be changed. */
  public FdtTree {
    reservations = List.copyOf(reservations);
    if (!root.name().isEmpty()) {
      throw new FdtException("the root has a name: " + root.name());
    }
  }

  /** A tree of which only the root is there, with its property {@code compatible}. */
  public static FdtTree of(String compatible) {
    FdtNode root = new FdtNode("");
    var _ = root.set("compatible", compatible);
    return new FdtTree(0, List.of(), root);
  }

  /**
   * The tree as a blob of version 17: header, memory reservations, structure, strings, each as
   * small as it can be.
   *
   * @throws FdtException if it would take more than 2 GiB, is more than {@value FdtBlob#MAX_DEPTH}
   *     nodes deep, or reserves nothing at address 0, which ends a blob's reservations
   */
  public byte[] toBlob() {
    Map<String, Integer> names = new LinkedHashMap<>();
    ByteArrayOutputStream strings = new ByteArrayOutputStream();
    Words structure = new Words();
    write(root, 1, structure, names, strings);
    structure.word(FdtBlob.END);
    long reserved = 16L * (reservations.size() + 1);
    long at = FdtBlob.HEADER + reserved;
    long size = at + structure.size() + strings.size();
    if (size > Integer.MAX_VALUE) {
      throw new FdtException("a blob of " + size + " bytes is too large");
    }
    ByteBuffer blob = ByteBuffer.allocate((int) size);
    blob.putInt(FdtBlob.MAGIC).putInt((int) size).putInt((int) at);
    blob.putInt((int) at + structure.size()).putInt(FdtBlob.HEADER);
    blob.putInt(FdtBlob.VERSION).putInt(FdtBlob.COMPATIBLE).putInt(bootProcessor);
    blob.putInt(strings.size()).putInt(structure.size());
    for (FdtReservation each : reservations) {
      if (each.address() == 0 && each.size() == 0) {
        throw new FdtException("a memory reservation of nothing at 0 would end the block");
      }
      blob.putLong(each.address()).putLong(each.size());
    }
    blob.putLong(0).putLong(0);
    blob.put(structure.toByteArray()).put(strings.toByteArray());
    return blob.array();
  }

  private static void write(
      FdtNode node,
      int depth,
      Words structure,
      Map<String, Integer> names,
      ByteArrayOutputStream strings) {
    if (depth > FdtBlob.MAX_DEPTH) {
      throw new FdtException("nodes are more than " + FdtBlob.MAX_DEPTH + " deep");
    }
    structure.word(FdtBlob.BEGIN_NODE);
    structure.padded((node.name() + "\0").getBytes(StandardCharsets.US_ASCII));
    for (FdtProperty each : node.properties()) {
      Integer name = names.get(each.name());
      if (name == null) {
        name = strings.size();
        var _ = names.put(each.name(), name);
        strings.writeBytes((each.name() + "\0").getBytes(StandardCharsets.US_ASCII));
      }
      structure.word(FdtBlob.PROPERTY);
      structure.word(each.size());
      structure.word(name);
      structure.padded(each.bytes());
    }
    node.children().forEach(each -> write(each, depth + 1, structure, names, strings));
    structure.word(FdtBlob.END_NODE);
  }

  /** Big-endian words. */
  private static final class Words extends ByteArrayOutputStream {
    void word(int value) {
      writeBytes(ByteBuffer.allocate(4).putInt(value).array());
    }

    void padded(byte[] bytes) {
      writeBytes(bytes);
      writeBytes(new byte[-bytes.length & 3]);
    }
  }
}
