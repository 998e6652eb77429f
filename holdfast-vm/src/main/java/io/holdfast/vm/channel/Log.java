package io.holdfast.vm.channel;

import io.holdfast.linux.Fd;
import io.holdfast.linux.LateLogger;
import io.holdfast.linux.Linux;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.SystemCallException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeMap;

/**
 * A log of limited size: what does not fit goes into a new file, and the one before is kept as
 * {@code NAME.1}. Every byte that was ever logged has an offset, counted on across files.
 *
 * <p>The descriptor store holds the file under a label with the offset of its first byte ({@code
 * log+0}). A new file is kept, then the names are moved, then the old one is dropped: if a kill
 * comes in between, there are two labels, and the next agent finishes it. What is written to a file
 * and no longer in the pipe is one call of the kernel.
 *
 * <p>Where there is no room, or the file can't be written, what the guest says is dropped and the
 * guest goes on; the agent says so once.
 */
final class Log implements AutoCloseable {
  private static final LateLogger LOGGER = new LateLogger(Log.class);
  private static final String LABEL = "log+";

  /** A memfd with all that was there, from another kernel; with the offset of its first byte. */
  private static final String CROSSED = "crossed+";

  private static final int CHUNK = 64 << 10;
  private static final int MUCH = 1 << 20;
  private static final int LONGEST_LINE = 4096;

  private final ChannelDescriptors kept;
  private final Linux linux;
  private final Path path;
  private final long limit;
  private final Fd nowhere;
  private Segment now;
  private Optional<Segment> before = Optional.empty();

  /** Bytes in {@link #now}. */
  private long size;

  /** Bytes that found no room since there was some. */
  private long dropped;

  /**
   * @param start the offset of the file's first byte
   */
  private record Segment(long start, Fd file) {}

  private Log(ChannelDescriptors kept, Path path, long limit, Segment now, Fd nowhere) {
    this.kept = kept;
    this.linux = kept.linux();
    this.path = path;
    this.limit = limit;
    this.now = now;
    this.nowhere = nowhere;
    this.size = linux.size(now.file());
  }

  /**
   * Goes on with what is kept, or begins a new one.
   *
   * @param limit of a file, in bytes
   * @throws IOException if there is none and it can't be made
   */
  static Log open(ChannelDescriptors kept, Path path, long limit) throws IOException {
    TreeMap<Long, Fd> files = new TreeMap<>();
    TreeMap<Long, Fd> crossed = new TreeMap<>();
    for (Map.Entry<String, Fd> each : kept.all().entrySet()) {
      if (each.getKey().startsWith(LABEL)) {
        files.put(Long.parseLong(each.getKey().substring(LABEL.length())), each.getValue());
      } else if (each.getKey().startsWith(CROSSED)) {
        crossed.put(Long.parseLong(each.getKey().substring(CROSSED.length())), each.getValue());
      } else {
        each.getValue().close();
      }
    }
    Linux linux = kept.linux();
    Fd nowhere = linux.open(Path.of("/dev/null"), OpenFlag.WRITE);
    Optional<Fd> written = Optional.empty();
    boolean done = false;
    try {
      if (files.isEmpty()) {
        Fd file = create(linux, path);
        long start = crossed.isEmpty() ? 0 : crossed.firstKey();
        files.put(start, file);
        if (!crossed.isEmpty()) {
          linux.seek(crossed.firstEntry().getValue(), 0);
          copy(linux, crossed.firstEntry().getValue(), file);
        }
        kept.keep(LABEL + start, file);
      }
      for (long start : crossed.keySet()) {
        kept.drop(Set.of(CROSSED + start));
      }
      Map.Entry<Long, Fd> newest = files.pollLastEntry();
      written = Optional.of(newest.getValue());
      Segment now = new Segment(newest.getKey(), newest.getValue());
      Log log = new Log(kept, path, limit, now, nowhere);
      if (!files.isEmpty()) {
        log.moveNames(files.firstEntry().getValue());
        log.letGo(files.firstKey());
      }
      if (Files.exists(log.old())) {
        Fd file = linux.open(log.old());
        log.before = Optional.of(new Segment(now.start() - linux.size(file), file));
      }
      done = true;
      return log;
    } finally {
      if (!done) {
        nowhere.close();
        written.ifPresent(Fd::close);
      }
      files.values().forEach(Fd::close);
      crossed.values().forEach(Fd::close);
    }
  }

  private static void copy(Linux linux, Fd from, Fd to) {
    byte[] chunk = new byte[CHUNK];
    MemorySegment buffer = MemorySegment.ofArray(chunk);
    for (int n = linux.read(from, buffer); n > 0; n = linux.read(from, buffer)) {
      linux.write(to, buffer.asSlice(0, n));
    }
  }

  /** The label of {@link #packed}. */
  synchronized String crossingLabel() {
    return CROSSED + start();
  }

  /** All that is there, in a memfd; the caller's to close. */
  synchronized Fd packed() {
    Fd all = linux.memfd("log " + path, 0);
    try {
      if (before.isPresent()) {
        linux.seek(before.get().file(), 0);
        copy(linux, before.get().file(), all);
      }
      linux.seek(now.file(), 0);
      copy(linux, now.file(), all);
      return all;
    } catch (RuntimeException e) {
      all.close();
      throw e;
    }
  }

