package io.holdfast.kexec.arrive;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.kexec.arrive.ManifestSearch.Named;
import io.holdfast.kexec.manifest.Clock;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.kho.memory.MemoryArena;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.store.VmId;
import java.lang.foreign.MemorySegment;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * A manifest is found in memory, whole or by its first page, and an old one is not taken for it.
 */
@Promise("kernel-arrival")
class ManifestSearchTest {
  private static final int PAGE = 4096;
  private static final Duration LONG = Duration.ofMinutes(1);
  private final Linux linux = Linux.system();
  private final byte[] bytes = new byte[3 << 20];

  private static Manifest manifest(Clock departed, int boxes) {
    List<Manifest.CrossedBox> all = new ArrayList<>();
    for (int i = 0; i < boxes; i++) {
      all.add(
          new Manifest.CrossedBox(
              VmId.of("vm" + i + "~1.0123456789abcdef"),
              "holdfast/vm" + i,
              List.of(
                  new Manifest.CrossedEntry("ram", 1, OptionalLong.of(1L << 30)),
                  new Manifest.CrossedEntry("record", 2, OptionalLong.of(9000)))));
    }
    return new Manifest("20261130-000000-kernel-1", departed, all, List.of(), 0, 0);
  }

  /** Just before this kernel's clock began. */
  private Clock departed() {
    Clock now = Clock.now(linux);
    return new Clock(now.real() - now.monotonic() - 2_000_000_000L, 1, 0, 0);
  }

  private ManifestSearch.Found search() {
    return ManifestSearch.search(
        linux, new MemoryArena(1 << 20, MemorySegment.ofArray(bytes), List.of()), LONG);
  }

  private void put(byte[] blob, int page) {
    System.arraycopy(blob, 0, bytes, page * PAGE, blob.length);
  }

  @Test
  void namesEachBoxOfAManifestThatLiesInOnePiece() {
    new Random(1).nextBytes(bytes);
    put(manifest(departed(), 12).toBlob(), 300);
    ManifestSearch.Found found = search();
    assertThat(found.update()).contains("20261130-000000-kernel-1");
    assertThat(found.whole()).isTrue();
    assertThat(found.boxes())
        .hasSize(12)
        .contains(new Named("vm0", OptionalLong.of(1L << 30)))
        .contains(new Named("vm11", OptionalLong.of(1L << 30)));
  }

  @Test
  void namesTheBoxesOfTheFirstPageWhereTheOthersLieElsewhere() {
    new Random(2).nextBytes(bytes);
    byte[] blob = manifest(departed(), 40).toBlob();
    assertThat(blob.length).isGreaterThan(2 * PAGE);
    put(java.util.Arrays.copyOf(blob, PAGE), 511);
    ManifestSearch.Found found = search();
    assertThat(found.update()).contains("20261130-000000-kernel-1");
    assertThat(found.whole()).isFalse();
    assertThat(found.boxes())
        .hasSizeGreaterThan(5)
        .hasSizeLessThan(40)
        .contains(new Named("vm0", OptionalLong.empty()));
  }

  @Test
  void leavesOutManifestsOfEarlierUpdatesAndWhatIsNone() {
    Clock now = Clock.now(linux);
    Clock earlier = new Clock(now.real() - now.monotonic() - 3_600_000_000_000L, 1, 0, 0);
    put(manifest(earlier, 1).toBlob(), 7);
    put(manifest(earlier, 40).toBlob(), 100);
    put(new byte[] {(byte) 0xd0, 0x0d, (byte) 0xfe, (byte) 0xed, 1, 2, 3}, 600);
    ManifestSearch.Found found = search();
    assertThat(found.update()).isEmpty();
    assertThat(found.complete()).isTrue();
    assertThat(found.searched()).isEqualTo(bytes.length);
    put(manifest(departed(), 2).toBlob(), 650);
    assertThat(search().boxes()).hasSize(2);
  }

  @Test
  void endsInTime() {
    ManifestSearch.Found found =
        ManifestSearch.search(
            linux,
            new MemoryArena(0, MemorySegment.ofArray(bytes), List.of()),
            Duration.ofNanos(-1));
    assertThat(found.update()).isEmpty();
    assertThat(found.complete()).isFalse();
  }
}
