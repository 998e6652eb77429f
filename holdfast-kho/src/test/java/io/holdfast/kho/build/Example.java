package io.holdfast.kho.build;

import static io.holdfast.kho.memory.MemoryRange.PAGE;

import io.holdfast.fdt.FdtTree;
import io.holdfast.kho.KexecMetadata;
import io.holdfast.kho.LuoState.FileBoundObject;
import io.holdfast.kho.Memfd;
import io.holdfast.kho.PreservedBlock;
import io.holdfast.kho.PreservedMap;
import io.holdfast.kho.ReservedRegion;
import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.MemoryRange;
import java.io.ByteArrayOutputStream;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** A handover with something of everything, in an arena, and what should be read from it. */
public final class Example {
  /** Where the arena is: high enough that nothing is by chance at a small number. */
  static final long BASE = 0x1_0000_0000L;

  static final long ARENA = 24L << 20;

  final MemoryArena arena;
  final Outgoing outgoing;
  final OutgoingSessions sessions = new OutgoingSessions(3);

  /** Contents of memfds, by session and token. */
  public final Map<String, Map<Long, byte[]>> contents = new LinkedHashMap<>();

  private final Random random;

  /** An example of its own for each seed. */
  public Example(long seed) {
    random = new Random(seed);
    List<MemoryRange> scratch =
        List.of(
            new MemoryRange(BASE + (8 << 20), 4 << 20),
            new MemoryRange(BASE + (16 << 20), 4 << 20));
    arena = new MemoryArena(BASE, MemorySegment.ofArray(new byte[(int) ARENA]), scratch);
    PreservedMap map = new PreservedMap(scratch);
    outgoing = new Outgoing(arena, map);
    sessions.add("empty");
    for (String name : List.of("web", "db", "cache")) {
      sessions.add(name);
      for (int i = 0; i < 3; i++) {
        memfd(name, i == 1 ? -7 : i, random.nextInt(0, 60 * PAGE));
      }
    }
    memfd("db", 99, 3L * PAGE + 1);
    // More folios than fit on a page of them.
    memfd("cache", 1000, 700L * PAGE);
    for (int i = 0; i < 130; i++) {
      // More files than fit in two blocks.
      sessions.file("web", 10_000 + i, "eventpoll-v1", i);
    }
    sessions.object(new FileBoundObject("iommu-v1", 0x1234, 2));
    outgoing.add(new KexecMetadata("7.3.4-holdfast", 2));
    outgoing.add(sessions);
    long region = arena.take(4);
    map.preserve(region, 16);
    outgoing.add(List.of(new ReservedRegion("log", new MemoryRange(region, 16 * PAGE))));
    FdtTree tree = FdtTree.of("example-v1");
    outgoing.add("example", tree);
    // A tree that is the caller's grows until it is written, over a page too.
    for (int i = 0; i < 300; i++) {
      var _ = tree.root().add("node@" + i).set("number", i);
    }
  }

  private void memfd(String session, long token, long size) {
    List<Memfd.Folio> folios = new ArrayList<>();
    ByteArrayOutputStream content = new ByteArrayOutputStream();
    for (long index = 0; index * PAGE < size; ) {
      int order = size > 600L * PAGE ? 0 : random.nextInt(5);
      long address = arena.take(order);
      outgoing.map().preserve(new PreservedBlock(address, order));
      byte[] bytes = new byte[PAGE << order];
      random.nextBytes(bytes);
      MemorySegment.copy(
          MemorySegment.ofArray(bytes), 0, arena.at(address, bytes.length), 0, bytes.length);
      content.write(bytes, 0, (int) Math.min(bytes.length, size - index * PAGE));
      folios.add(new Memfd.Folio(address, index, Memfd.DIRTY | Memfd.UP_TO_DATE));
      index += 1L << order;
    }
    contents.computeIfAbsent(session, _ -> new LinkedHashMap<>()).put(token, content.toByteArray());
    sessions.memfd(session, token, 42, size, 1, folios);
  }

  /** The memory that it is in. */
  public MemoryArena arena() {
    return arena;
  }

  /** What makes it. */
  public Outgoing outgoing() {
    return outgoing;
  }
}
