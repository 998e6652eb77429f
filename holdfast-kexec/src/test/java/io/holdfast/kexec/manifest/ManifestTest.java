package io.holdfast.kexec.manifest;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;

import io.holdfast.core.journal.JournalText;
import io.holdfast.core.state.UpdateState;
import io.holdfast.fdt.FdtBlob;
import io.holdfast.fdt.FdtTree;
import io.holdfast.linux.InterfaceAddress;
import io.holdfast.promise.Promise;
import io.holdfast.store.ServiceBox;
import io.holdfast.store.VmId;
import io.holdfast.testkit.FormatZero;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** What travels comes back as it was, and anything else is refused before it is used. */
@Promise({"formats", "kernel-update"})
final class ManifestTest {
  private static final Manifest SAMPLE =
      new Manifest(
          "20261125-220000-kernel-1",
          new Clock(1_795_000_000_000_000_000L, 12_345, 678, 2_000_000_000L),
          List.of(
              new Manifest.CrossedBox(
                  VmId.named("web"),
                  "holdfast/web",
                  List.of(
                      new Manifest.CrossedEntry("ram", 1),
                      new Manifest.CrossedEntry("console@crossed+0", 2, OptionalLong.of(4096)))),
              new Manifest.CrossedBox(new ServiceBox("cache"), "holdfast/#2", List.of())),
          List.of(
              new Bridge(
                  "br0",
                  "52:54:00:12:34:56",
                  1400,
                  Map.of("stp_state", "0", "forward_delay", "1500"),
                  List.of(
                      InterfaceAddress.of("192.0.2.1/24"), InterfaceAddress.of("2001:db8::1/64"))),
              new Bridge("br1", "52:54:00:12:34:57", 1500, Map.of(), List.of())),
          4096,
          512);

  private static Manifest read(byte[] blob) throws IOException {
    return Manifest.of(MemorySegment.ofArray(blob));
  }

  @Test
  void comesBackAsItWas() throws IOException {
    assertThat(read(SAMPLE.toBlob())).isEqualTo(SAMPLE);
  }

  /** The memfd is larger than the tree. */
  @Test
  void whatIsBehindItIsNotLookedAt() throws IOException {
    byte[] blob = SAMPLE.toBlob();
    byte[] memfd = Arrays.copyOf(blob, blob.length + 10_000);
    Arrays.fill(memfd, blob.length, memfd.length, (byte) 0xee);
    assertThat(read(memfd)).isEqualTo(SAMPLE);
  }

  @Test
  void whatItDoesNotKnowIsIgnoredButAnotherFormatIsRefused() throws IOException {
    FdtTree tree = FdtBlob.of(MemorySegment.ofArray(SAMPLE.toBlob())).tree();
    var _ = tree.root().set("a-new-property", 7);
    var _ = tree.root().add("a-new-node").set("x", "y");
    assertThat(read(tree.toBlob())).isEqualTo(SAMPLE);

    var _ = tree.root().set("compatible", "holdfast-v1");
    assertThat(read(tree.toBlob())).as("what version 0.1.0 wrote").isEqualTo(SAMPLE);

    var _ = tree.root().set("compatible", "holdfast-v3");
    assertThatThrownBy(() -> read(tree.toBlob()))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("holdfast-v3")
        .hasMessageContaining("Nothing was taken");
  }

  /** A golden file: of a host with a VM in a bridge, and a box. */
  @Test
  @Promise("formats")
  void whatVersion010WroteIsRead() throws IOException {
    byte[] memfd = FormatZero.golden("kexec-bridge.manifest");
    Manifest manifest = read(memfd);
    assertThat(manifest.update()).isEqualTo("20261130-010203-kernel-2");
    assertThat(manifest.departed().real()).isPositive();
    assertThat(manifest.departed().monotonic()).isPositive();
    assertThat(manifest.boxes())
        .extracting(box -> box.id().text(), Manifest.CrossedBox::session)
        .containsExactly(tuple("vm1", "holdfast/vm1"), tuple("@box/cache", "holdfast/@box/cache"));
    assertThat(manifest.boxes().getFirst().entries())
        .extracting(Manifest.CrossedEntry::label)
        .contains("ram", "kernel", "initrd", "record", "device-state")
        .anyMatch(label -> label.startsWith("console@crossed+"));
    assertThat(manifest.boxes().getLast().entries())
        .containsExactly(new Manifest.CrossedEntry("index", 1));
    assertThat(manifest.bridges()).hasSize(1);
    Bridge bridge = manifest.bridges().getFirst();
    assertThat(bridge.name()).isEqualTo("br0");
    assertThat(bridge.addresses()).contains(InterfaceAddress.of("192.0.2.1/24"));
    byte[] journal =
        Arrays.copyOfRange(
            memfd,
            Math.toIntExact(manifest.journalAt()),
            Math.toIntExact(manifest.journalAt() + manifest.journalBytes()));
    assertThat(FormatZero.states(JournalText.decode(journal).records()))
        .endsWith(UpdateState.FREEZING, UpdateState.FROZEN);
  }

  @Test
  void damageIsOneKindOfFailure() {
    byte[] blob = SAMPLE.toBlob();
    long seed = Long.getLong("holdfast.seed", System.nanoTime());
    Random random = new Random(seed);
    List<Throwable> others = new ArrayList<>();
    int refused = 0;
    for (int i = 0; i < 5_000; i++) {
      byte[] damaged = blob.clone();
      for (int n = random.nextInt(4); n >= 0; n--) {
        damaged[random.nextInt(damaged.length)] = (byte) random.nextInt();
      }
      try {
        Manifest _ = read(damaged);
      } catch (IOException e) {
        refused++;
      } catch (RuntimeException e) {
        others.add(e);
      }
    }
    assertThat(others).as("seed %d", seed).isEmpty();
    assertThat(refused).as("seed %d", seed).isPositive();
  }
}
