package io.holdfast.fdt;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Source: what is printed reads the same, by us and by dtc. */
final class FdtSourceTest {
  /** Another one each night: tools/nightly. */
  private static final long FIRST_SEED = Long.getLong("holdfast.seed", 0);

  private static final Path DTC = Path.of("/usr/bin/dtc");

  @Test
  @Promise("device-trees")
  void whatIsPrintedReadsTheSame() {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 300; seed++) {
      FdtTree tree = FdtTest.random(new Random(seed));
      assertThat(FdtSource.parse(FdtSource.print(tree))).as("seed %d", seed).isEqualTo(tree);
    }
  }

  @Test
  @Promise("device-trees")
  void namesThatSourceCanNotHaveAreRefused() {
    FdtTree tree = FdtTree.of("x");
    var _ = tree.root().set("a;b", 1);
    assertThatThrownBy(() -> FdtSource.print(tree)).hasMessageContaining("\"a;b\" can't be a name");
    FdtTree other = FdtTree.of("x");
    var _ = other.root().add("n{");
    assertThatThrownBy(() -> FdtSource.print(other)).hasMessageContaining("\"n{\" can't be a name");
  }

  @Test
  @Promise("device-trees")
  void whatPeopleWrite() {
    FdtTree tree =
        FdtSource.parse(
            """
            /dts-v1/; // version
            /memreserve/ 0x1000 4096;
            / { /* the root */
              compatible = "a", "b\\n\\x41\\"";
              label: node@1 {
                mixed = <1 0x2>, [ab cd 12], "s";
                small = /bits/ 8 <1 2>, /bits/ 64 <0x100000000>;
                flag;
              };
            };
            """);
    assertThat(tree.reservations()).containsExactly(new FdtReservation(0x1000, 4096));
    assertThat(tree.root().property("compatible").orElseThrow().strings())
        .containsExactly("a", "b\nA\"");
    FdtNode node = tree.root().child("node@1").orElseThrow();
    assertThat(node.property("mixed").orElseThrow().bytes())
        .containsExactly(0, 0, 0, 1, 0, 0, 0, 2, 0xab, 0xcd, 0x12, 's', 0);
    assertThat(node.property("small").orElseThrow().bytes())
        .containsExactly(1, 2, 0, 0, 0, 1, 0, 0, 0, 0);
    assertThat(node.property("flag").orElseThrow().size()).isZero();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "/ { };                          | line 1, column 1 | expected /dts-v1/",
        "/dts-v1/; / { a = <&b>; };      | line 1, column 20 | references",
        "/dts-v1/; / { a = <0x1ffffffff>; }; | column 20 | more than 32 bits",
        "/dts-v1/; / { a = 1; };         | column 19 | a value is",
        "/dts-v1/; / { a = [a]; };       | column 20 | two hexadecimal digits",
        "/dts-v1/; / { a = \"x; };       | the end | a string has no end",
        "/dts-v1/; / { a; a; };          | column 18 | a second property a",
        "/dts-v1/; / { n { }; n { }; };  | column 22 | has a child n already",
        "/dts-v1/; / { n { }; a; };      | column 22 | behind a child",
        "/dts-v1/; / { n { };            | the end | a name, or }",
        "/dts-v1/; / { a%b; };           | column 15 | letters, digits and any of",
        "/dts-v1/; /memreserve/ 0 00; / { }; | column 24 | reservation of nothing at 0",
        "/dts-v1/; / { }; x              | column 18 | behind the root",
        "/dts-v1/; / { }; /* x           | column 18 | a comment has no end"
      })
  @Promise("device-trees")
  void whatCanNotBeReadIsNamed(String source, String where, String why) {
    assertThatThrownBy(() -> FdtSource.parse(source))
        .isInstanceOf(FdtException.class)
        .hasMessageContaining(where)
        .hasMessageContaining(why);
  }

  /** Both ways: dtc's blob and source are read as ours, ours as dtc's. */
  @Test
  @Promise("device-trees")
  void dtcReadsTheSame(@TempDir Path folder) throws IOException, InterruptedException {
    assumeTrue(Files.isExecutable(DTC), "needs dtc, of Debian's package device-tree-compiler");
    Path ours = folder.resolve("ours.dts");
    Path blob = folder.resolve("dtc.dtb");
    Path source = folder.resolve("dtc.dts");
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 20; seed++) {
      FdtTree tree = FdtTest.random(new Random(seed));
      Files.writeString(ours, FdtSource.print(tree));
      dtc("dts", ours, "dtb", blob);
      FdtTree compiled = FdtBlob.of(MemorySegment.ofArray(Files.readAllBytes(blob))).tree();
      assertThat(compiled).as("seed %d", seed).isEqualTo(tree);
      Files.write(blob, tree.toBlob());
      dtc("dtb", blob, "dts", source);
      FdtTree printed = FdtSource.parse(Files.readString(source));
      assertThat(printed).as("seed %d", seed).isEqualTo(tree);
    }
  }

  private static void dtc(String from, Path in, String to, Path out)
      throws IOException, InterruptedException {
    Process dtc =
        new ProcessBuilder(
                List.of(
                    DTC.toString(),
                    "-q",
                    "-q",
                    "-I",
                    from,
                    "-O",
                    to,
                    "-o",
                    out.toString(),
                    in.toString()))
            .redirectErrorStream(true)
            .start();
    String said =
        new String(dtc.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
    assertThat(dtc.waitFor()).as("dtc: %s", said).isZero();
  }
}
