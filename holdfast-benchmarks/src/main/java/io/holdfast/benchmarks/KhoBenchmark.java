package io.holdfast.benchmarks;

import io.holdfast.kho.PreservedMap;
import io.holdfast.kho.RadixTree;
import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.kho.memory.MemoryRange;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.SplittableRandom;

/**
 * The map of preserved memory, {@link PreservedMap} and {@link RadixTree}, against the same in C
 * (kho-peer.c, written from docs/formats.md), in turns, all warm:
 *
 * <ul>
 *   <li>preserving 1 TiB, one call for each page of 4 KiB, and in ranges of 1 to 1024 pages with
 *       gaps between them; in memory, and written as kho-v4's tree, which C has from the start;
 *   <li>walking over all keys of such a tree, of which 100, 50 and 1 % are there, chosen at random;
 *   <li>the tree's size, which must be the least that the format allows for these keys.
 * </ul>
 *
 * <p>Times are the processes' own, compilers and collectors of the JVM included, so that other load
 * does not count. What came out, a checksum of all keys and the number of nodes, must be equal in
 * all. It needs gcc.
 */
@Promise("figures")
public final class KhoBenchmark {
  private static final long PAGES = 1L << 28;
  private static final int SEED = 20_261_126;
  private static final long BASE = 1L << 32;
  private static final int MOST_NODES = 8_300;
  private static final Peer.Rounds PRESERVING = new Peer.Rounds(2, 11);
  private static final Peer.Rounds WALKING = new Peer.Rounds(3, 21);

  private KhoBenchmark() {}

  /** See {@link KhoBenchmark}. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    Path folder = Files.createTempDirectory("holdfast-bench");
    List<Peer> peers = Peer.start(folder, "kho-peer.c", List.of(), KhoPeer.class);
    try {
      System.out.printf(
          "1 TiB; median (least – most) of %d rounds in turns, walks %d; ratios to C%n",
          PRESERVING.rounds(), WALKING.rounds());
      preserve(peers, "one call for each page", "pages", PAGES + "");
      preserve(peers, "ranges of 1 to 1024 pages", "ranges", PAGES + " " + SEED);
      for (int percent : new int[] {100, 50, 1}) {
        Path tree = folder.resolve(percent + ".tree");
        long root = write(tree, percent);
        // A piece of work long enough for the clock of processes, which ticks every 10 ms.
        int times = percent == 1 ? 50 : 1;
        String outcome =
            Peer.compare(
                peers,
                "walking, " + percent + " % at random",
                "walk %d %s %d %d".formatted(times, tree, BASE, root),
                WALKING,
                "ms",
                1e6 * times);
        System.out.println("  " + outcome.split(" ", 2)[1] + " keys");
      }
    } finally {
      Peer.close(peers);
      Peer.remove(folder);
    }
  }

  private static void preserve(List<Peer> peers, String what, String command, String arguments)
      throws IOException {
    String outcome =
        Peer.compare(peers, what, command + " " + arguments, PRESERVING, "ns a page", PAGES);
    String _ =
        Peer.compare(
            peers,
            what + ", and written",
            command + "-written " + arguments,
            PRESERVING,
            "ns a page",
            PAGES);
    long nodes = Long.parseLong(outcome.split(" ", 2)[1]);
    System.out.printf(
        "  %d nodes, %d bytes: the fewest that the format allows for these keys%n",
        nodes, nodes * MemoryRange.PAGE);
  }

  /** Writes a tree of random pages of 1 TiB to a file; returns its root's address. */
  private static long write(Path file, int percent) throws IOException {
    SplittableRandom random = new SplittableRandom(SEED);
    PreservedMap map = new PreservedMap(List.of());
    for (long page = 0; page < PAGES; page++) {
      if (random.nextInt(100) < percent) {
        map.preserve(page * MemoryRange.PAGE, 1);
      }
    }
    try (Arena arena = Arena.ofConfined();
        FileChannel channel =
            FileChannel.open(
                file,
                StandardOpenOption.CREATE_NEW,
                StandardOpenOption.READ,
                StandardOpenOption.WRITE)) {
      long size = (long) MOST_NODES * MemoryRange.PAGE;
      var memory = channel.map(FileChannel.MapMode.READ_WRITE, 0, size, arena);
      return RadixTree.write(map, new MemoryArena(BASE, memory, List.of())).getFirst();
    }
  }
}
