package io.holdfast.vm.qemu;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

/** Which properties give a device the rings of another version's, and where they are written. */
@Promise("qemu-pairs")
class CorrectionTest {
  private static VirtioRings rings(String type, Integer... entries) {
    return new VirtioRings(type, Arrays.asList(entries));
  }

  private static Layout layout(Map<String, Layout.Virtio> virtio) {
    return new Layout(new TreeMap<>(), new TreeMap<>(virtio));
  }

  private static List<Correction> between(
      Optional<String> id, VirtioRings here, VirtioRings there) {
    return Correction.between(
        layout(Map.of("disk", new Layout.Virtio(id, here))),
        layout(Map.of("disk", new Layout.Virtio(id, there))));
  }

  @Test
  void eachTypeHasItsProperties() {
    assertThat(rings("virtio-blk", 1024, 1024).properties(rings("virtio-blk", 256, 256)))
        .isEqualTo(Map.of("queue-size", 1024));
    assertThat(rings("virtio-blk", 256).properties(rings("virtio-blk", 256, 256)))
        .isEqualTo(Map.of("queue-size", 256, "num-queues", 1));
    assertThat(
            rings("virtio-scsi", 128, 128, 128, 128)
                .properties(rings("virtio-scsi", 256, 256, 256)))
        .isEqualTo(Map.of("virtqueue_size", 128, "num_queues", 2));
    assertThat(rings("virtio-net", 1024, 256, 64).properties(rings("virtio-net", 256, 256, 64)))
        .isEqualTo(Map.of("rx_queue_size", 1024, "tx_queue_size", 256));
  }

  @Test
  void whatNoPropertyGivesIsLeftAsADifference() {
    assertThat(rings("virtio-rng", 16).properties(rings("virtio-rng", 8))).isEmpty();
    assertThat(rings("virtio-blk", 256, 128).properties(rings("virtio-blk", 256, 256))).isEmpty();
    assertThat(
            rings("virtio-net", 256, 256, 128, 256, 64)
                .properties(rings("virtio-net", 256, 256, 256, 256, 64)))
        .isEmpty();
    assertThat(rings("virtio-net", 256, 256, 64).properties(rings("virtio-net", 256, 256)))
        .as("the number of queues is the back end's")
        .isEmpty();
    assertThat(rings("virtio-blk", 256).properties(rings("virtio-scsi", 256))).isEmpty();
    assertThat(rings("virtio-blk").properties(rings("virtio-blk", 256))).isEmpty();
  }

  @Test
  void theNumberOfANetworkCardsPairsIsTheGuests() {
    List<Integer> accepted = List.of(256, 128, 256, 128, 256, 128, 64);
    assertThat(VirtioRings.shown("virtio-net", accepted))
        .isEqualTo(VirtioRings.shown("virtio-net", List.of(256, 128, 64)));
    assertThat(VirtioRings.shown("virtio-net", List.of(256, 128, 256, 64)).entries())
        .as("pairs that are not alike")
        .containsExactly(256, 128, 256, 64);
    assertThat(VirtioRings.shown("virtio-blk", List.of(256, 256)).entries()).hasSize(2);
    assertThat(VirtioRings.shown("virtio-net", List.of()).entries()).isEmpty();
  }

  @Test
  void isWrittenToTheDeviceOnce() {
    List<Correction> found =
        between(Optional.of("disk0"), rings("virtio-blk", 1024), rings("virtio-blk", 256));
    List<String> template =
        List.of("-device", "virtio-rng-pci,id=rng0", "-device", "virtio-blk-pci,id=disk0,drive=d0");
    List<String> corrected = Correction.apply(found, template);
    assertThat(corrected)
        .containsExactly(
            "-device",
            "virtio-rng-pci,id=rng0",
            "-device",
            "virtio-blk-pci,id=disk0,drive=d0,queue-size=1024");
    assertThat(Correction.apply(found, corrected)).isEqualTo(corrected);
    assertThat(between(Optional.of("disk0"), rings("virtio-blk", 512), rings("virtio-blk", 1024)))
        .singleElement()
        .satisfies(
            next ->
                assertThat(Correction.apply(List.of(next), corrected).getLast())
                    .as("in place of the property that is there")
                    .isEqualTo("virtio-blk-pci,id=disk0,drive=d0,queue-size=512"));
  }

  @Test
  void devicesWithoutAnIdAreCorrectedTogetherOrNotAtAll() {
    List<Correction> found =
        between(Optional.empty(), rings("virtio-blk", 1024), rings("virtio-blk", 256));
    assertThat(Correction.apply(found, List.of("-drive", "if=virtio")))
        .containsExactly("-drive", "if=virtio", "-global", "virtio-blk-device.queue-size=1024");
    Layout.Virtio one = new Layout.Virtio(Optional.empty(), rings("virtio-blk", 1024));
    Layout.Virtio other = new Layout.Virtio(Optional.of("b"), rings("virtio-blk", 128));
    Layout.Virtio plain = new Layout.Virtio(Optional.empty(), rings("virtio-blk", 256));
    assertThat(
            Correction.between(
                layout(Map.of("a", one, "b", other)), layout(Map.of("a", plain, "b", other))))
        .as("a default for all would change the other one")
        .isEmpty();
  }

  @Test
  void ringsAreCountedForPeople() {
    assertThat(rings("virtio-net", 256, 256, 64)).hasToString("2 × 256, 64");
    assertThat(rings("virtio-net")).hasToString("none");
  }
}
