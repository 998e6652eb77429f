package io.holdfast.kho;

import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtException;
import io.holdfast.fdt.FdtProperty;
import io.holdfast.fdt.FdtTree;
import io.holdfast.kho.memory.MemoryException;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.kho.memory.PhysicalMemory;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.stream.Stream;

/**
 * What the kernel of this machine shows of Kexec HandOver in debugfs
 * (CONFIG_KEXEC_HANDOVER_DEBUGFS, kernel/liveupdate/kexec_handover_debugfs.c).
 *
 * <p>That is less than there is. Whoever reads this is told what can't be known, and nothing is
 * guessed.
 *
 * @param scratch the scratch areas
 * @param outgoing the state tree for the next kernel, if all of it is shown
 * @param map where its preserved-memory map begins, if that is shown
 * @param outgoingBlobs the sub-trees for the next kernel
 * @param incoming the state tree of the kernel before, if this one was booted by a handover
 * @param incomingBlobs its sub-trees
 * @param notKnown what can't be known, and why; a sentence each
 */
public record LiveHost(
    List<MemoryRange> scratch,
    Optional<FdtTree> outgoing,
    OptionalLong map,
    List<Blob> outgoingBlobs,
    Optional<FdtTree> incoming,
    List<Blob> incomingBlobs,
    List<String> notKnown) {
  /** Where debugfs is mounted on every distribution. */
  public static final Path DEBUGFS = Path.of("/sys/kernel/debug");

  /** No state tree that debugfs shows is larger: the kernel gives it one page. */
  private static final int LARGEST = 1 << 20;

  /** Copies the lists. */
  public LiveHost {
    scratch = List.copyOf(scratch);
    outgoingBlobs = List.copyOf(outgoingBlobs);
    incomingBlobs = List.copyOf(incomingBlobs);
    notKnown = List.copyOf(notKnown);
  }

  /**
   * A sub-tree.
   *
   * @param name its name
   * @param size in bytes
   */
  public record Blob(String name, long size) {}

  /**
   * Reads it.
   *
   * @param debugfs where debugfs is mounted, {@link #DEBUGFS}
   * @throws MemoryException if there is nothing of it: no right to see it, no debugfs, no Kexec
   *     HandOver
   */
  public static LiveHost read(Path debugfs) {
    Path folder = debugfs.resolve("kho");
    try {
      if (!Files.isReadable(debugfs) || !Files.isExecutable(debugfs)) {
        throw new MemoryException(
            debugfs + " can't be read: only root may, and debugfs must be mounted there");
      }
      if (!Files.isDirectory(folder.resolve("out"))) {
        throw new MemoryException(
            "there is no %s: this kernel has no Kexec HandOver, or it is not switched on (kho=on), or debugfs is not mounted, or the kernel was built without CONFIG_KEXEC_HANDOVER_DEBUGFS"
                .formatted(folder.resolve("out")));
      }
      return read(folder.resolve("out"), folder.resolve("in"));
    } catch (AccessDeniedException e) {
      throw new MemoryException(e.getFile() + " can't be read: only root may", e);
    } catch (IOException e) {
      throw new MemoryException("reading %s: %s".formatted(folder, e.getMessage()), e);
    }
  }

  private static LiveHost read(Path out, Path in) throws IOException {
    List<String> notKnown = new ArrayList<>();
    Optional<byte[]> bytes = bytes(out.resolve("fdt"));
    Optional<FdtTree> outgoing = bytes.flatMap(LiveHost::tree);
    OptionalLong map =
        outgoing.isPresent()
            ? map(outgoing.get())
            : bytes.map(LiveHost::mapOfBeginning).orElse(OptionalLong.empty());
    if (bytes.isEmpty()) {
      notKnown.add(
          "The outgoing state tree: a kernel that was itself booted by a handover does not show it.");
    } else if (outgoing.isEmpty()) {
      notKnown.add(
          "All of the outgoing state tree: the kernel shows as much of it as it was long when it was made, "
              + bytes.get().length
              + " bytes, and it has grown.");
    }
    notKnown.add(
        "Outgoing sessions and their files: the kernel writes them in the reboot call, not before.");
    Optional<FdtTree> incoming = bytes(in.resolve("fdt")).flatMap(LiveHost::tree);
    List<Blob> incomingBlobs = blobs(in.resolve("sub_fdts"));
    if (incoming.isPresent()) {
      notKnown.add(
          "What was in the incoming sub-tree LUO, and which sessions came: the kernel has freed that memory, and what is shown there now is something else.");
    }
    return new LiveHost(
        scratch(out),
        outgoing,
        map,
        blobs(out.resolve("sub_fdts")),
        incoming,
        incomingBlobs,
        notKnown);
  }

  private static Optional<byte[]> bytes(Path file) throws IOException {
    return Files.exists(file) ? Optional.of(Files.readAllBytes(file)) : Optional.empty();
  }

  private static Optional<FdtTree> tree(byte[] bytes) {
    try {
      return bytes.length > LARGEST
          ? Optional.empty()
          : Optional.of(FdtBlob.of(MemorySegment.ofArray(bytes)).tree());
    } catch (FdtException e) {
      return Optional.empty();
    }
  }

  private static OptionalLong map(FdtTree tree) {
    Optional<Long> map =
        tree.root()
            .property(StateTree.MAP)
            .map(FdtProperty::bytes)
            .filter(each -> each.length == 8)
            .map(each -> ByteBuffer.wrap(each).order(ByteOrder.LITTLE_ENDIAN).getLong());
    return map.map(OptionalLong::of).orElse(OptionalLong.empty());
  }

  /**
   * The map's address in a tree that is cut off behind its first properties. Their names are not
   * there, but the kernel always writes the version first and the address second
   * (kho_out_fdt_setup()); whoever uses it makes sure that it is one.
   */
  private static OptionalLong mapOfBeginning(byte[] bytes) {
    ByteBuffer blob = ByteBuffer.wrap(bytes);
    if (bytes.length < 40 || blob.getInt(0) != 0xd00dfeed) {
      return OptionalLong.empty();
    }
    // FDT_BEGIN_NODE and an empty name; FDT_PROP, length, name, value; and again.
    int at = blob.getInt(8);
    if (at < 40 || at > bytes.length - 20 || blob.getInt(at) != 1 || blob.getInt(at + 8) != 3) {
      return OptionalLong.empty();
    }
    int length = blob.getInt(at + 12);
    int second = at + 20 + ((length + 3) & -4);
    if (length < 1 || length > 64 || second > bytes.length - 20) {
      return OptionalLong.empty();
    }
    String version = new String(bytes, at + 20, length, StandardCharsets.ISO_8859_1);
    return version.startsWith("kho-v") && blob.getInt(second) == 3 && blob.getInt(second + 4) == 8
        ? OptionalLong.of(Long.reverseBytes(blob.getLong(second + 12)))
        : OptionalLong.empty();
  }

  private static List<Blob> blobs(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    List<Blob> blobs = new ArrayList<>();
    try (Stream<Path> files = Files.list(folder)) {
      for (Path each : files.sorted().toList()) {
        // debugfs says that each of its files is empty; reading it tells.
        try (InputStream in = Files.newInputStream(each)) {
          blobs.add(
              new Blob(each.getFileName() + "", in.transferTo(OutputStream.nullOutputStream())));
        }
      }
    }
    return blobs;
  }

  private static List<MemoryRange> scratch(Path out) throws IOException {
    List<String> addresses = Files.readAllLines(out.resolve("scratch_phys"));
    List<String> sizes = Files.readAllLines(out.resolve("scratch_len"));
    if (addresses.size() != sizes.size()) {
      throw new MemoryException(
          "%s: %d addresses of scratch areas and %d sizes"
              .formatted(out, addresses.size(), sizes.size()));
    }
    List<MemoryRange> scratch = new ArrayList<>();
    for (int i = 0; i < addresses.size(); i++) {
      try {
        long size = Long.decode(sizes.get(i).strip());
        if (size != 0) {
          scratch.add(new MemoryRange(Long.decode(addresses.get(i).strip()), size));
        }
      } catch (IllegalArgumentException e) {
        throw new MemoryException(
            "%s: \"%s\" and \"%s\" are no scratch area"
                .formatted(out, addresses.get(i), sizes.get(i)),
            e);
      }
    }
    return scratch;
  }

  /**
   * Finds the outgoing state tree in this machine's memory: the preserved page that is a state tree
   * and points to the map that it was found through.
   *
   * @param memory this machine's
   * @return empty if debugfs does not show where the map begins, or no page is such a tree
   */
  public Optional<StartingPoint> start(PhysicalMemory memory) {
    if (map.isEmpty()) {
      return Optional.empty();
    }
    long root = map.getAsLong();
    // The kernel goes on changing it: what does not fit together for the moment is left out.
    PreservedMap preserved =
        RadixTree.read(memory, root, root, List.of(), new Findings.Kept()).map();
    for (PreservedBlock each : preserved.list()) {
      if (memory.contains(each.address(), 8)
          && Words.u32(memory.at(each.address(), 4), 0) == Integer.reverseBytes(0xd00dfeed)) {
        int size = Integer.reverseBytes(Words.u32(memory.at(each.address(), 8), 4));
        if (size > 0
            && size <= each.size()
            && memory.contains(each.address(), size)
            && tree(memory.at(each.address(), size).toArray(ValueLayout.JAVA_BYTE))
                .map(LiveHost::map)
                .filter(found -> found.isPresent() && found.getAsLong() == root)
                .isPresent()) {
          return Optional.of(
              new StartingPoint(
                  each.address(),
                  Optional.of(scratch),
                  "through debugfs, in this machine's memory"));
        }
      }
    }
    return Optional.empty();
  }
}
