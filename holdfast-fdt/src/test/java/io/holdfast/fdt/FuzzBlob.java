package io.holdfast.fdt;

import java.lang.foreign.MemorySegment;

/** What Jazzer calls with one blob after the other; {@link FdtFuzzTest} starts it. */
public final class FuzzBlob {
  private FuzzBlob() {}

  /** Throws what must never be thrown. */
  public static void fuzzerTestOneInput(byte[] bytes) {
    FdtTree tree;
    try {
      tree = FdtBlob.of(MemorySegment.ofArray(bytes)).tree();
    } catch (FdtException e) {
      if (e.offset().orElse(0) > bytes.length) {
        throw new AssertionError("an offset behind the blob's " + bytes.length + " bytes", e);
      }
      return;
    }
    byte[] written = tree.toBlob();
    if (!FdtBlob.of(MemorySegment.ofArray(written)).tree().equals(tree)) {
      throw new AssertionError("what was read and written again reads differently");
    }
    String source;
    try {
      source = FdtSource.print(tree);
    } catch (FdtException e) {
      return; // A blob may have names that source can't have.
    }
    if (!FdtSource.parse(source).root().equals(tree.root())) {
      throw new AssertionError("what was printed reads differently: " + source);
    }
  }
}
