package io.holdfast.host.qemu;

import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * What a guest waits for goes before everything else that wants a processor, the vCPUs of other
 * guests above all: in the blackout, the calling thread, and the first threads of both QEMUs, which
 * stop, save, load and start it. Only as far as this process may (CAP_SYS_NICE); without it all is
 * as usual.
 */
final class Hurry implements AutoCloseable {
  /** The most readily a thread can get a processor short of being real-time. */
  static final int MOST = -20;

  private static final int USUAL = 0;

  private final Linux linux;

  /**
   * The calling thread hurries, until this is closed by it; what it starts meanwhile would, too.
   */
  Hurry(Linux linux) {
    this.linux = linux;
    boolean _ = linux.nice(0, MOST);
  }

  @Override
  public void close() {
    boolean _ = linux.nice(0, USUAL);
  }

  /** A process's first thread hurries; its other threads stay as they are, those it starts do. */
  static void hurry(Linux linux, QemuProcess process) {
    boolean _ = linux.nice(process.identity().pid(), MOST);
  }

  /**
   * All threads of a process are as usual: its first, and those that this started while it hurried,
   * such as its workers for disks.
   */
  static void relax(Linux linux, QemuProcess process) {
    Path tasks = Path.of("/proc/" + process.identity().pid() + "/task");
    try (DirectoryStream<Path> threads = Files.newDirectoryStream(tasks)) {
      for (Path thread : threads) {
        boolean _ = linux.nice(Integer.parseInt(thread.getFileName().toString()), USUAL);
      }
    } catch (IOException | DirectoryIteratorException e) {
      // It has ended: there is nothing left to relax.
      System.getLogger(Hurry.class.getName()).log(System.Logger.Level.DEBUG, "relaxing", e);
    }
  }
}
