package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.FdPair;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SocketType;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.VmId;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.function.ToLongFunction;

/**
 * A guest's console: what it says goes into a log, and to those who watch; all of them may type.
 */
public final class Console extends Channel {
  /**
   * A guest that says 80,000 characters while there is no agent has to wait then. It is the
   * kernel's memory, and taken by what does wait only.
   */
  private static final int OUTPUT_BUFFER = 64 << 20;

  private final Path path;
  private final long limit;
  private Optional<Viewers> viewers = Optional.empty();
  private Optional<Fd> input = Optional.empty();

  /**
   * What somebody gets who watches.
   *
   * @param output a stream socket from which comes what is in the log, from {@code from} on; at its
   *     end either the VM has ended, or the agent, or some of it was gone from the log before it
   *     was read. The caller's to close
   * @param input a pipe to write to what is typed; it lives on across agents. The caller's to close
   * @param from the offset in the log of the output's first byte
   */
  public record Attachment(Fd output, Fd input, long from) implements AutoCloseable {
    @Override
    public void close() {
      output.close();
      input.close();
    }
  }

  /**
   * A console; nothing is opened yet.
   *
   * @param device the id of its device
   * @param log the path of the log; the one before it gets {@code .1} added
   * @param limit the size of either in bytes
   */
  public Console(Linux linux, DescriptorStore store, VmId vm, String device, Path log, long limit) {
    super(linux, store, vm, device, OUTPUT_BUFFER);
    this.path = log;
    this.limit = limit;
  }

  @Override
  Sink open(Line opened) throws IOException {
    Viewers made = new Viewers(kept(), Log.open(kept(), path, limit), opened.out());
    viewers = Optional.of(made);
    input = Optional.of(opened.in());
    return made;
  }

  @Override
  Viewers sink() {
    return viewers.orElseThrow(() -> new IllegalStateException("not open: " + path));
  }

  /**
   * Lets somebody watch from the first line on that begins within the last {@code bytes}.
   *
   * @return empty if the VM has just ended
   * @throws IOException if as many watch already as may
   */
  public Optional<Attachment> watchTail(long bytes) throws IOException {
    return watch(log -> log.tail(bytes));
  }

  /**
   * Lets somebody watch.
   *
   * @param from an offset in the log; what is gone from it is left out, as {@link Attachment#from}
   *     says
   * @return empty if the VM has just ended
   * @throws IOException if as many watch already as may
   */
  public Optional<Attachment> watchFrom(long from) throws IOException {
    return watch(log -> Math.clamp(from, log.start(), log.end()));
  }

  private synchronized Optional<Attachment> watch(ToLongFunction<Log> begin) throws IOException {
    if (isClosed()) {
      return Optional.empty();
    }
    if (sink().full()) {
      throw new IOException(
          Viewers.MOST
              + " watch the console already, and more may not: end one of them, or read its log "
              + path);
    }
    long from = begin.applyAsLong(sink().log());
    try (FdPair pair = linux().socketPair(SocketType.STREAM)) {
      // Opened anew, so that how the one waits is not how another does.
      Fd write =
          linux()
              .open(
                  Path.of("/proc/self/fd/" + input.orElseThrow().number()),
                  OpenFlag.WRITE,
                  OpenFlag.NONBLOCK);
      sink().add(pair.left().duplicate(), from);
      wake();
      return Optional.of(new Attachment(pair.right().duplicate(), write, from));
    }
  }
}
