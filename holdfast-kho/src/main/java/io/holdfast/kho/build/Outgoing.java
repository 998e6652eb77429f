package io.holdfast.kho.build;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.fdt.FdtNode;
import io.holdfast.fdt.FdtTree;
import io.holdfast.kho.Format;
import io.holdfast.kho.KexecMetadata;
import io.holdfast.kho.LuoState;
import io.holdfast.kho.PreservedBlock;
import io.holdfast.kho.PreservedMap;
import io.holdfast.kho.RadixTree;
import io.holdfast.kho.ReservedRegion;
import io.holdfast.kho.StartingPoint;
import io.holdfast.kho.StateTree;
import io.holdfast.kho.memory.MemoryArena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A handover that is being made. It is active from the start: no next kernel has to be loaded, and
 * nobody has to finalize it by hand, since finalizing is a consequence of freezing.
 *
 * <p>Sub-trees come and go while it is active, and a tree that was added is the caller's to change
 * until then; nothing has a largest size. Finalized it is immutable, and its pages stand in memory
 * as a kernel would have written them (kho-v4). Not for several threads at once.
 *
 * <pre>{@code
 * Outgoing outgoing = new Outgoing(arena, scratch);
 * outgoing.map().preserve(address, 300);
 * outgoing.add("holdfast", tree);
 * StartingPoint start = outgoing.finish();
 * }</pre>
 */
public final class Outgoing {
  private final MemoryArena arena;
  private final PreservedMap map;
  private final Map<String, Content> parts = new LinkedHashMap<>();
  private Optional<Finished> finished = Optional.empty();

  /** What a sub-tree will have. */
  private sealed interface Content {
    record Bytes(MemorySegment bytes) implements Content {}

    record Tree(FdtTree tree) implements Content {}

    record Sessions(OutgoingSessions sessions) implements Content {}
  }

  private record Finished(StartingPoint start, List<PreservedBlock> preserved, List<Long> nodes) {}

  /**
   * An active handover without anything.
   *
   * @param arena where it is written to; what it takes it gives back when it is cancelled
   * @param map what is preserved besides what is written here; it knows the scratch areas
   */
  public Outgoing(MemoryArena arena, PreservedMap map) {
    this.arena = arena;
    this.map = map;
  }

  /** What is preserved. It can be changed while this is active. */
  public PreservedMap map() {
    return map;
  }

  /**
   * Adds a sub-tree that is a device tree.
   *
   * @param tree it stays the caller's, who can go on changing it until this is finalized
   * @throws IllegalArgumentException if there is one of that name
   * @throws IllegalStateException if this is finalized
   */
  public void add(String name, FdtTree tree) {
    put(name, new Content.Tree(tree));
  }

  /**
   * Adds a sub-tree that is bytes, which are copied. As {@link #add(String, FdtTree)}.
   *
   * @throws IllegalArgumentException if they are none
   */
  public void add(String name, byte[] bytes) {
    if (bytes.length == 0) {
      throw new IllegalArgumentException("sub-tree " + name + " would be of no bytes");
    }
    put(name, new Content.Bytes(MemorySegment.ofArray(bytes.clone())));
  }

  /** Adds the orchestrator's state. As {@link #add(String, FdtTree)}. */
  public void add(OutgoingSessions sessions) {
    put(LuoState.SUB_TREE, new Content.Sessions(sessions));
  }

  /** Adds which kernel hands over. As {@link #add(String, FdtTree)}. */
  public void add(KexecMetadata metadata) {
    ByteBuffer bytes = ByteBuffer.allocate(KexecMetadata.SIZE).order(ByteOrder.LITTLE_ENDIAN);
    byte[] release = metadata.release().getBytes(StandardCharsets.US_ASCII);
    if (release.length > 64) {
      throw new IllegalArgumentException(metadata.release() + " is too long for a release");
    }
    bytes.putInt(1).put(release).position(69);
    bytes.putInt(metadata.kexecs());
    put(KexecMetadata.NAME, new Content.Bytes(MemorySegment.ofArray(bytes.array())));
  }

  /**
   * Adds reserved regions, all of them at once. That they are preserved is up to the caller. As
   * {@link #add(String, FdtTree)}.
   */
  public void add(List<ReservedRegion> regions) {
    FdtTree tree = FdtTree.of(Format.MEMBLOCK_V1.version());
    for (ReservedRegion each : regions) {
      FdtNode node = tree.root().add(each.name());
      var _ = node.set("compatible", Format.RESERVE_MEM_V1.version());
      var _ = node.set("start", number(each.range().address()));
      var _ = node.set("size", number(each.range().size()));
    }
    put(ReservedRegion.SUB_TREE, new Content.Tree(tree));
  }

