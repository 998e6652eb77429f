package io.holdfast.vm.update;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import io.holdfast.vm.qemu.QemuProcess;
import io.holdfast.vm.qemu.Urgency;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Raises the scheduling priority of what a guest waits for in the blackout above everything else
 * that wants a processor, the vCPUs of other guests above all: of the calling thread, and of the
 * first threads of both QEMUs, which stop, save, load and start it. Only as far as this process may
 * (CAP_SYS_NICE); without it all is as usual.
 *
 * <p>Where the kernel shares processors out among sessions first (autogroups, sched(7)), a thread's
 * niceness counts within its own session only, and every QEMU is a session: then the sessions of
 * both QEMUs and of this process are raised, too.
 */
public final class Priority implements AutoCloseable {
  private static final int USUAL = 0;

  private static final boolean AUTOGROUPS = autogroups();
  private static final boolean LEADS = leads();

  private final Linux linux;

  /** Raises the calling thread's until it closes this; and of what it starts meanwhile. */
  Priority(Linux linux) {
    this.linux = linux;
    boolean _ = linux.nice(0, Urgency.MOST);
  }

  @Override
  public void close() {
    boolean _ = linux.nice(0, USUAL);
  }

  /** Raises that of a process's first thread and of those that it starts from now on. */
  static void raise(Linux linux, QemuProcess process) {
    boolean _ = linux.nice(process.identity().pid(), Urgency.MOST);
    session(linux, Integer.toString(process.identity().pid()), Urgency.MOST);
  }

  /**
   * Raises that of this process's session, until {@link #restoreHere}; not of one that is shared
   * with somebody, such as a shell.
   */
  public static void raiseHere(Linux linux) {
    if (LEADS) {
      session(linux, "self", Urgency.MOST);
    }
  }

  /** Undoes {@link #raiseHere}. */
  public static void restoreHere(Linux linux) {
    if (LEADS) {
      session(linux, "self", USUAL);
    }
  }

  /** Whether this process leads its session (field 6 of /proc/PID/stat, proc(5)). */
  private static boolean leads() {
    try {
      String stat = Files.readString(Path.of("/proc/self/stat"), StandardCharsets.ISO_8859_1);
      String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ", -1);
      return fields[3].equals(Long.toString(ProcessHandle.current().pid()));
    } catch (IOException e) {
      return false;
    }
  }

  private static boolean autogroups() {
    Path setting = Path.of("/proc/sys/kernel/sched_autogroup_enabled");
    try {
      return Files.exists(setting) && Files.readString(setting).strip().equals("1");
    } catch (IOException e) {
      return false;
    }
  }

  private static void session(Linux linux, String process, int niceness) {
    if (!AUTOGROUPS) {
      return;
    }
    Path group = Path.of("/proc/" + process + "/autogroup");
    try (Fd file = linux.open(group, OpenFlag.WRITE)) {
      byte[] text = Integer.toString(niceness).getBytes(StandardCharsets.US_ASCII);
      linux.write(file, MemorySegment.ofArray(text));
    } catch (SystemCallException e) {
      // It has ended, or this process may not: then it is as usual.
      System.getLogger(Priority.class.getName()).log(System.Logger.Level.DEBUG, "a session", e);
    }
  }

  /**
   * Undoes {@link #raise} for all threads of a process: its first, and those that this started
   * meanwhile, such as its workers for disks.
   */
  static void restore(Linux linux, QemuProcess process) {
    session(linux, Integer.toString(process.identity().pid()), USUAL);
    Path tasks = Path.of("/proc/" + process.identity().pid() + "/task");
    try (DirectoryStream<Path> threads = Files.newDirectoryStream(tasks)) {
      for (Path thread : threads) {
        boolean _ = linux.nice(Integer.parseInt(thread.getFileName().toString()), USUAL);
      }
    } catch (IOException | DirectoryIteratorException e) {
      // It has ended: there is nothing left to undo.
      System.getLogger(Priority.class.getName())
          .log(System.Logger.Level.DEBUG, "undoing the priority", e);
    }
  }
}
