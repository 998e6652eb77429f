package io.holdfast.testbed.scenarios;

import io.holdfast.kho.Handover;
import io.holdfast.kho.PreservedBlock;
import io.holdfast.kho.PreservedMap;
import io.holdfast.kho.RadixTree;
import io.holdfast.kho.StartingPoint;
import io.holdfast.kho.memory.ElfCore;
import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.PhysicalMemory;
import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Holdfast builds the tree that the kernel builds: all calls that preserve and unpreserve, from the
 * kernel's first instruction to machine_kexec, are recorded by a debugger and made again on a
 * {@link PreservedMap}, whose tree then has exactly the keys of the kernel's own. Sessions are
 * closed in between, so that much is preserved for nothing; and a region of reserve_mem has a size
 * that takes several blocks.
 */
@Promise("handovers")
public final class PreserveCallsReplayed implements Scenario {
  // What adds and removes a key; and what is asked for several pages, which makes it the caller of
  // the former. Where the compiler put one of these into its caller, the keys tell all the same.
  private static final String ADD = "kho_radix_add_key";
  private static final String REMOVE = "kho_radix_del_key";
  private static final String PAGES = "kho_preserve_pages";

  private static final long PAGE = 4096;
  private static final int ARENA = 1 << 20;
  private static final Path HUGE = Path.of("/sys/kernel/mm/transparent_hugepage");

  @Override
  public String title() {
    return "the same preserve calls make the same tree, in a kernel and in Holdfast";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(768)
        // 75 pages from a multiple of a page on.
        .withCommandLine("reserve_mem=300K:4096:holdfast-log")
        .withRecorded(ADD, REMOVE, PAGES)
        .withDumpAt("machine_kexec");
  }

  @Override
  public void before(Inside in) throws IOException {
    OutgoingSession kept = in.linux().liveUpdate().create("kept");
    kept.preserve(memfd(in, 40 * PAGE, "never"), 1);
    try (OutgoingSession closed = in.linux().liveUpdate().create("closed")) {
      closed.preserve(memfd(in, 30 * PAGE, "never"), 1);
      closed.preserve(memfd(in, 256 * PAGE, "always"), 2);
      kept.preserve(memfd(in, 128 * PAGE, "always"), 2);
    }
    // Where pages of the closed one were.
    kept.preserve(memfd(in, 25 * PAGE, "never"), 3);
    try (OutgoingSession again = in.linux().liveUpdate().create("closed")) {
      again.preserve(memfd(in, PAGE, "never"), 1);
    }
    in.kexec();
  }

  /** A memfd with content, on pages of several orders where the kernel has such. */
  private static Fd memfd(Inside in, long size, String huge) throws IOException {
    Path enabled = HUGE.resolve("hugepages-64kB/shmem_enabled");
    if (Files.exists(enabled)) {
      Files.writeString(enabled, huge);
    }
    Fd memfd = in.linux().memfd("replayed", size);
    in.linux().write(memfd, MemorySegment.ofArray(new byte[(int) size]));
    return memfd;
  }

  @Override
  public void after(Inside in) {
    try (IncomingSession kept = in.linux().liveUpdate().retrieve("kept");
        Fd memfd = kept.retrieve(3)) {
      in.same("the kexec went on after the dump", 25 * PAGE, in.linux().size(memfd));
      kept.finish();
    }
  }

  @Override
  public void outside(Outside out) throws IOException {
    Replay replay = new Replay();
    Deque<Outside.Call> calls = new ArrayDeque<>(out.calls());
    out.note(
        "%d calls: %d keys added, %d removed, %d ranges of pages"
            .formatted(calls.size(), count(calls, ADD), count(calls, REMOVE), count(calls, PAGES)));
    out.same("one tree is written", 1L, trees(calls));
    while (!calls.isEmpty()) {
      replay.next(calls);
    }
    out.same("ranges are in the blocks that the kernel makes", List.of(), replay.differences);
    out.check("keys were removed", replay.removed > 0);
    out.check("a range took several blocks", replay.split > 0);
    try (ElfCore core = ElfCore.open(out.dump())) {
      StartingPoint start = StartingPoint.find(core).orElseThrow();
      Handover handover = Handover.read(core, start);
      List<Long> kernels = keys(core, handover.state().map());
      out.note(
          "%d keys in the kernel's tree, %d orders"
              .formatted(
                  kernels.size(),
                  kernels.stream()
                      .map(each -> PreservedBlock.of(each).order())
                      .distinct()
                      .count()));
      List<Long> ours = keys(replay.map);
      out.same("no key is the kernel's only", List.of(), without(kernels, ours));
      out.same("no key is ours only", List.of(), without(ours, kernels));
      out.check("there are keys", !kernels.isEmpty());
    }
    Files.delete(out.dump());
  }

  private static List<Long> without(List<Long> keys, List<Long> others) {
    Set<Long> other = new HashSet<>(others);
    return keys.stream().filter(each -> !other.contains(each)).toList();
  }

  private static long count(Iterable<Outside.Call> calls, String function) {
    long count = 0;
    for (Outside.Call each : calls) {
      count += each.function().equals(function) ? 1 : 0;
    }
    return count;
  }

  private static long trees(Deque<Outside.Call> calls) {
    return calls.stream()
        .filter(each -> !each.function().equals(PAGES))
        .map(each -> each.arguments().getFirst())
        .distinct()
        .count();
  }

  private static List<Long> keys(PhysicalMemory memory, long root) {
    List<Long> keys = new ArrayList<>();
    RadixTree.forEachKey(memory, root, keys::add);
    return keys;
  }

  private static List<Long> keys(PreservedMap map) {
    MemoryArena arena = new MemoryArena(0, MemorySegment.ofArray(new byte[ARENA]), List.of());
    return keys(arena, RadixTree.write(map, arena).getFirst());
  }

  /** The kernel's calls, made again. */
  private static final class Replay {
    final PreservedMap map = new PreservedMap(List.of());
    final List<String> differences = new ArrayList<>();
    int removed;
    int split;

    void next(Deque<Outside.Call> calls) {
      Outside.Call call = calls.removeFirst();
      switch (call.function()) {
        case ADD -> map.preserve(block(call));
        case REMOVE -> {
          map.unpreserve(block(call));
          removed++;
        }
        default -> pages(call.arguments().get(1), calls);
      }
    }

    /** Pages: where they start is what the first key says that the kernel then adds. */
    private void pages(long count, Deque<Outside.Call> calls) {
      List<PreservedBlock> kernels = new ArrayList<>();
      for (long left = count; left > 0; left -= kernels.getLast().size() / PAGE) {
        Outside.Call add = calls.removeFirst();
        if (!add.function().equals(ADD)) {
          throw new IllegalStateException(add + " within a call that preserves pages");
        }
        kernels.add(block(add));
      }
      long address = kernels.getFirst().address();
      map.preserve(address, count);
      PreservedMap alone = new PreservedMap(List.of());
      alone.preserve(address, count);
      List<PreservedBlock> ours =
          alone.list().stream().sorted(Comparator.comparingLong(PreservedBlock::address)).toList();
      if (!ours.equals(kernels)) {
        differences.add(
            "%d pages at 0x%x: %s, the kernel has %s".formatted(count, address, ours, kernels));
      }
      split += kernels.size() > 1 ? 1 : 0;
    }

    private static PreservedBlock block(Outside.Call call) {
      return PreservedBlock.of(call.arguments().get(1));
    }
  }
}
