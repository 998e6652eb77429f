package io.holdfast.benchmarks;

import com.sun.management.OperatingSystemMXBean;
import io.holdfast.kho.PreservedMap;
import io.holdfast.kho.RadixTree;
import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.MemoryRange;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;

/** The side of {@link KhoBenchmark} that is in Java; kho-peer.c says what the lines mean. */
final class KhoPeer {
  private static final int NODES = 20_000;
  private static final long MOST_OF_A_RANGE = 1024;
  private static final int GAP_SHIFT = 60;
  private static final OperatingSystemMXBean SYSTEM =
      (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

  private final MemorySegment nodes = Arena.global().allocate((long) NODES * MemoryRange.PAGE);
  private String mapped = "";
  private MemorySegment file = MemorySegment.NULL;

  private KhoPeer() {}

  /** Does what its input says, until that ends. */
  public static void main(String[] arguments) throws IOException {
    KhoPeer peer = new KhoPeer();
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ", -1);
      long first = Long.parseLong(words[1]);
      System.out.println(
          switch (words[0]) {
            case "pages" -> peer.preserved(() -> pages(first), false);
            case "pages-written" -> peer.preserved(() -> pages(first), true);
            case "ranges" -> peer.preserved(() -> ranges(first, Long.parseLong(words[2])), false);
            case "ranges-written" ->
                peer.preserved(() -> ranges(first, Long.parseLong(words[2])), true);
            case "walk" ->
                peer.walked(first, words[2], Long.parseLong(words[3]), Long.parseLong(words[4]));
            default -> throw new IllegalArgumentException(line);
          });
    }
  }

  private static long now() {
    return SYSTEM.getProcessCpuTime();
  }

  private interface Work {
    PreservedMap run();
  }

  private String preserved(Work work, boolean written) {
    long start = now();
    PreservedMap map = work.run();
    long took = now() - start;
    MemoryArena memory = new MemoryArena(0, nodes, List.of());
    List<Long> tree = RadixTree.write(map, memory);
    took = written ? now() - start : took;
    Sum sum = new Sum();
    FewestNodes fewest = new FewestNodes();
    RadixTree.forEachKey(
        memory,
        tree.getFirst(),
        key -> {
          sum.is(key);
          fewest.is(key);
        });
    if (tree.size() != fewest.count) {
      throw new IllegalStateException(
          "%d nodes, and %d would do".formatted(tree.size(), fewest.count));
    }
    return took + " " + Long.toUnsignedString(sum.value) + " " + tree.size();
  }

  private static PreservedMap pages(long count) {
    PreservedMap map = new PreservedMap(List.of());
    for (long page = 0; page < count; page++) {
      map.preserve(page * MemoryRange.PAGE, 1);
    }
    return map;
  }

  private static PreservedMap ranges(long count, long seed) {
    PreservedMap map = new PreservedMap(List.of());
    long state = seed;
    long page = 0;
    for (long done = 0; done < count; ) {
      state ^= state << 13;
      state ^= state >>> 7;
      state ^= state << 17;
      long length = 1 + Long.remainderUnsigned(state, MOST_OF_A_RANGE);
      page += state >>> GAP_SHIFT;
      map.preserve(page * MemoryRange.PAGE, length);
      page += length;
      done += length;
    }
    return map;
  }

  private String walked(long times, String name, long address, long root) throws IOException {
    if (!mapped.equals(name)) {
      try (FileChannel channel = FileChannel.open(Path.of(name), StandardOpenOption.READ)) {
        file = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), Arena.global());
        mapped = name;
      }
    }
    MemoryArena memory = new MemoryArena(address, file, List.of());
    Sum sum = new Sum();
    long start = now();
    for (long i = 0; i < times; i++) {
      sum = new Sum();
      RadixTree.forEachKey(memory, root, sum);
    }
    return now() - start + " " + Long.toUnsignedString(sum.value) + " " + sum.keys;
  }

  /** What a walk sums up; kho-peer.c has the same. */
  private static final class Sum implements RadixTree.Keys {
    private long value;
    private long keys;

    @Override
    public void is(long key) {
      value = Long.rotateLeft(value, 1) + key;
      keys++;
    }

    /** With what it sums up in registers, where a compiler in C has it as well. */
    @Override
    public void are(long first, long bits) {
      long sum = value;
      for (long left = bits; left != 0; left &= left - 1) {
        sum = Long.rotateLeft(sum, 1) + (first | Long.numberOfTrailingZeros(left));
      }
      value = sum;
      keys += Long.bitCount(bits);
    }
  }

  /** How many nodes a tree of these keys, told in their order, must have at least. */
  private static final class FewestNodes {
    private static final int LEAF_BITS = 15;
    private static final int TABLE_BITS = 9;
    private final long[] last = new long[RadixTree.TOP + 1];
    private long count;

    FewestNodes() {
      Arrays.fill(last, -1);
    }

    void is(long key) {
      for (int level = 0; level < last.length; level++) {
        long prefix = key >>> (LEAF_BITS + TABLE_BITS * level);
        if (prefix == last[level]) {
          return; // What is above is the same, too.
        }
        last[level] = prefix;
        count++;
      }
    }
  }
}