  private static Fd create(Linux linux, Path path) {
    return linux.open(path, OpenFlag.CREATE, OpenFlag.TRUNCATE, OpenFlag.READ, OpenFlag.WRITE);
  }

  private Path old() {
    return path.resolveSibling(path.getFileName() + ".1");
  }

  private Path aside() {
    return path.resolveSibling(path.getFileName() + ".new");
  }

  /** The offset of the first byte that is still there. */
  synchronized long start() {
    return before.map(Segment::start).orElse(now.start());
  }

  /** The offset after the last byte. */
  synchronized long end() {
    return now.start() + size;
  }

  /** Writes all that is in a pipe. */
  synchronized void take(Fd pipe) {
    try {
      while (true) {
        if (size >= limit) {
          rotate();
        }
        OptionalLong moved = linux.spliceTo(pipe, now.file(), size, limit - size);
        if (moved.isEmpty()) {
          return;
        }
        size += moved.getAsLong();
        if (dropped > 0) {
          LOGGER
              .get()
              .log(System.Logger.Level.WARNING, path + " goes on; it lacks " + dropped + " bytes");
          dropped = 0;
        }
      }
    } catch (SystemCallException | IOException e) {
      drop(pipe, e);
    }
  }

  private void drop(Fd pipe, Exception why) {
    if (dropped == 0) {
      LOGGER
          .get()
          .log(
              System.Logger.Level.WARNING,
              "what the guest says is dropped, as "
                  + path
                  + " can't be written ("
                  + why.getMessage()
                  + "); make room, and it goes on");
    }
    for (OptionalLong n = discard(pipe); n.isPresent(); n = discard(pipe)) {
      dropped += n.getAsLong();
    }
  }

  private OptionalLong discard(Fd pipe) {
    return linux.splice(pipe, nowhere, MUCH);
  }

  private void rotate() throws IOException {
    if (before.isPresent() && is(aside(), now.file())) {
      // The last time, the names could not be moved.
      moveNames(before.get().file());
      letGo(before.get().start());
    }
    Segment next = new Segment(now.start() + size, create(linux, aside()));
    try {
      kept.keep(LABEL + next.start(), next.file());
    } catch (RuntimeException e) {
      next.file().close();
      throw new IOException("the descriptor store takes no new file", e);
    }
    Segment full = now;
    now = next;
    size = 0;
    before.ifPresent(segment -> segment.file().close());
    before = Optional.of(full);
    moveNames(full.file());
    letGo(full.start());
  }

  /** Gives the full file the name of the one before, and the new one its name. */
  private void moveNames(Fd full) throws IOException {
    if (!Files.exists(aside())) {
      return;
    }
    if (is(path, full)) {
      // Linked, so that the log's name is never nobody's.
      Files.deleteIfExists(old());
      Files.createLink(old(), path);
    }
    Files.move(aside(), path, StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
  }

  /** Whether a file has this name. */
  private boolean is(Path name, Fd file) {
    if (!Files.exists(name)) {
      return false;
    }
    try (Fd named = linux.open(name)) {
      return linux.identity(named).equals(linux.identity(file));
    }
  }

  private void letGo(long start) {
    kept.drop(Set.of(LABEL + start));
  }

  /**
   * Sends what is there from an offset on, as far as the socket has room.
   *
   * @return the offset after what was sent; empty if what was at {@code from} is gone
   * @throws SystemCallException EPIPE, ECONNRESET if nobody is there any more
   */
  synchronized OptionalLong send(Fd socket, long from) {
    long at = from;
    while (at < end()) {
      Segment in = at >= now.start() ? now : before.orElse(now);
      long last = at >= now.start() ? end() : now.start();
      if (at < in.start()) {
        return OptionalLong.empty();
      }
      OptionalLong sent = linux.sendFile(socket, in.file(), at - in.start(), last - at);
      if (sent.isEmpty()) {
        break;
      }
      if (sent.getAsLong() == 0) {
        // Somebody has cut the file short.
        return OptionalLong.empty();
      }
      at += sent.getAsLong();
    }
    return OptionalLong.of(at);
  }

  /** The offset of the first line that begins within the last {@code bytes}. */
  synchronized long tail(long bytes) {
    long from = Math.max(start(), end() - Math.max(0, bytes));
    if (from == start()) {
      return from;
    }
    Segment in = from >= now.start() ? now : before.orElse(now);
    // The line that the byte before ends begins here.
    linux.seek(in.file(), from - in.start() - 1);
    byte[] text = new byte[LONGEST_LINE];
    int read = linux.read(in.file(), MemorySegment.ofArray(text));
    for (int i = 0; i < read; i++) {
      if (text[i] == '\n') {
        return from + i;
      }
    }
    return from;
  }

  /** The VM has ended: removes the files. */
  synchronized void remove() {
    letGo(now.start());
    try {
      for (Path each : new Path[] {path, old(), aside()}) {
        Files.deleteIfExists(each);
      }
    } catch (IOException e) {
      throw new UncheckedIOException("removing the console's log", e);
    }
  }

  /** Closes what this agent has; the log goes on. */
  @Override
  public synchronized void close() {
    now.file().close();
    before.ifPresent(segment -> segment.file().close());
    nowhere.close();
  }
}
