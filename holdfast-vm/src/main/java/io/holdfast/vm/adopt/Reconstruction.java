package io.holdfast.vm.adopt;

import io.holdfast.core.participant.Obstacle;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * How every successor of an adopted QEMU is started, and what there is against it.
 *
 * @param arguments the template, as {@link io.holdfast.vm.spec.CommandLine} explains; of no use if
 *     there are obstacles
 * @param memoryBackend the id of the memory backend that is the guest's RAM
 * @param sources where the descriptors that it names come from, by label
 * @param firstLosses what ends with the first update
 * @param losses what is lost in every update
 */
record Reconstruction(
    List<String> arguments,
    Optional<String> memoryBackend,
    Map<String, Source> sources,
    List<String> firstLosses,
    List<String> losses,
    List<Obstacle> obstacles) {
  /** Where a descriptor comes from. */
  sealed interface Source {}

  /** It is this one of the running QEMU's. */
  record Taken(int number) implements Source {}

  /** A file that is opened now, and stays that file whatever happens to its name. */
  record Opened(Path path) implements Source {}
}
