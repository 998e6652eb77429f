package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Optional;

/**
 * Loading another kernel, and starting it in place of the running one. Needs root (CAP_SYS_BOOT).
 *
 * <p>Source: kexec_file_load(2), reboot(2).
 */
public final class Kexec {
  private static final int UNLOAD = 0x1;
  private static final int NO_INITRAMFS = 0x4;
  private static final int NO_DESCRIPTOR = -1;

  private final Calls calls;
  private final Linux linux;

  Kexec(Calls calls, Linux linux) {
    this.calls = calls;
    this.linux = linux;
  }

  /**
   * Loads a kernel, in place of one that was loaded before. Preserving memory needs no loaded
   * kernel, and goes on after it.
   *
   * @param image a bzImage
   * @param initramfs its first file system, if it has one
   * @param commandLine the whole of it; nothing of the running kernel's is added. To receive
   *     preserved state it needs {@code kho=on liveupdate=on}
   * @throws SystemCallException ENOEXEC if the file is no kernel that can be loaded, or the running
   *     kernel is not relocatable; EPERM; EBUSY while another process loads one; ENOENT, EACCES and
   *     what else opening a file can fail with; EADDRNOTAVAIL, ENOMEM if there is no room; EINVAL
   *     if the command line is too long
   */
  public void load(Path image, Optional<Path> initramfs, String commandLine) {
    try (Fd kernel = linux.open(image)) {
      if (initramfs.isEmpty()) {
        load(kernel, Optional.empty(), commandLine);
        return;
      }
      try (Fd initrd = linux.open(initramfs.get())) {
        load(kernel, Optional.of(initrd), commandLine);
      }
    }
  }

  /**
   * As {@link #load(Path, Optional, String)}, of files that are open.
   *
   * @param kernel a bzImage, borrowed
   * @param initramfs borrowed
   */
  public void load(Fd kernel, Optional<Fd> initramfs, String commandLine) {
    load(
        kernel,
        initramfs.map(Fd::number).orElse(NO_DESCRIPTOR),
        initramfs.isEmpty() ? NO_INITRAMFS : 0,
        commandLine);
  }

  private void load(Fd kernel, int initramfs, int flags, String commandLine) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment text = Field.string(arena, commandLine);
      // The length counts the NUL that ends it.
      int bytes = commandLine.getBytes(StandardCharsets.UTF_8).length + 1;
      calls.on(Call.KEXEC_FILE_LOAD, kernel, initramfs, bytes, text.address(), flags);
    }
  }

  /**
   * Unloads the kernel that was loaded; does nothing if there is none.
   *
   * @throws SystemCallException EPERM; EBUSY while another process loads one
   */
  public void unload() {
    calls.make(Call.KEXEC_FILE_LOAD, "(unload)", NO_DESCRIPTOR, NO_DESCRIPTOR, 0, 0, UNLOAD);
  }

  /**
   * Starts the loaded kernel, at once: no service is stopped, nothing is written to disk, no file
   * system unmounted. What outgoing sessions preserve is handed over. Returns only by an exception.
   *
   * @throws SystemCallException EINVAL if none is loaded, or a preserved file refused to be frozen;
   *     EBUSY while another process loads one; EPERM. The running kernel goes on then
   */
  public void execute() {
    linux.reboot(Reboot.KEXEC);
  }
}
