package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.nio.file.Path;

/** Writing file systems out, and unmounting them. Source: mount(2), umount2(2), sync(2). */
public final class Mounts {
  private static final int MS_RDONLY = 0x1;
  private static final int MS_REMOUNT = 0x20;
  private static final int UMOUNT_NOFOLLOW = 0x8;

  private final Calls calls;

  Mounts(Calls calls) {
    this.calls = calls;
  }

  /** Writes out what is cached of all file systems, and returns when it is there. */
  public void sync() {
    calls.make(Call.SYNC, "all file systems");
  }

  /**
   * Unmounts a file system.
   *
   * @throws SystemCallException EBUSY while something of it is open; EPERM; EINVAL if nothing is
   *     mounted there
   */
  public void unmount(Path at) {
    try (Arena arena = Arena.ofConfined()) {
      calls.make(
          Call.UMOUNT2,
          at.toString(),
          Field.string(arena, at.toString()).address(),
          UMOUNT_NOFOLLOW);
    }
  }

  /**
   * Makes a mounted file system read only.
   *
   * @throws SystemCallException EBUSY while a file of it is open for writing; EPERM; EINVAL
   */
  public void makeReadOnly(Path at) {
    try (Arena arena = Arena.ofConfined()) {
      calls.make(
          Call.MOUNT,
          at + " (read only)",
          0,
          Field.string(arena, at.toString()).address(),
          0,
          MS_REMOUNT | MS_RDONLY,
          0);
    }
  }
}
