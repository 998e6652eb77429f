package io.holdfast.benchmarks;

import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtNode;
import io.holdfast.fdt.FdtTree;
import io.holdfast.fdt.FdtVisitor;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.function.LongUnaryOperator;

/**
 * Checking a whole device tree and walking over all of it: {@link FdtBlob} against libfdt's {@code
 * fdt_check_full} and the same walk in C, in turns, both warm. The walk sums up depths, names'
 * lengths and values, and both sums must be equal.
 *
 * <p>It needs gcc and libfdt (Debian: gcc, libfdt-dev).
 */
public final class FdtBenchmark {
  private static final int ROUNDS = 41;
  private static final int WARM_UP = 20;
  private static final long ROUND_NANOS = 50_000_000;
  private static final ValueLayout.OfInt U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.BIG_ENDIAN);

  private FdtBenchmark() {}

  /** See {@link FdtBenchmark}. */
  public static void main(String[] arguments) throws IOException, InterruptedException {
    Path folder = Files.createTempDirectory("holdfast-bench");
    Path peer = compile(folder);
    System.out.printf(
        "check and walk, per blob: median (least – most) of %d rounds in turns%n", ROUNDS);
    for (int boxes : new int[] {2, 100, 10_000}) {
      run(folder, peer, boxes);
    }
    try (var files = Files.list(folder)) {
      for (Path file : files.toList()) {
        Files.delete(file);
      }
    }
    Files.delete(folder);
  }

  private static Path compile(Path folder) throws IOException, InterruptedException {
    Path source = folder.resolve("fdt-peer.c");
    try (InputStream code = FdtBenchmark.class.getResourceAsStream("fdt-peer.c")) {
      if (code == null) {
        throw new IOException("fdt-peer.c is not in this build");
      }
      Files.copy(code, source);
    }
    Path peer = folder.resolve("fdt-peer");
    int exit =
        new ProcessBuilder("gcc", "-O2", "-o", peer.toString(), source.toString(), "-lfdt")
            .inheritIO()
            .start()
            .waitFor();
    if (exit != 0) {
      throw new IOException("the peer in C does not compile; are gcc and libfdt-dev installed?");
    }
    return peer;
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

  private static void run(Path folder, Path peer, int boxes)
      throws IOException, InterruptedException {
    Path file = Files.write(folder.resolve(boxes + ".dtb"), blob(boxes));
    Process process =
        new ProcessBuilder(peer.toString(), file.toString())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    try (Arena arena = Arena.ofConfined();
        BufferedReader answers = process.inputReader(StandardCharsets.US_ASCII)) {
      byte[] bytes = Files.readAllBytes(file);
      MemorySegment segment = arena.allocate(bytes.length, 8);
      segment.copyFrom(MemorySegment.ofArray(bytes));
      LongUnaryOperator java = times -> java(segment, times);
      LongUnaryOperator c = times -> c(process, answers, times);
      long[] sums = {sumOfJava(segment), sumOfC(process, answers)};
      if (sums[0] != sums[1]) {
        throw new IOException("the walks differ: %d in Java, %d in C".formatted(sums[0], sums[1]));
      }
      long times = Math.max(1, ROUND_NANOS / Math.max(1, c.applyAsLong(10) / 10));
      for (int i = 0; i < WARM_UP; i++) {
        var _ = java.applyAsLong(times);
        var _ = c.applyAsLong(times);
      }
      double[] ours = new double[ROUNDS];
      double[] theirs = new double[ROUNDS];
      double[] ratios = new double[ROUNDS];
      for (int i = 0; i < ROUNDS; i++) {
        // Who goes first changes: what the machine does besides hits both alike.
        if (i % 2 == 0) {
          ours[i] = (double) java.applyAsLong(times) / times;
          theirs[i] = (double) c.applyAsLong(times) / times;
        } else {
          theirs[i] = (double) c.applyAsLong(times) / times;
          ours[i] = (double) java.applyAsLong(times) / times;
        }
        ratios[i] = ours[i] / theirs[i];
      }
      System.out.printf(
          Locale.ROOT,
          "%d nodes, %d bytes: Java %s µs, C %s µs, ratio %s%n",
          1 + 5 * boxes,
          bytes.length,
          range(ours, 1000),
          range(theirs, 1000),
          range(ratios, 1));
    } finally {
      process.destroy();
      process.waitFor();
    }
  }

  private static String range(double[] values, double unit) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return String.format(
        Locale.ROOT,
        "%.2f (%.2f – %.2f)",
        sorted[sorted.length / 2] / unit,
        sorted[0] / unit,
        sorted[sorted.length - 1] / unit);
  }

  private static long java(MemorySegment segment, long times) {
    long start = System.nanoTime();
    long sum = 0;
    for (long i = 0; i < times; i++) {
      sum += sumOfJava(segment);
    }
    long nanos = System.nanoTime() - start;
    if (sum == 42) {
      System.out.println(); // So that nobody can leave the work out.
    }
    return nanos;
  }

  private static long sumOfJava(MemorySegment segment) {
    Sum sum = new Sum(segment);
    FdtBlob.of(segment).visit(sum);
    return sum.value;
  }

  private static long c(Process process, BufferedReader answers, long times) {
    return Long.parseLong(ask(process, answers, times).split(" ", 2)[0]);
  }

  private static long sumOfC(Process process, BufferedReader answers) {
    return Long.parseUnsignedLong(ask(process, answers, 1).split(" ", 2)[1]);
  }

  private static String ask(Process process, BufferedReader answers, long times) {
    try {
      process.getOutputStream().write((times + "\n").getBytes(StandardCharsets.US_ASCII));
      process.getOutputStream().flush();
      String answer = answers.readLine();
      if (answer == null) {
        throw new IOException("the peer in C ended");
      }
      return answer;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The walk's sum; fdt-peer.c has the same. */
  private static final class Sum implements FdtVisitor {
    private final MemorySegment blob;
    private long value;
    private int depth;

    Sum(MemorySegment blob) {
      this.blob = blob;
    }

    @Override
    public void beginNode(long nameAt, int nameLength) {
      depth++;
      value = value * 31 + nameLength + depth;
    }

    @Override
    public void property(long nameAt, int nameLength, long valueAt, int valueLength) {
      value = (value * 31 + nameLength) * 31 + valueLength;
      if (valueLength >= 4) {
        value ^= Integer.toUnsignedLong(blob.get(U32, valueAt));
      }
    }

    @Override
    public void endNode() {
      depth--;
      value = value * 31 + 7;
    }
  }
}
