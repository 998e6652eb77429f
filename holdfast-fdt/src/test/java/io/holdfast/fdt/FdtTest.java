package io.holdfast.fdt;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.promise.Promise;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Blobs, trees and source: what was built is read, and what is wrong is one exception. */
final class FdtTest {
  /** Another one each night: tools/nightly. */
  private static final long FIRST_SEED = Long.getLong("holdfast.seed", 0);

  private static final int SEEDS = 300;

  private static FdtTree example() {
    FdtTree tree =
        new FdtTree(
            3, List.of(new FdtReservation(0x1000, 0x2000)), FdtTree.of("holdfast-v1").root());
    FdtNode box = tree.root().add("box@1");
    var _ = box.set("label", "say \"a\\b\"").set("size", 1L << 40).set("kind", 7);
    var _ = box.set("empty", new byte[0]).set("bytes", new byte[] {1, (byte) 0xff, 0});
    var _ =
        box.add("entry")
            .set("names", "a\u0000b\u0000".getBytes(java.nio.charset.StandardCharsets.US_ASCII));
    var _ = tree.root().add("box@2");
    return tree;
  }

  private static FdtBlob blob(byte[] bytes) {
    return FdtBlob.of(MemorySegment.ofArray(bytes));
  }

  @Test
  @Promise("device-trees")
  void whatWasBuiltIsRead() {
    FdtTree tree = example();
    byte[] bytes = tree.toBlob();
    FdtTree read = blob(bytes).tree();
    assertThat(read).isEqualTo(tree);
    assertThat(read.toBlob()).isEqualTo(bytes);
    FdtNode box = read.root().child("box@1").orElseThrow();
    assertThat(box.property("size").orElseThrow().u64()).isEqualTo(1L << 40);
    assertThat(box.property("kind").orElseThrow().u32()).isEqualTo(7);
    assertThat(box.property("label").orElseThrow().string()).isEqualTo("say \"a\\b\"");
    assertThat(box.child("entry").orElseThrow().property("names").orElseThrow().strings())
        .containsExactly("a", "b");
  }

  @Test
  @Promise("device-trees")
  void itIsPrintedAsSource() {
    assertThat(FdtSource.print(example()))
        .isEqualTo(
            """
            /dts-v1/;
            /memreserve/ 0x1000 0x2000;

            / {
            \tcompatible = "holdfast-v1";

            \tbox@1 {
            \t\tlabel = "say \\"a\\\\b\\"";
            \t\tsize = <0x00000100 0x00000000>;
            \t\tkind = <0x00000007>;
            \t\tempty;
            \t\tbytes = [01 ff 00];

            \t\tentry {
            \t\t\tnames = "a", "b";
            \t\t};
            \t};

            \tbox@2 {
            \t};
            };
            """);
  }

  static FdtTree random(Random random) {
    FdtTree tree = FdtTree.of("random");
    grow(tree.root(), random, 1);
    return tree;
  }

  private static void grow(FdtNode node, Random random, int depth) {
    for (int i = random.nextInt(5); i > 0; i--) {
      byte[] value = new byte[random.nextInt(20)];
      random.nextBytes(value);
      var _ = node.set("p" + random.nextInt(8), value);
    }
    for (int i = random.nextInt(depth < 6 ? 4 : 1); i > 0; i--) {
      grow(node.add("n" + random.nextInt(1000) + "@" + i), random, depth + 1);
    }
  }

