package io.holdfast.benchmarks;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;

/**
 * Another program that locks a whole file by fcntl(2), as one does that makes a backup. It waits
 * for {@link #lock}, in a process of its own, and has the lock until it is closed.
 */
final class LockedFile implements AutoCloseable {
  private final Process process;
  private final Path go;
  private final Path locked;

  private LockedFile(Process process, Path go, Path locked) {
    this.process = process;
    this.go = go;
    this.locked = locked;
  }

  /**
   * Starts it.
   *
   * @param write whether nobody else may have a lock, in place of a write lock only
   * @param start the first byte of the lock
   * @param length in bytes
   */
  static LockedFile of(Path file, boolean write, long start, long length) throws IOException {
    Path go = file.resolveSibling("lock-now");
    Path locked = file.resolveSibling("locked");
    List<String> command =
        Jvm.command(
            "io.holdfast.benchmarks",
            LockedFile.class.getName(),
            List.of("-XX:TieredStopAtLevel=1"),
            List.of(
                file.toString(),
                Boolean.toString(write),
                Long.toString(start),
                Long.toString(length),
                go.toString(),
                locked.toString()));
    Process process =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    return new LockedFile(process, go, locked);
  }

  /** A shell's commands that have it lock the file, and wait for that. */
  String commands() {
    return "touch '%s'; while [ ! -e '%s' ]; do sleep 0.05; done".formatted(go, locked);
  }

  /** Has it lock the file. */
  void lock() throws IOException {
    Files.createFile(go);
    Host.await("the lock of process " + pid(), () -> Files.exists(locked));
  }

  long pid() {
    return process.pid();
  }

  @Override
  public void close() throws IOException {
    process.destroyForcibly();
    Host.await("the end of process " + pid(), () -> !process.isAlive());
    Files.deleteIfExists(go);
    Files.deleteIfExists(locked);
  }

  /** Waits, locks, and waits until it is killed. */
  public static void main(String[] args) throws IOException, InterruptedException {
    boolean write = Boolean.parseBoolean(args[1]);
    try (FileChannel file =
        FileChannel.open(Path.of(args[0]), StandardOpenOption.READ, StandardOpenOption.WRITE)) {
      Host.await("the word", () -> Files.exists(Path.of(args[4])));
      try (FileLock _ = file.lock(Long.parseLong(args[2]), Long.parseLong(args[3]), !write)) {
        Path _ = Files.createFile(Path.of(args[5]));
        new java.util.concurrent.CountDownLatch(1).await();
      }
    }
  }
}
