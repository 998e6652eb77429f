package io.holdfast.host.qemu;

import io.holdfast.linux.Linux;

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

  /** A process's first thread is as usual. */
  static void relax(Linux linux, QemuProcess process) {
    boolean _ = linux.nice(process.identity().pid(), USUAL);
  }
}
