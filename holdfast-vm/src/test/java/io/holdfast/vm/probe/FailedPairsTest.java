package io.holdfast.vm.probe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.promise.Promise;
import io.holdfast.vm.probe.FailedPairs.Pair;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

@Promise("qemu-pairs")
class FailedPairsTest {
  private static final String WHEN = "2026-11-29T08:00:00Z";
  private static final String WHY = "VQ 0 vring.num 1024 exceeds\nallocated max 256";

  private static final Pair PAIR =
      new Pair(
          new BinaryIdentity("(dev=fe01,ino=1)", 100, 1000),
          new BinaryIdentity("(dev=fe01,ino=2)", 200, 2000),
          "pc-q35-7.2",
          new TreeSet<>(List.of("isa-i8259", "virtio-blk-device")));

  @TempDir private Path directory;

  private FailedPairs pairs = new FailedPairs(Path.of("/nowhere"));

  @BeforeEach
  void fresh() {
    pairs = new FailedPairs(directory);
  }

  @Test
  void nothingIsRememberedAtFirst() {
    assertThat(pairs.read()).isEqualTo(new FailedPairs.Contents(List.of(), List.of()));
  }

  @Test
  void anotherAgentKnowsWhatFailed() throws IOException {
    pairs.add(PAIR, WHEN, WHY);
    assertThat(new FailedPairs(directory).read().of(PAIR))
        .contains(new FailedPairs.Failure(PAIR, WHEN, WHY, 1));
  }

  @Test
  void otherBinariesMachinesAndDevicesAreOtherPairs() throws IOException {
    pairs.add(PAIR, WHEN, WHY);
    TreeSet<String> more = new TreeSet<>(PAIR.devices());
    more.add("scsi-hd");
    FailedPairs.Contents contents = pairs.read();
    for (Pair other :
        List.of(
            new Pair(PAIR.to(), PAIR.from(), PAIR.machine(), PAIR.devices()),
            new Pair(
                PAIR.from(),
                new BinaryIdentity("(dev=fe01,ino=2)", 200, 2001),
                PAIR.machine(),
                PAIR.devices()),
            new Pair(PAIR.from(), PAIR.to(), "pc-q35-9.0", PAIR.devices()),
            new Pair(PAIR.from(), PAIR.to(), PAIR.machine(), more))) {
      assertThat(contents.of(other)).isEmpty();
    }
  }

  @Test
  void aPairWhoseLineIsRemovedMayBeTriedAgain() throws IOException {
    pairs.add(new Pair(PAIR.to(), PAIR.from(), PAIR.machine(), PAIR.devices()), WHEN, WHY);
    pairs.add(PAIR, WHEN, WHY);
    int line = pairs.read().of(PAIR).orElseThrow().line();
    List<String> lines = new ArrayList<>(Files.readAllLines(pairs.file()));
    lines.remove(line - 1);
    Files.write(pairs.file(), lines);
    assertThat(pairs.read().of(PAIR)).isEmpty();
    assertThat(pairs.read().failures()).hasSize(1);
  }

  @Test
  void whatIsDamagedIsToldAndStays() throws IOException {
    pairs.add(PAIR, WHEN, WHY);
    String before = Files.readString(pairs.file()) + "{\"when\":\"2026\"}\n{\"from\":";
    Files.writeString(pairs.file(), before);
    Pair other = new Pair(PAIR.to(), PAIR.from(), PAIR.machine(), PAIR.devices());
    pairs.add(other, WHEN, WHY);
    FailedPairs.Contents contents = pairs.read();
    assertThat(contents.of(PAIR)).isPresent();
    assertThat(contents.of(other).orElseThrow().line()).isEqualTo(4);
    assertThat(contents.complaints())
        .satisfiesExactly(
            second -> assertThat(second).contains("line 2 of " + pairs.file() + " is damaged"),
            third -> assertThat(third).contains("line 3 of " + pairs.file() + " is damaged"));
    assertThat(Files.readString(pairs.file())).startsWith(before + "\n");
  }

  @Test
  void aFileThatCanNotBeReadIsToldAndNotReplaced() throws IOException {
    Files.createDirectory(pairs.file());
    assertThat(pairs.read().complaints())
        .singleElement()
        .asString()
        .contains(pairs.file() + " can't be read");
    assertThatThrownBy(() -> pairs.add(PAIR, WHEN, WHY)).isInstanceOf(IOException.class);
    assertThat(pairs.file()).isDirectory();
  }
}
