package io.holdfast.store;

import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.Fd;
import io.holdfast.linux.FdPair;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.PidFd;
import io.holdfast.linux.Pipe;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.linux.Received;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SocketType;
import io.holdfast.linux.SpawnRequest;
import io.holdfast.linux.UnixSocket;
import io.holdfast.linux.file.WholeFile;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Keeps descriptors in the queue of a socket that an idle process holds: descriptors in flight
 * (unix(7), SCM_RIGHTS) live as long as the socket does. The process is a {@code sleep} in a
 * session of its own that never looks at them; each message in the queue is a label with its
 * descriptor. A later message of the same label replaces an earlier one.
 *
 * <p>A process that is killed is replaced, as soon as that is possible; only together with the
 * agent it takes the descriptors along.
 *
 * <p>Replacing and dropping first queue what stays once more, then take the old messages out: an
 * agent that dies in between leaves duplicates, never a loss.
 */
public final class ProcessStore implements DescriptorStore {
  private static final int READ_END = 3;
  private static final int WRITE_END = 4;
  private static final int LONGEST_LABEL = 200;
  private static final Duration FOR_EVER = Duration.ofDays(36_500);

  /** From one attempt to replace the process to the next. */
  private static final Duration AGAIN = Duration.ofMillis(200);

  /**
   * Room for some tens of thousands of descriptors; memory is taken by those that are there only.
   */
  private static final int QUEUE_BYTES = 64 << 20;

  private static final LateLogger LOG = new LateLogger(ProcessStore.class);

  private final Linux linux;
  private final UnixSocket reader;
  private final UnixSocket writer;
  private final Path record;
  private final Map<StoreKey, Fd> mirror = new LinkedHashMap<>();

  /** Its writing end is closed when this is. */
  private final Pipe closing;

  private ProcessIdentity identity;
  private volatile @Nullable Thread watch;
  private boolean closed;

  /**
   * Messages in the queue: more than {@link #mirror} has where an agent died while it replaced
   * some.
   */
  private int queued;

  private ProcessStore(
      Linux linux, ProcessIdentity identity, UnixSocket reader, UnixSocket writer, Path record) {
    this.linux = linux;
    this.identity = identity;
    this.reader = reader;
    this.writer = writer;
    this.record = record;
    this.closing = linux.pipe();
    writer.sendBuffer(QUEUE_BYTES);
  }

  /**
   * Finds the descriptor store of an earlier agent again, or starts one.
   *
   * @param record the file that tells the next agent who the descriptor store is
   * @throws IOException if there is a descriptor store that can't be reached: its descriptors would
   *     be lost
   */
  public static ProcessStore open(Linux linux, Path record) throws IOException {
    if (Files.exists(record)) {
      ProcessIdentity identity = ProcessIdentity.parse(Files.readString(record).strip());
      Optional<PidFd> found = identity.find(linux);
      if (found.isPresent()) {
        PidFd process = found.get();
        boolean taken = false;
        try {
          ProcessStore store =
              new ProcessStore(
                  linux,
                  identity,
                  linux.adopt(process.take(READ_END)),
                  linux.adopt(process.take(WRITE_END)),
                  record);
          store.readQueue();
          store.watch(() -> {}, process);
          taken = true;
          return store;
        } finally {
          if (!taken) {
            process.close();
          }
        }
      }
    }
    try (FdPair pair = linux.socketPair(SocketType.SEQPACKET)) {
      ChildProcess child = spawn(linux, pair.left(), pair.right());
      ProcessStore store =
          new ProcessStore(
              linux,
              ProcessIdentity.of(child.pid()),
              linux.adopt(pair.left().duplicate()),
              linux.adopt(pair.right().duplicate()),
              record);
      store.writeRecord();
      store.watch(child);
      return store;
    }
  }

  private static ChildProcess spawn(Linux linux, Fd readEnd, Fd writeEnd) {
    return linux.spawn(
        SpawnRequest.of(List.of("sleep", "infinity"))
            .withInherited(Map.of(READ_END, readEnd, WRITE_END, writeEnd)));
  }

  private void writeRecord() throws IOException {
    WholeFile.write(record, identity + "\n");
  }

  private void watch(ChildProcess child) {
    watch(
        () -> {
          var _ = child.reap();
          child.close();
        },
        child.pidfd());
  }

  /**
   * Starts another process when this one is killed. The queue is there as long as this agent is,
   * which has its ends too.
   *
   * @param release lets go of the process, besides its handle
   */
  private void watch(Runnable release, PidFd process) {
    watch =
        Thread.ofPlatform()
            .daemon()
            .name("store's watch")
            .stackSize(256 * 1024)
            .start(
                () -> {
                  List<Fd> ends = List.of(process.fd(), closing.reader());
                  var _ = linux.poll(ends, FOR_EVER);
                  boolean died = process.hasExited();
                  release.run();
                  process.close();
                  if (!died || !replace()) {
                    closing.reader().close();
                  }
                });
  }

  /** Without a record no next agent finds the process that has everything. */
  private void recordAtLast() {
    try {
      writeRecord();
    } catch (IOException | RuntimeException e) {
      LOG.get()
          .log(
              System.Logger.Level.ERROR,
              "the descriptor store, process "
                  + identity
                  + ", has all descriptors and cannot be written down: make room, and write \""
                  + identity
                  + "\" to "
                  + record,
              e);
    }
  }

