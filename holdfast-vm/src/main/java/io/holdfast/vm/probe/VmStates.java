package io.holdfast.vm.probe;

import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.ExitStatus;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.Protection;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SpawnRequest;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.vm.qemu.Launch;
import io.holdfast.vm.qemu.QemuLog;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Asks QEMU binaries for the formats of their device state ({@link VmState}), by running each once
 * without a machine. Answers are kept as long as the file stays the same.
 */
final class VmStates {
  private static final Duration DUMP = Duration.ofSeconds(20);

  /** The number under which the binary has the file that it writes. */
  private static final int DUMPED = 3;

  private final Launch launch;
  private final Map<Key, VmState> known = new ConcurrentHashMap<>();

  private record Key(BinaryIdentity identity, String machine) {}

  VmStates(Launch launch) {
    this.launch = launch;
  }

  /**
   * The formats of a binary.
   *
   * @param path of the binary
   * @param machine its machine type
   * @throws IOException if it does not tell them, with what it printed
   */
  VmState of(String path, String machine) throws IOException {
    Key key = new Key(BinaryIdentity.of(path), machine);
    VmState before = known.get(key);
    if (before != null) {
      return before;
    }
    // As what a probe leaves: the next agent removes it.
    Path log =
        launch
            .scratch()
            .resolve(
                "probe-" + Thread.currentThread().threadId() + "-" + System.nanoTime() + ".log");
    try {
      VmState found = VmState.parse(dump(path, machine, log));
      known.put(key, found);
      return found;
    } catch (SystemCallException e) {
      throw new IOException(e.getMessage(), e);
    } finally {
      WholeFile.deleteQuietly(log);
    }
  }

  private String dump(String path, String machine, Path log) throws IOException {
    Linux linux = launch.linux();
    List<String> command =
        launch.command(
            List.of(
                path,
                "-machine",
                machine,
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-dump-vmstate",
                "/proc/self/fd/" + DUMPED));
    // Not a file of the directory, which may be closed to whom the binary runs as.
    try (Fd dump = linux.memfd("vmstate", 0);
        Fd output = linux.open(log, OpenFlag.CREATE, OpenFlag.WRITE);
        ChildProcess child =
            linux.spawn(
                SpawnRequest.of(command)
                    .withInherited(Map.of(DUMPED, dump))
                    .withOutput(output)
                    .endingWithParent())) {
      Optional<ExitStatus> end = child.waitFor(DUMP);
      if (end.isEmpty()) {
        var _ = child.pidfd().signal(Signal.KILL);
        var _ = child.waitFor();
        throw new IOException(path + " took longer than " + DUMP.toSeconds() + " s to tell them");
      }
      if (!end.get().success()) {
        throw new IOException(
            path + " " + end.get() + QemuLog.gist(log).map(said -> ", saying: " + said).orElse(""));
      }
      try (Mapping mapping = linux.map(dump, 0, linux.size(dump), Protection.READ)) {
        return new String(mapping.segment().toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8);
      }
    }
  }
}