  @Test
  @Promise("device-trees")
  void randomTreesComeBack() {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      FdtTree tree = random(new Random(seed));
      assertThat(blob(tree.toBlob()).tree()).as("seed %d", seed).isEqualTo(tree);
    }
  }

  /** Bytes changed, cut off and added at random: each is read or refused, and nothing else. */
  @Test
  @Promise("device-trees")
  void damagedBlobsAreRefusedOrRead() {
    int read = 0;
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 40 * SEEDS; seed++) {
      Random random = new Random(seed);
      byte[] bytes = random(random).toBlob();
      for (int i = random.nextInt(4); i >= 0; i--) {
        switch (random.nextInt(3)) {
          case 0 -> bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
          case 1 ->
              ByteBuffer.wrap(bytes)
                  .putInt(4 * random.nextInt(bytes.length / 4), random.nextInt(64));
          default ->
              bytes =
                  java.util.Arrays.copyOf(bytes, Math.max(8, bytes.length - random.nextInt(16)));
        }
      }
      try {
        FdtTree tree = blob(bytes).tree();
        assertThat(blob(tree.toBlob()).tree()).as("seed %d", seed).isEqualTo(tree);
        read++;
      } catch (FdtException e) {
        assertThat(e.offset()).as("seed %d", seed).isPresent();
        assertThat(e.offset().getAsLong()).as("seed %d", seed).isLessThanOrEqualTo(bytes.length);
      }
    }
    // Otherwise it would only ever have tested the refusals of the header.
    assertThat(read).isPositive();
  }

  static Stream<Arguments> damages() {
    return Stream.of(
        damage("no magic", 0, 1, "magic number"),
        damage("larger than what is there", 4, 10_000, "total size"),
        damage("smaller than a header", 4, 8, "total size"),
        damage("structure not aligned", 8, 58, "not 4-aligned"),
        damage("structure outside", 8, 0x7ffffffc, "not between header and end"),
        damage("strings in the header", 12, 4, "not between header and end"),
        damage("strings in the structure", 12, 60, "overlap"),
        damage("reservations not aligned", 16, 44, "not 8-aligned"),
        damage("reservations without an end", 16, 56, "no end"),
        damage("too new", 24, 18, "version"),
        damage("too old", 20, 16, "version"),
        damage("strings too long", 32, -1, "not between header and end"),
        damage("structure too short", 36, 8, "ends without FDT_END"),
        damage("structure empty", 36, 0, "empty"),
        damage("no token", 56, 17, "no token"),
        damage("a property first", 56, 3, "outside of the root"),
        damage("an end first", 56, 2, "did not begin"),
        damage("nothing but the end", 56, 9, "no root"),
        damage("a root with a name", 60, 0x61000000, "root has a name"),
        damage("a value too long", 68, 0x7fffffff, "beyond the structure block"),
        damage("a value of 4 GiB", 68, -1, "beyond the structure block"),
        damage("a name outside of the strings", 72, 99, "strings block"));
  }

  private static Arguments damage(String what, int at, int value, String message) {
    Consumer<ByteBuffer> how = bytes -> bytes.putInt(at, value);
    return Arguments.of(what, how, message);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("damages")
  @Promise("device-trees")
  void eachDamageIsNamed(String what, Consumer<ByteBuffer> how, String message) {
    byte[] bytes = FdtTree.of("x").toBlob();
    how.accept(ByteBuffer.wrap(bytes));
    assertThatThrownBy(() -> blob(bytes))
        .as(what)
        .isInstanceOf(FdtException.class)
        .hasMessageContaining(message);
  }

  @Test
  @Promise("device-trees")
  void emptyAndTruncated() {
    byte[] bytes = example().toBlob();
    for (int length = 0; length < bytes.length; length++) {
      MemorySegment cut = MemorySegment.ofArray(bytes).asSlice(0, length);
      assertThatThrownBy(() -> FdtBlob.of(cut)).isInstanceOf(FdtException.class);
    }
  }

  @Test
  @Promise("device-trees")
  void tooDeep() {
    FdtTree tree = FdtTree.of("deep");
    FdtNode node = tree.root();
    for (int depth = 1; depth < FdtBlob.MAX_DEPTH; depth++) {
      node = node.add("n");
    }
    assertThat(blob(tree.toBlob()).tree().toBlob()).isEqualTo(tree.toBlob());
    var _ = node.add("n");
    assertThatThrownBy(tree::toBlob).isInstanceOf(FdtException.class).hasMessageContaining("deep");
  }

  @Test
  void wrongUseIsNamed() {
    FdtNode root = FdtTree.of("x").root();
    var _ = root.add("a");
    assertThatThrownBy(() -> root.add("a")).hasMessageContaining("has a child a already");
    assertThatThrownBy(() -> root.add("a/b")).hasMessageContaining("no node's name");
    assertThatThrownBy(() -> root.set("", 1)).hasMessageContaining("no property's name");
    FdtProperty compatible = root.property("compatible").orElseThrow();
    assertThatThrownBy(compatible::u32).hasMessageContaining("has 2 bytes, not 4");
    var _ = root.set("n", 1);
    assertThatThrownBy(() -> root.property("n").orElseThrow().string())
        .hasMessageContaining("does not end with a NUL");
  }
}