  /**
   * Starts another process, and writes down which it is: without either, the next agent would find
   * nothing that is kept. What is missing for it now, such as a descriptor or room in the file
   * system, may be there again later.
   *
   * @return false if this descriptor store is closed
   */
  private boolean replace() {
    LOG.get()
        .log(
            System.Logger.Level.WARNING,
            "the descriptor store, process " + identity + ", died; replacing it");
    Optional<ChildProcess> started = Optional.empty();
    boolean told = false;
    while (true) {
      synchronized (this) {
        if (closed) {
          if (started.isPresent()) {
            recordAtLast();
            started.get().close();
          }
          return false;
        }
        try {
          if (started.isPresent() && started.get().reap().isPresent()) {
            started.get().close();
            started = Optional.empty();
          }
          if (started.isEmpty()) {
            started = Optional.of(spawn(linux, reader.fd(), writer.fd()));
          }
          identity = ProcessIdentity.of(started.get().pid());
          writeRecord();
          watch(started.get());
          return true;
        } catch (IOException | RuntimeException e) {
          if (!told) {
            String what =
                "the descriptor store cannot be replaced yet, and an agent that is killed now loses"
                    + " what is stored; it is tried again until it succeeds";
            LOG.get().log(System.Logger.Level.ERROR, what, e);
          }
          told = true;
        }
      }
      var _ = linux.poll(List.of(closing.reader()), AGAIN);
    }
  }

  private void readQueue() {
    byte[] label = new byte[LONGEST_LABEL];
    reader.peekFrom(0);
    try {
      while (true) {
        Optional<Received> next = reader.peek(label);
        if (next.isEmpty() || next.get().end()) {
          break;
        }
        queued++;
        StoreKey key = StoreKey.of(text(label, next.get().bytes()));
        remember(key, next.get().descriptors());
      }
    } finally {
      reader.peekFrom(-1);
    }
  }

  private void remember(StoreKey key, List<Fd> descriptors) {
    for (Fd fd : descriptors) {
      Fd before = mirror.put(key, fd);
      if (before != null) {
        before.close();
      }
    }
  }

  private static String text(byte[] bytes, int length) {
    return new String(bytes, 0, length, StandardCharsets.UTF_8);
  }

  @Override
  public synchronized void put(StoreKey key, Fd fd) {
    byte[] bytes = key.text().getBytes(StandardCharsets.UTF_8);
    if (bytes.length == 0 || bytes.length > LONGEST_LABEL) {
      throw new IllegalArgumentException(
          "a label in the descriptor store has 1 to " + LONGEST_LABEL + " bytes: " + key.text());
    }
    Fd mine = fd.duplicate();
    try {
      queue(bytes, List.of(mine));
    } catch (RuntimeException e) {
      mine.close();
      throw e;
    }
    boolean replaced = mirror.containsKey(key);
    remember(key, List.of(mine));
    if (replaced) {
      requeue();
    }
  }

  @Override
  public synchronized void drop(Set<? extends StoreKey> keys) {
    Set<StoreKey> present = new HashSet<>(keys);
    present.retainAll(mirror.keySet());
    if (present.isEmpty() && queued == mirror.size()) {
      return;
    }
    for (StoreKey key : present) {
      Fd fd = mirror.remove(key);
      if (fd != null) {
        fd.close();
      }
    }
    requeue();
  }

  private void queue(byte[] label, List<Fd> descriptors) {
    if (!writer.sendNow(label, descriptors)) {
      throw new IllegalStateException(
          "the descriptor store's queue is full with "
              + mirror.size()
              + " descriptors; run the agent as root, or raise net.core.wmem_max");
    }
    queued++;
  }

  /**
   * Makes the queue what the mirror is: what stays is queued again, then all that was there before
   * is taken out.
   */
  private void requeue() {
    int before = queued;
    mirror.forEach((key, fd) -> queue(key.text().getBytes(StandardCharsets.UTF_8), List.of(fd)));
    // Not received: without a free descriptor a message would be gone, and its place not known.
    for (int i = 0; i < before && reader.discardNow(); i++) {
      queued--;
    }
  }

  @Override
  public synchronized Set<StoreKey> keys() {
    return Set.copyOf(mirror.keySet());
  }

  @Override
  public synchronized Map<StoreKey, Fd> all(Predicate<? super StoreKey> wanted) {
    Map<StoreKey, Fd> copies = new LinkedHashMap<>();
    try {
      mirror.forEach(
          (key, fd) -> {
            if (wanted.test(key)) {
              copies.put(key, fd.duplicate());
            }
          });
      return copies;
    } catch (RuntimeException e) {
      copies.values().forEach(Fd::close);
      throw e;
    }
  }

  @Override
  public synchronized Optional<Fd> find(StoreKey key) {
    return Optional.ofNullable(mirror.get(key)).map(Fd::duplicate);
  }

  @Override
  public synchronized String describe() {
    return "process " + identity.pid();
  }

  @Override
  public synchronized Optional<Integer> process() {
    return Optional.of(identity.pid());
  }

  @Override
  public synchronized int size() {
    return mirror.size();
  }

  @Override
  public void close() {
    synchronized (this) {
      closed = true;
      closing.writer().close();
      mirror.values().forEach(Fd::close);
      mirror.clear();
      reader.close();
      writer.close();
    }
    Thread last = watch;
    if (last != null) {
      try {
        last.join();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
  }

  @Override
  public void end() throws IOException {
    close();
    Optional<PidFd> found = identity.find(linux);
    if (found.isPresent()) {
      try (PidFd process = found.get()) {
        var _ = process.signal(Signal.KILL);
      }
    }
    Files.deleteIfExists(record);
  }
}