  private void put(String name, Content content) {
    refuseIfFinished();
    if (parts.putIfAbsent(name, content) != null) {
      throw new IllegalArgumentException("there is a sub-tree " + name + " already");
    }
  }

  /**
   * Removes a sub-tree.
   *
   * @throws IllegalArgumentException if there is none
   * @throws IllegalStateException if this is finalized
   */
  public void remove(String name) {
    refuseIfFinished();
    if (parts.remove(name) == null) {
      throw new IllegalArgumentException("there is no sub-tree " + name);
    }
  }

  private void refuseIfFinished() {
    if (finished.isPresent()) {
      throw new IllegalStateException(
          "the handover is finalized, and immutable; cancelling the update reopens it");
    }
  }

  /**
   * Finalizes: writes all of it, preserves what was written, and makes the map immutable. Again is
   * as once. If it fails, what was written is given back, and this is active as before.
   *
   * @return where the handover starts
   * @throws io.holdfast.kho.memory.MemoryException if the arena has not enough pages
   */
  public StartingPoint finish() {
    if (finished.isEmpty()) {
      List<PreservedBlock> taken = new ArrayList<>();
      boolean done = false;
      try {
        finished = Optional.of(write(taken));
        map.setFinal();
        done = true;
      } finally {
        if (!done) {
          taken.forEach(this::give);
        }
      }
    }
    return finished.map(Finished::start).orElseThrow();
  }

  /** Cancels: everything that {@link #finish} did is undone, and this can be changed again. */
  public void cancel() {
    finished.ifPresent(
        done -> {
          map.reopen();
          done.preserved.forEach(this::give);
          done.nodes.forEach(each -> arena.give(each, 0));
        });
    finished = Optional.empty();
  }

  /** Whether it is finalized. */
  public boolean isFinished() {
    return finished.isPresent();
  }

  private void give(PreservedBlock block) {
    map.unpreserve(block);
    arena.give(block.address(), block.order());
  }

  /** Pages that are preserved. */
  final class Pages {
    private final List<PreservedBlock> taken;

    private Pages(List<PreservedBlock> taken) {
      this.taken = taken;
    }

    long take(int order) {
      PreservedBlock block = new PreservedBlock(arena.take(order), order);
      try {
        map.preserve(block);
      } catch (IllegalStateException e) {
        arena.give(block.address(), order);
        throw new IllegalStateException("the arena gave a page that can't be preserved", e);
      }
      taken.add(block);
      return block.address();
    }

    MemorySegment at(long address, long size) {
      return arena.at(address, size);
    }

    long put(byte[] bytes) {
      int pages = (bytes.length + PAGE - 1) / PAGE;
      // What kho_alloc_preserve() does: one block that is large enough.
      long address = take(Integer.SIZE - Integer.numberOfLeadingZeros(pages - 1));
      MemorySegment.copy(
          MemorySegment.ofArray(bytes), 0, at(address, bytes.length), 0, bytes.length);
      return address;
    }
  }

  private Finished write(List<PreservedBlock> taken) {
    Pages pages = new Pages(taken);
    FdtTree state = FdtTree.of(Format.KHO_V4.version());
    // It must be preserved before the map is written, and says where the map is: so it is written
    // twice, and has the same size each time.
    var _ = state.root().set(StateTree.MAP, number(0));
    parts.forEach(
        (name, content) -> {
          byte[] bytes =
              switch (content) {
                case Content.Bytes(MemorySegment given) -> given.toArray(ValueLayout.JAVA_BYTE);
                case Content.Tree(FdtTree tree) -> tree.toBlob();
                case Content.Sessions(OutgoingSessions sessions) -> sessions.write(pages);
              };
          FdtNode node = state.root().add(name);
          var _ = node.set(StateTree.SubTree.ADDRESS, number(pages.put(bytes)));
          var _ = node.set(StateTree.SubTree.SIZE, number(bytes.length));
        });
    long address = pages.put(state.toBlob());
    List<Long> nodes = RadixTree.write(map, arena);
    var _ = state.root().set(StateTree.MAP, number(nodes.getFirst()));
    byte[] blob = state.toBlob();
    MemorySegment.copy(
        MemorySegment.ofArray(blob), 0, arena.at(address, blob.length), 0, blob.length);
    return new Finished(
        StartingPoint.at(address, map.scratch()), List.copyOf(taken), List.copyOf(nodes));
  }

  private static byte[] number(long value) {
    return ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array();
  }
}
