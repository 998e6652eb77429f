package io.holdfast.benchmarks;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * A file whose storage can stall, as that of a network file system whose server hangs: the FUSE
 * export of a real {@code qemu-storage-daemon} (qemu-storage-daemon(1)), which SIGSTOP stops.
 */
final class StallingFile implements AutoCloseable {
  private final Process daemon;
  private final Path path;

  private StallingFile(Process daemon, Path path) {
    this.daemon = daemon;
    this.path = path;
  }

  /** Shows the bytes of {@code file} in another file beside it. */
  static StallingFile over(Path file) throws IOException {
    Path path = Files.createFile(file.resolveSibling("stalling-" + file.getFileName()));
    Path log = file.resolveSibling("storage-daemon.log");
    Process daemon =
        new ProcessBuilder(
                List.of(
                    "qemu-storage-daemon",
                    "--blockdev",
                    "driver=file,node-name=image,filename=" + file,
                    "--export",
                    "type=fuse,id=export,node-name=image,writable=on,growable=on,mountpoint="
                        + path))
            .redirectErrorStream(true)
            .redirectOutput(log.toFile())
            .start();
    StallingFile made = new StallingFile(daemon, path);
    boolean done = false;
    try {
      long bytes = Files.size(file);
      // In whole sectors.
      Host.await("the export of " + file, () -> shown(daemon, path, log) >= bytes);
      done = true;
      return made;
    } finally {
      if (!done) {
        made.close();
      }
    }
  }

  private static long shown(Process daemon, Path path, Path log) {
    try {
      if (!daemon.isAlive()) {
        throw new AssertionError("qemu-storage-daemon ended: " + Files.readString(log));
      }
      return Files.size(path);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  Path path() {
    return path;
  }

  /** From now on whoever reads, writes or syncs the file waits. */
  void stall() {
    signal("-STOP", daemon.pid());
  }

  /** The storage answers again. */
  void goOn() {
    signal("-CONT", daemon.pid());
  }

  /** Sends a signal to a process. */
  static void signal(String signal, long pid) {
    try {
      int status = new ProcessBuilder("kill", signal, Long.toString(pid)).start().waitFor();
      if (status != 0) {
        throw new AssertionError("kill " + signal + " " + pid + ": status " + status);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new AssertionError(e);
    }
  }

  /** Ends the daemon, which unmounts the file. */
  @Override
  public void close() {
    if (daemon.isAlive()) {
      goOn();
    }
    daemon.destroy();
    Host.await("the end of qemu-storage-daemon", () -> !daemon.isAlive());
  }
}
