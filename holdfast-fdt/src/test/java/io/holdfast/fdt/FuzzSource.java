package io.holdfast.fdt;

import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;

/** What Jazzer calls with one source after the other; {@link FdtFuzzTest} starts it. */
public final class FuzzSource {
  private FuzzSource() {}

  /** Throws what must never be thrown. */
  public static void fuzzerTestOneInput(byte[] bytes) {
    FdtTree tree;
    try {
      tree = FdtSource.parse(new String(bytes, StandardCharsets.UTF_8));
    } catch (FdtException e) {
      return;
    }
    if (!FdtSource.parse(FdtSource.print(tree)).root().equals(tree.root())) {
      throw new AssertionError("what was read and printed reads differently");
    }
    if (!FdtBlob.of(MemorySegment.ofArray(tree.toBlob())).tree().root().equals(tree.root())) {
      throw new AssertionError("what was read and written as a blob reads differently");
    }
  }
}
