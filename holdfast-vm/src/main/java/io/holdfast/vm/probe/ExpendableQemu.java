package io.holdfast.vm.probe;

import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.Fd;
import io.holdfast.linux.FdPair;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SocketType;
import io.holdfast.linux.SpawnRequest;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.WholeFile;
import io.holdfast.vm.qemu.Launch;
import io.holdfast.vm.qemu.QemuLog;
import io.holdfast.vm.qemu.QemuUnusableException;
import io.holdfast.vm.qemu.Qmp;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A QEMU that answers questions and never runs a guest. The kernel kills it when the thread that
 * started it ends; closing kills it and waits until it is gone.
 */
public final class ExpendableQemu implements AutoCloseable {
  /** The number of its control socket. */
  static final int CONTROL = 3;

  private static final Duration START = Duration.ofSeconds(20);

  private final ChildProcess child;
  private final Qmp qmp;
  private final Path log;

  private ExpendableQemu(ChildProcess child, Qmp qmp, Path log) {
    this.child = child;
    this.qmp = qmp;
    this.log = log;
  }

  /**
   * Starts one and waits until it answers.
   *
   * @param program absolute path of the binary
   * @param arguments without the binary and without a monitor, which is added
   * @param inherited what it inherits besides its control socket, by number; borrowed
   * @throws QemuUnusableException if it does not come up, with what it said; nothing is left of it
   */
  public static ExpendableQemu start(
      Launch launch, String program, List<String> arguments, Map<Integer, Fd> inherited)
      throws QemuUnusableException {
    Linux linux = launch.linux();
    List<String> command = new ArrayList<>(List.of(program, "-S"));
    command.addAll(
        List.of(
            "-chardev",
            "socket,id=holdfast-control,fd=" + CONTROL,
            "-mon",
            "chardev=holdfast-control,mode=control"));
    command.addAll(arguments);
    Path log =
        launch
            .scratch()
            .resolve(
                "probe-" + Thread.currentThread().threadId() + "-" + System.nanoTime() + ".log");
    boolean up = false;
    try (Fd output = linux.open(log, OpenFlag.CREATE, OpenFlag.WRITE)) {
      FdPair pair = linux.socketPair(SocketType.STREAM);
      Map<Integer, Fd> all = new HashMap<>(inherited);
      all.put(CONTROL, pair.right());
      ChildProcess child;
      try (Fd _ = pair.right()) {
        child =
            linux.spawn(
                SpawnRequest.of(launch.command(command))
                    .withInherited(all)
                    .withOutput(output)
                    .endingWithParent());
      } catch (IOException | SystemCallException e) {
        pair.left().close();
        throw e;
      }
      try {
        Qmp qmp = Qmp.over(linux, linux.adopt(pair.left()), program, START);
        up = true;
        return new ExpendableQemu(child, qmp, log);
      } finally {
        if (!up) {
          end(child);
        }
      }
    } catch (IOException | SystemCallException e) {
      throw new QemuUnusableException(
          program,
          said(log, String.valueOf(e.getMessage())),
          "Name a qemu-system binary of version 7.2 or newer that works on this host.",
          e);
    } finally {
      if (!up) {
        WholeFile.deleteQuietly(log);
      }
    }
  }

  /** Removes what those of an agent that was killed left in its directory. */
  static void removeLeftovers(Path scratch) throws IOException {
    try (DirectoryStream<Path> left = Files.newDirectoryStream(scratch, "probe-*")) {
      left.forEach(WholeFile::deleteQuietly);
    }
  }

  /** Its control channel, which it closes. */
  public Qmp qmp() {
    return qmp;
  }

  /** What it printed; {@code otherwise} if nothing. */
  String said(String otherwise) {
    return said(log, otherwise);
  }

  private static String said(Path log, String otherwise) {
    try {
      return QemuLog.gist(log).orElse(otherwise);
    } catch (IOException e) {
      return otherwise;
    }
  }

  private static void end(ChildProcess child) {
    try (child) {
      var _ = child.pidfd().signal(Signal.KILL);
      var _ = child.waitFor();
    }
  }

  @Override
  public void close() {
    qmp.close();
    end(child);
    WholeFile.deleteQuietly(log);
  }
}
