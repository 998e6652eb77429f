package io.holdfast.benchmarks;

import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtVisitor;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** The side of {@link FdtBenchmark} that is in Java; fdt-peer.c says what the lines mean. */
final class FdtPeer {
  private static final ValueLayout.OfInt U32 =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.BIG_ENDIAN);

  private FdtPeer() {}

  /** Does what its input says, until that ends. */
  public static void main(String[] arguments) throws IOException {
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
    String loaded = "";
    MemorySegment blob = MemorySegment.NULL;
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] words = line.split(" ", -1);
      if (!words[1].equals(loaded)) {
        loaded = words[1];
        byte[] bytes = Files.readAllBytes(Path.of(loaded));
        blob = Arena.global().allocate(bytes.length, 8).copyFrom(MemorySegment.ofArray(bytes));
      }
      long times = Long.parseLong(words[0]);
      long start = System.nanoTime();
      long sum = 0;
      for (long i = 0; i < times; i++) {
        sum = checkedAndWalked(blob);
      }
      System.out.println(System.nanoTime() - start + " " + Long.toUnsignedString(sum));
    }
  }

  private static long checkedAndWalked(MemorySegment blob) {
    Sum sum = new Sum(blob);
    FdtBlob.of(blob).visit(sum);
    return sum.value;
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
