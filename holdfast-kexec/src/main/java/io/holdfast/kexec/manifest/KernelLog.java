package io.holdfast.kexec.manifest;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.OptionalLong;

/** What the kernel has said since its start, as far as it is still in its buffer. */
public final class KernelLog {
  /** One record at most; the kernel's own limit is less (kernel/printk, PRINTKRB_RECORD_MAX). */
  private static final int RECORD = 8192;

  private KernelLog() {}

  /**
   * When the kernel ran the first program: the end of its own boot. Not what /proc/1/stat says,
   * which is when that process was made, before any driver was started.
   *
   * @return nanoseconds since the kernel's start, as {@link System#nanoTime} counts; empty if it
   *     can't be told
   */
  public static OptionalLong firstProgram(Linux linux) {
    try (Fd log = linux.open(Path.of("/dev/kmsg"), OpenFlag.READ)) {
      linux.nonblocking(log);
      byte[] record = new byte[RECORD];
      while (true) {
        try {
          int bytes = linux.read(log, MemorySegment.ofArray(record));
          if (bytes == 0) {
            return OptionalLong.empty(); // a container's, which has something else there
          }
          OptionalLong found =
              firstProgram(new String(record, 0, bytes, StandardCharsets.ISO_8859_1));
          if (found.isPresent()) {
            return found;
          }
        } catch (SystemCallException e) {
          if (e.errno() != Errno.EPIPE) {
            return OptionalLong.empty(); // EAGAIN: that was the last one
          }
          // Records were overwritten; the next call reads the oldest that is left.
        }
      }
    } catch (SystemCallException _) {
      return OptionalLong.empty();
    }
  }

  /**
   * The same of one record, "PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT" (Documentation/ABI/testing/
   * dev-kmsg; the text is init/main.c's).
   */
  static OptionalLong firstProgram(String record) {
    int text = record.indexOf(';');
    String line = text < 0 ? "" : record.substring(text + 1).lines().findFirst().orElse("");
    if (!line.startsWith("Run ") || !line.endsWith(" as init process")) {
      return OptionalLong.empty();
    }
    String[] fields = record.substring(0, text).split(",", -1);
    return fields.length < 3 || !fields[2].matches("\\d{1,15}")
        ? OptionalLong.empty()
        : OptionalLong.of(Long.parseLong(fields[2]) * 1000);
  }
}
