package io.holdfast.vm.adopt;

import io.holdfast.vm.option.QemuCommand;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What a running QEMU said of itself, and what /proc says of it, as far as its command line alone
 * does not tell.
 *
 * @param command its command line
 * @param directory its working directory, against which relative paths are meant
 * @param machine the versioned machine type that it really has
 * @param accelerator what really runs its CPUs: {@code kvm} or {@code tcg}
 * @param cpu the CPU that its guest has, as {@code -cpu} takes it
 * @param fdSets the numbers of its descriptors by fd set ({@code query-fdsets})
 * @param listeners the numbers of its listening sockets: {@code unix:PATH} or {@code tcp:PORT}
 * @param console where what has no terminal any more is written to; empty if successors may not
 *     write there
 */
record RunningQemu(
    QemuCommand command,
    Path directory,
    String machine,
    String accelerator,
    String cpu,
    Map<Long, List<Integer>> fdSets,
    Map<String, Integer> listeners,
    Optional<Path> console) {
  Optional<Integer> listener(String address) {
    return Optional.ofNullable(listeners.get(address));
  }
}
