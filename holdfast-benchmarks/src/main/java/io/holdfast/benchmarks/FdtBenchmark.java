package io.holdfast.benchmarks;

import io.holdfast.fdt.FdtNode;
import io.holdfast.fdt.FdtTree;
import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * Checking a whole device tree and walking over all of it: {@link io.holdfast.fdt.FdtBlob} against
 * libfdt's {@code fdt_check_full} and the same walk in C, in turns, all warm. The walk sums up
 * depths, names' lengths and values, and all sums must be equal.
 *
 * <p>It needs gcc and libfdt (Debian: gcc, libfdt-dev).
 */
@Promise("figures")
public final class FdtBenchmark {
  private static final Peer.Rounds ROUNDS = new Peer.Rounds(20, 41);
  private static final long ROUND_NANOS = 50_000_000;

  private FdtBenchmark() {}

  /** See {@link FdtBenchmark}. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    Path folder = Files.createTempDirectory("holdfast-bench");
    List<Peer> peers = Peer.start(folder, "fdt-peer.c", List.of("fdt"), FdtPeer.class);
    try {
      System.out.printf(
          "check and walk, per blob: median (least – most) of %d rounds in turns; ratios to C%n",
          ROUNDS.rounds());
      for (int boxes : new int[] {2, 100, 10_000}) {
        byte[] blob = blob(boxes);
        Path file = Files.write(folder.resolve(boxes + ".dtb"), blob);
        long once = peers.getLast().ask("10 " + file).nanos() / 10;
        long times = Math.max(1, ROUND_NANOS / Math.max(1, once));
        String what = "%d nodes, %d bytes".formatted(1 + 5 * boxes, blob.length);
        String _ = Peer.compare(peers, what, times + " " + file, ROUNDS, "µs", 1e3 * times);
      }
    } finally {
      Peer.close(peers);
      Peer.remove(folder);
    }
  }

  /** A manifest of so many boxes with four entries each. */
  private static byte[] blob(int boxes) {
    FdtTree tree = FdtTree.of("holdfast-v1");
    for (int i = 0; i < boxes; i++) {
      FdtNode box = tree.root().add("box@" + i);
      var _ = box.set("label", "vm-" + i).set("owner", i);
      for (int j = 0; j < 4; j++) {
        var _ =
            box.add("entry@" + j)
                .set("label", "memory-" + j)
                .set("kind", "memfd")
                .set("token", (long) i << 32 | j)
                .set("size", 1L << 30)
                .set("state", new byte[11 * j]);
      }
    }
    return tree.toBlob();
  }
}
