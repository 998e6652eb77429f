package io.holdfast.cli;

import io.holdfast.linux.Linux;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.NoSuchFileException;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.cryptomator.jfuse.api.DirFiller;
import org.cryptomator.jfuse.api.Errno;
import org.cryptomator.jfuse.api.FileInfo;
import org.cryptomator.jfuse.api.FuseOperations;
import org.cryptomator.jfuse.api.Stat;
import org.jspecify.annotations.Nullable;

/**
 * A {@link DebugfsTree} as libfuse asks for it, from many threads. Nothing is thrown: libfuse could
 * not catch it.
 */
final class DebugfsOperations implements FuseOperations {
  private static final System.Logger LOG = System.getLogger(DebugfsOperations.class.getName());

  /** For open: the kernel looks the file up again, and then opens it. */
  private static final int ESTALE = 116;

  private static final int FOLDER_MODE = Stat.S_IFDIR | 0500;
  private static final int FILE_MODE = Stat.S_IFREG | 0400;

  private final Linux linux;
  private final DebugfsTree tree;
  private final Errno errno;
  private final int user;
  private final int group;
  private final Instant mounted = Instant.now();
  private final AtomicLong handles = new AtomicLong();
  private final ConcurrentMap<Long, Opened> opened = new ConcurrentHashMap<>();

  /**
   * What was opened.
   *
   * @param thread who opened it
   * @param closed whether that one has closed it
   */
  private record Opened(
      Pinned pinned, Pinned.Generation generation, int thread, AtomicBoolean closed) {
    void close() {
      if (!closed.getAndSet(true)) {
        pinned.close(thread);
      }
    }
  }

  /**
   * Makes them.
   *
   * @param user who owns all files
   * @param group likewise
   */
  DebugfsOperations(Linux linux, DebugfsTree tree, Errno errno, int user, int group) {
    this.linux = linux;
    this.tree = tree;
    this.errno = errno;
    this.user = user;
    this.group = group;
  }

  private interface Operation {
    int run() throws IOException;
  }

  private int attempt(Operation operation) {
    try {
      return operation.run();
    } catch (NoSuchFileException e) {
      return -errno.enoent();
    } catch (IOException | RuntimeException | LinkageError e) {
      LOG.log(System.Logger.Level.DEBUG, "the debug view", e);
      return -errno.eio();
    }
  }

  @Override
  public Errno errno() {
    return errno;
  }

  @Override
  public Set<FuseOperations.Operation> supportedOperations() {
    return Set.of(
        FuseOperations.Operation.FLUSH,
        FuseOperations.Operation.GET_ATTR,
        FuseOperations.Operation.INIT,
        FuseOperations.Operation.OPEN,
        FuseOperations.Operation.READ,
        FuseOperations.Operation.READ_DIR,
        FuseOperations.Operation.RELEASE);
  }

  @Override
  public int getattr(String path, Stat stat, @Nullable FileInfo fi) {
    return attempt(
        () -> {
          Opened open = fi == null ? null : opened.get(fi.getFh());
          if (open != null) {
            return file(stat, open.generation());
          }
          if (tree.isFolder(path)) {
            return fill(stat, FOLDER_MODE, 0, mounted);
          }
          return file(stat, look(path));
        });
  }

  private Pinned.Generation look(String path) throws IOException {
    int thread = linux.fuseCaller();
    while (true) {
      Optional<Pinned.Generation> found = tree.file(path).look(thread);
      if (found.isPresent()) {
        return found.get();
      }
    }
  }

  private int file(Stat stat, Pinned.Generation generation) {
    return fill(stat, FILE_MODE, generation.content().size(), generation.since());
  }

  private int fill(Stat stat, int mode, long size, Instant time) {
    stat.setMode(mode);
    // For a folder: as many as there are is nobody's count.
    stat.setNLink((short) 1);
    stat.setUid(user);
    stat.setGid(group);
    stat.setSize(size);
    stat.aTime().set(time);
    stat.mTime().set(time);
    stat.cTime().set(time);
    return 0;
  }

  @Override
  public int open(String path, FileInfo fi) {
    return attempt(
        () -> {
          Pinned pinned = tree.file(path);
          int thread = linux.fuseCaller();
          Optional<Pinned.Generation> generation = pinned.open(thread);
          if (generation.isEmpty()) {
            return -ESTALE;
          }
          long handle = handles.incrementAndGet();
          opened.put(handle, new Opened(pinned, generation.get(), thread, new AtomicBoolean()));
          fi.setFh(handle);
          return 0;
        });
  }

  @Override
  public int read(String path, ByteBuffer into, long count, long offset, FileInfo fi) {
    return attempt(
        () -> {
          Opened open = opened.get(fi.getFh());
          return open == null ? -errno.ebadf() : open.generation().content().read(into, offset);
        });
  }

  /** The kernel tells of a close at once, and of the last one some time later by a release. */
  @Override
  public int flush(String path, FileInfo fi) {
    return attempt(
        () -> {
          Opened open = opened.get(fi.getFh());
          if (open != null) {
            open.close();
          }
          return 0;
        });
  }

  @Override
  public int release(String path, FileInfo fi) {
    return attempt(
        () -> {
          Opened open = opened.remove(fi.getFh());
          if (open != null) {
            open.close();
            open.pinned().release();
          }
          return 0;
        });
  }

  @Override
  public int readdir(String path, DirFiller filler, long offset, FileInfo fi, int flags) {
    return attempt(
        () -> {
          List<String> names = tree.list(path);
          filler.fill(".");
          filler.fill("..");
          for (String name : names) {
            filler.fill(name);
          }
          return 0;
        });
  }
}
