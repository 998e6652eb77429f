package io.holdfast.kexec.depart;

import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The files of the next kernel, opened once: what a plan has checked is what is loaded, whatever
 * their names name by then. Not for several threads at once.
 */
public final class KernelFiles implements AutoCloseable {
  private static final String CONTENTS = "unix:size,lastModifiedTime";

  private final Linux linux;
  private final NextKernel next;
  private final List<Opened> opened = new ArrayList<>();

  /**
   * An open file.
   *
   * @param contents what changes when it is written to
   */
  private record Opened(Path path, Fd fd, Map<String, Object> contents) {
    static Opened of(Linux linux, Path path) throws IOException {
      Fd fd = linux.open(path, OpenFlag.READ, OpenFlag.NONBLOCK);
      boolean done = false;
      try {
        Opened opened = new Opened(path, fd, contents(fd));
        done = true;
        return opened;
      } finally {
        if (!done) {
          fd.close();
        }
      }
    }

    private static Map<String, Object> contents(Fd fd) throws IOException {
      return Files.readAttributes(link(fd), CONTENTS);
    }

    static Path link(Fd fd) {
      return Path.of("/proc/self/fd/" + fd.number());
    }

    void checkUnchanged() throws IOException {
      if (!contents(fd).equals(contents)) {
        throw new IOException(
            path + " was written to after the plan had checked it; try again when that has ended");
      }
    }
  }

  /** Opens nothing yet. */
  public KernelFiles(Linux linux, NextKernel next) {
    this.linux = linux;
    this.next = next;
  }

  /**
   * Opens the files, unless they are open.
   *
   * @return the image's path for as long as this is open, which names the opened file
   * @throws IOException if one can't be opened
   */
  public Path open() throws IOException {
    boolean done = false;
    try {
      if (opened.isEmpty()) {
        opened.add(Opened.of(linux, next.image()));
        if (next.initrd().isPresent()) {
          opened.add(Opened.of(linux, next.initrd().get()));
        }
      }
      done = true;
      return Opened.link(opened.getFirst().fd());
    } catch (SystemCallException e) {
      throw new IOException(e.getMessage(), e);
    } finally {
      if (!done) {
        close();
      }
    }
  }

  /**
   * Loads the kernel, in place of one that was loaded before.
   *
   * @throws IOException if a file was written to since it was opened; a kernel may be loaded then,
   *     and is to be unloaded
   * @throws SystemCallException as {@link io.holdfast.linux.Kexec#load}
   */
  void load() throws IOException {
    Path _ = open();
    for (Opened each : opened) {
      each.checkUnchanged();
    }
    linux
        .kexec()
        .load(
            opened.getFirst().fd(),
            opened.size() > 1 ? Optional.of(opened.getLast().fd()) : Optional.empty(),
            next.commandLine());
    for (Opened each : opened) {
      // Linux allows no writing while it reads.
      each.checkUnchanged();
    }
  }

  @Override
  public void close() {
    opened.forEach(each -> each.fd().close());
    opened.clear();
  }
}
