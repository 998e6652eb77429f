package io.holdfast.kho;

import static io.holdfast.kho.memory.MemoryRange.PAGE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.MemoryException;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.promise.Promise;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The map against a plain set of pages. */
final class PreservedMapTest {
  /** Another one each night: tools/nightly. */
  private static final long FIRST_SEED = Long.getLong("holdfast.seed", 0);

  private static final int SEEDS = 60;
  private static final int STEPS = 400;
  private static final List<MemoryRange> SCRATCH =
      List.of(new MemoryRange(64 * PAGE, 32 * PAGE), new MemoryRange(1000 * PAGE, 100 * PAGE));

  /** What the map should be: each block by its first page, and the pages of all of them. */
  private static final class Model {
    final TreeMap<Long, Integer> blocks = new TreeMap<>();
    final TreeSet<Long> pages = new TreeSet<>();

    boolean free(long from, long to) {
      return LongStream.range(from, to)
          .noneMatch(
              page ->
                  pages.contains(page)
                      || SCRATCH.stream().anyMatch(each -> each.contains(page * PAGE, PAGE)));
    }

    void add(long page, int order) {
      blocks.put(page, order);
      LongStream.range(page, page + (1L << order)).forEach(pages::add);
    }

    void remove(long page) {
      int order = blocks.getOrDefault(page, -1);
      blocks.remove(page);
      LongStream.range(page, page + (1L << order)).forEach(pages::remove);
    }

    /** The largest aligned blocks, from the front: the definition, in the plainest way. */
    static Map<Long, Integer> largest(long from, long to) {
      Map<Long, Integer> blocks = new TreeMap<>();
      while (from < to) {
        int order = 0;
        while (order < PreservedBlock.MAX_ORDER
            && from % (2L << order) == 0
            && from + (2L << order) <= to) {
          order++;
        }
        blocks.put(from, order);
        from += 1L << order;
      }
      return blocks;
    }
  }

  @Test
  @Promise("handovers")
  void isAPlainSetOfPagesWhateverIsDoneToIt() {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      Random random = new Random(seed);
      PreservedMap map = new PreservedMap(SCRATCH);
      Model model = new Model();
      // Some runs in little memory, where much overlaps; some over all that there can be.
      long base = seed % 3 == 0 ? (1L << random.nextInt(12, 39)) : 0;
      for (int step = 0; step < STEPS; step++) {
        String at = "seed " + seed + ", step " + step;
        long page = base + random.nextInt(1, 2500);
        int count = random.nextInt(10) == 0 ? random.nextInt(1, 600) : random.nextInt(1, 20);
        switch (random.nextInt(6)) {
          case 0, 1 -> {
            if (model.free(page, page + count)) {
              map.preserve(page * PAGE, count);
              Model.largest(page, page + count).forEach(model::add);
            } else {
              assertThatThrownBy(() -> map.preserve(page * PAGE, count))
                  .as(at)
                  .isInstanceOf(IllegalStateException.class);
            }
          }
          case 2 -> {
            int order = random.nextInt(8);
            long first = page >>> order << order;
            PreservedBlock block = new PreservedBlock(first * PAGE, order);
            if (model.free(first, first + (1L << order))) {
              map.preserve(block);
              model.add(first, order);
            } else {
              assertThatThrownBy(() -> map.preserve(block))
                  .as(at)
                  .isInstanceOf(IllegalStateException.class);
            }
          }
          case 3 -> {
            Map<Long, Integer> wanted = Model.largest(page, page + count);
            if (model.blocks.entrySet().containsAll(wanted.entrySet())) {
              map.unpreserve(page * PAGE, count);
              wanted.keySet().forEach(model::remove);
            } else {
              assertThatThrownBy(() -> map.unpreserve(page * PAGE, count))
                  .as(at)
                  .isInstanceOf(IllegalStateException.class);
            }
          }
          case 4 -> {
            Long first = model.blocks.ceilingKey(page);
            if (first != null) {
              map.unpreserve(
                  new PreservedBlock(first * PAGE, model.blocks.getOrDefault(first, -1)));
              model.remove(first);
            }
          }
          default -> {
            assertThat(map.blockOf(page * PAGE + 17).isPresent())
                .as(at)
                .isEqualTo(model.pages.contains(page));
            assertThat(map.orderAt(page * PAGE).orElse(-1))
                .as(at)
                .isEqualTo(model.blocks.getOrDefault(page, -1));
            MemoryRange range = new MemoryRange(page * PAGE, (long) count * PAGE);
            assertThat(map.pages(range))
                .as(at)
                .isEqualTo(model.pages.subSet(page, page + count).size());
          }
        }
        assertThat(map.pages()).as(at).isEqualTo(model.pages.size());
      }
      assertSame("seed " + seed, map, model);
    }
  }

  private static void assertSame(String at, PreservedMap map, Model model) {
    Map<Long, Integer> listed = new TreeMap<>();
    map.list().forEach(each -> listed.put(each.address() / PAGE, each.order()));
    assertThat(listed).as(at).isEqualTo(model.blocks);
    assertThat(map.blocks()).as(at).isEqualTo(model.blocks.size());
    for (PreservedBlock each : map.list()) {
      assertThat(map.contains(each)).as(at).isTrue();
      assertThat(map.blockOf(each.range().end() - 1)).as(at).contains(each);
    }
  }

  @Test
  @Promise("handovers")
  void whatIsWrittenIsRead() {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 20; seed++) {
      Random random = new Random(seed);
      try (Arena memory = Arena.ofConfined()) {
        MemoryArena arena = arena(memory, 2048);
        PreservedMap map = new PreservedMap(List.of());
        TreeSet<Long> keys = new TreeSet<>();
        // Within the arena, so that reading finds memory there, but never where the nodes are.
        long page = 1024;
        while (page < 2000) {
          int count = random.nextInt(1, 70);
          if (page + count > 2048) {
            break;
          }
          map.preserve(arena.ranges().getFirst().address() + page * PAGE, count);
          page += count + random.nextInt(3);
        }
        map.list().forEach(each -> keys.add(naiveKey(each)));
        List<Long> nodes = RadixTree.write(map, arena);
        assertThat(arena.taken()).isEqualTo(nodes.size());
        assertThat(RadixTree.read(arena, nodes.getFirst(), List.of())).isEqualTo(map);
        List<Long> told = new ArrayList<>();
        RadixTree.forEachKey(arena, nodes.getFirst(), told::add);
        assertThat(told).containsExactlyElementsOf(keys);
      }
    }
  }

  /** The key as the kernel's header explains it, with nothing clever. */
  private static long naiveKey(PreservedBlock block) {
    long key = block.address();
    for (int i = 0; i < 12 + block.order(); i++) {
      key /= 2;
    }
    return key + (long) Math.pow(2, 52 - block.order());
  }

  private static MemoryArena arena(Arena memory, int pages) {
    MemorySegment bytes = memory.allocate((long) pages * PAGE, PAGE);
    return new MemoryArena(1L << 32, bytes, List.of());
  }

  @Test
  @Promise("handovers")
  void aTreeThatDoesNotFitIsGivenBack() {
    try (Arena memory = Arena.ofConfined()) {
      MemoryArena arena = arena(memory, 4);
      PreservedMap map = new PreservedMap(List.of());
      map.preserve(0, 1);
      assertThatThrownBy(() -> RadixTree.write(map, arena))
          .isInstanceOf(MemoryException.class)
          .hasMessageContaining("no 1 free pages");
      assertThat(arena.taken()).isZero();
    }
  }

  @Test
  @Promise("handovers")
  void aFinalizedMapIsImmutableUntilItIsReopened() {
    PreservedMap map = new PreservedMap(List.of());
    map.preserve(PAGE, 3);
    map.setFinal();
    String message = "the map is finalized";
    PreservedBlock block = new PreservedBlock(PAGE, 0);
    assertThatThrownBy(() -> map.preserve(64 * PAGE, 1)).hasMessageContaining(message);
    assertThatThrownBy(() -> map.preserve(new PreservedBlock(0, 0))).hasMessageContaining(message);
    assertThatThrownBy(() -> map.unpreserve(PAGE, 3)).hasMessageContaining(message);
    assertThatThrownBy(() -> map.unpreserve(block)).hasMessageContaining(message);
    assertThat(map.pages()).isEqualTo(3);
    map.reopen();
    map.unpreserve(PAGE, 3);
    assertThat(map.pages()).isZero();
  }

  @Test
  @Promise("handovers")
  void aRefusalSaysWhy() {
    PreservedMap map = new PreservedMap(SCRATCH);
    map.preserve(0, 10);
    assertThatThrownBy(() -> map.preserve(8 * PAGE, 4))
        .hasMessage("page 0x8000 of 0x8000-0xc000 is preserved already");
    assertThatThrownBy(() -> map.preserve(60 * PAGE, 10))
        .hasMessageContaining("is in scratch, 0x40000-0x60000");
    assertThatThrownBy(() -> map.unpreserve(0, 4))
        .hasMessage("no block of order 2 at 0x0 is preserved");
    assertThatThrownBy(() -> map.preserve(5, 1)).isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> map.preserve(0, 0)).isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> map.preserve((1L << 52) - PAGE, 2))
        .isInstanceOf(IllegalArgumentException.class);
    assertThat(map.pages()).isEqualTo(10);
  }

  @ParameterizedTest
  @ValueSource(longs = {0, -1, 1, 1L << 53, 1L << 63, (1L << 53) | 5, 1L << 11})
  @Promise("handovers")
  void whatIsNoKeyIsRefused(long key) {
    assertThatThrownBy(() -> PreservedBlock.of(key)).isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  @Promise("handovers")
  void everyKeyComesBack() {
    Random random = new Random(1);
    for (int i = 0; i < 20_000; i++) {
      int order = random.nextInt(PreservedBlock.MAX_ORDER + 1);
      long address = random.nextLong(1L << 52) & -(1L << (12 + order));
      PreservedBlock block = new PreservedBlock(address, order);
      assertThat(block.key()).isEqualTo(naiveKey(block));
      assertThat(PreservedBlock.of(block.key())).isEqualTo(block);
    }
  }
}
