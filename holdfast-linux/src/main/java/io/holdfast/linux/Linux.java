package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.EnumSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/**
 * Linux, as far as Holdfast uses it. Everything goes through one {@link Kernel}.
 *
 * <p>Every method may throw {@link SystemCallException}, and then leaves nothing open that it
 * opened. Every descriptor made here is close-on-exec and the caller's to close. Descriptors passed
 * in are borrowed unless the method says otherwise, and refused with {@link IllegalStateException}
 * if they were closed. A call that a signal interrupts is repeated.
 */
public final class Linux {
  private static final Linux SYSTEM = new Linux(Kernel.system());

  static final int O_CLOEXEC = 0x80000;
  private static final int O_NOCTTY = 0x100;
  private static final long FUSE_CONTEXT_PID = 16;
  private static final int MFD_CLOEXEC = 0x1;
  static final int F_SETFD = 2;
  private static final int F_GETFL = 3;
  private static final int F_SETFL = 4;
  private static final int F_SETPIPE_SZ = 1031;
  private static final int O_NONBLOCK = 0x800;
  private static final int SPLICE_F_NONBLOCK = 2;
  static final int FD_CLOEXEC = 1;
  private static final int F_DUPFD_QUERY = 1027;
  private static final long FS_IOC_GETFSUUID = 0x8011_1500L;
  private static final int FSUUID_BYTES = 17;

  /** Where the bytes of a struct file_handle begin, after their number and the type. */
  private static final int HANDLE = 8;

  private static final int MAX_HANDLE_BYTES = 128;
  private static final int AT_FDCWD = -100;
  private static final int AT_SYMLINK_FOLLOW = 0x400;
  private static final int KCMP_FILE = 0;
  private static final int O_ACCMODE = 0x3;
  private static final int F_ADD_SEALS = 1033;
  private static final int F_GET_SEALS = 1034;
  private static final int SEEK_SET = 0;
  private static final int SEEK_CUR = 1;
  private static final int SEEK_DATA = 3;
  private static final int SEEK_HOLE = 4;
  private static final int MAP_SHARED = 1;
  private static final int OWNER_ONLY = 0600;

  /** The same on x86-64 and AArch64. */
  private static final int RLIMIT_NOFILE = 7;

  private static final int PRIO_PROCESS = 0;
  private static final int SCHED_FIFO = 1;
  private static final int SCHED_RESET_ON_FORK = 0x40000000;

  // struct stat of x86-64; st_size is there on AArch64 as well.
  private static final int STAT_BYTES = 144;
  private static final int ST_DEV = 0;
  private static final int STATFS_BYTES = 120;
  private static final int ST_INO = 8;
  private static final int ST_NLINK = 16; // x86-64's
  private static final int ST_SIZE = 48;

  private final Calls calls;

  /** Linux through {@code kernel}. */
  public Linux(Kernel kernel) {
    this.calls = new Calls(kernel);
  }

  /** The running one. */
  public static Linux system() {
    return SYSTEM;
  }

  /** What every call goes through. */
  public Kernel kernel() {
    return calls.kernel();
  }

  // ---------------------------------------------------------------------------------------------------- memory

  /**
   * Memory with a descriptor, all zeros, which lives as long as anybody has the descriptor or a
   * mapping.
   *
   * @param name for people: in errors and as {@code /memfd:name} in /proc; at most 249 bytes
   * @param bytes its size
   * @throws SystemCallException ENODEV if the machine has no huge pages of that size, EINVAL if
   *     {@code bytes} is no multiple of their size; ENOMEM
   */
  public Fd memfd(String name, long bytes, MemfdOption... options) {
    int flags = MFD_CLOEXEC;
    for (MemfdOption o : options) {
      flags |= o.flag;
    }
    String what = "memfd " + name;
    try (Arena arena = Arena.ofConfined()) {
      Fd fd =
          calls.own(
              calls.make(Call.MEMFD_CREATE, what, Field.string(arena, name).address(), flags),
              what);
      try {
        resize(fd, bytes);
        return fd;
      } catch (Throwable t) {
        fd.close();
        throw t;
      }
    }
  }

  /**
   * Adds seals to a memfd.
   *
   * @throws SystemCallException EPERM if it was made without {@link MemfdOption#ALLOW_SEALING} or
   *     is sealed against further seals; EBUSY for {@link Seal#WRITE} while it is mapped for
   *     writing
   */
  public void seal(Fd memfd, Set<Seal> seals) {
    int bits = 0;
    for (Seal s : seals) {
      bits |= s.flag;
    }
    calls.on(Call.FCNTL, memfd, F_ADD_SEALS, bits);
  }

  /**
   * A memfd's seals.
   *
   * @throws SystemCallException EINVAL if it is no memfd
   */
  public Set<Seal> seals(Fd memfd) {
    long bits = calls.on(Call.FCNTL, memfd, F_GET_SEALS);
    Set<Seal> seals = EnumSet.noneOf(Seal.class);
    for (Seal s : Seal.values()) {
      if ((bits & s.flag) != 0) {
        seals.add(s);
      }
    }
    return seals;
  }

  /**
   * Maps a part of a file or memfd, shared.
   *
   * @param fd may be closed afterwards, the mapping stays
   * @param offset where the part begins, in bytes, a multiple of the page's size
   * @param bytes its length, above 0
   * @param protection at least one; {@link Protection#WRITE} implies reading
   * @return the caller's to close
   * @throws SystemCallException EACCES if the descriptor was not opened for it, EPERM if a seal
   *     forbids it, ENOMEM
   * @throws IllegalArgumentException without a protection
   */
  public Mapping map(Fd fd, long offset, long bytes, Protection... protection) {
    Set<Protection> wanted = Set.of(protection);
    if (wanted.isEmpty()) {
      throw new IllegalArgumentException("map " + fd.what() + " for reading, writing, or both");
    }
    boolean writable = wanted.contains(Protection.WRITE);
    int bits = Protection.READ.flag | (writable ? Protection.WRITE.flag : 0);
    int number = fd.borrow();
    try {
      long address = calls.make(Call.MMAP, fd.what(), 0, bytes, bits, MAP_SHARED, number, offset);
      return new Mapping(calls, address, bytes, writable, fd.what());
    } finally {
      fd.giveBack();
    }
  }

  // ---------------------------------------------------------------------------------------------------- files

  /**
   * Opens a path.
   *
   * @throws SystemCallException ENOENT, EACCES, EEXIST and what else open(2) names
   */
  public Fd open(Path path, OpenFlag... flags) {
    String what = path.toString();
    try (Arena arena = Arena.ofConfined()) {
      return calls.own(
          calls.make(
              Call.OPEN,
              what,
              Field.string(arena, what).address(),
              OpenFlag.bits(flags) | O_CLOEXEC | O_NOCTTY,
              OWNER_ONLY),
          what);
    }
  }

  /**
   * Opens anew, for reading and writing, what another process has open: the same file or memfd,
   * with a position of its own. Sockets can't be opened anew (ENXIO); {@link PidFd#take} takes
   * those.
   *
   * @param descriptor its number in that process
   * @throws SystemCallException ENOENT if there is no such process or descriptor, EACCES if it
   *     belongs to somebody else
   */
  public Fd reopen(int pid, int descriptor) {
    return open(Path.of("/proc/" + pid + "/fd/" + descriptor), OpenFlag.READ, OpenFlag.WRITE);
  }

  /**
   * Opens anew what a descriptor of this process has open, for the same access: the same file or
   * memfd, with a position of its own.
   *
   * @return the caller's
   * @throws SystemCallException ENXIO for a socket, and what else open(2) names
   */
  public Fd reopen(Fd fd) {
    int number = fd.borrow();
    try {
      long access = calls.on(Call.FCNTL, fd, F_GETFL) & O_ACCMODE;
      Path link = Path.of("/proc/self/fd/" + number);
      Fd opened =
          access == 0
              ? open(link, OpenFlag.READ)
              : access == 1
                  ? open(link, OpenFlag.WRITE)
                  : open(link, OpenFlag.READ, OpenFlag.WRITE);
      return Fd.own(kernel(), opened.release(), fd.what());
    } finally {
      fd.giveBack();
    }
  }

  /**
   * Returns whether two descriptors are of one open file, as duplicates are: they share its
   * position. Two that were opened for themselves are not, even of the same file.
   *
   * @throws SystemCallException EPERM or ENOSYS if Linux is older than 6.10 and kcmp(2) is
   *     forbidden or missing
   */
  public boolean sameOpenFile(Fd one, Fd other) {
    int second = other.borrow();
    try {
      long result = calls.attemptOn(Call.FCNTL, one, F_DUPFD_QUERY, second);
      if (result != -Errno.EINVAL.number()) {
        return SystemCallException.check(result, Call.FCNTL, one.what()) == 1;
      }
      // Before 6.10.
      int first = one.borrow();
      try {
        long me = ProcessHandle.current().pid();
        return calls.make(Call.KCMP, one.what(), me, me, KCMP_FILE, first, second) == 0;
      } finally {
        one.giveBack();
      }
    } finally {
      other.giveBack();
    }
  }

  /** A file's or memfd's size in bytes. */
  public long size(Fd fd) {
    try (Arena arena = Arena.ofConfined()) {
      return Field.getLong(stat(arena, fd), ST_SIZE);
    }
  }

  /**
   * What is the same for all descriptors of one file or memfd, in every process, and for no
   * other's.
   */
  public FileIdentity identity(Fd fd) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment stat = stat(arena, fd);
      return new FileIdentity(Field.getLong(stat, ST_DEV), Field.getLong(stat, ST_INO));
    }
  }

  /**
   * Returns what identifies a file for good, on another kernel too. Opens the file for reading for
   * a moment.
   *
   * @param path of a regular file
   * @return empty if its file system has no handles, or Linux (before 6.9) or the file system does
   *     not tell its UUID
   * @throws SystemCallException ENOENT, EACCES and what else open(2) names
   */
  public Optional<LastingIdentity> lastingIdentity(Path path) {
    try (Arena arena = Arena.ofConfined();
        Fd file = open(path, OpenFlag.READ, OpenFlag.NONBLOCK)) {
      MemorySegment uuid = arena.allocate(FSUUID_BYTES);
      if (calls.attemptOn(Call.IOCTL, file, FS_IOC_GETFSUUID, uuid.address()) != 0) {
        return Optional.empty();
      }
      MemorySegment handle = arena.allocate(HANDLE + MAX_HANDLE_BYTES, Integer.BYTES);
      Field.setInt(handle, 0, MAX_HANDLE_BYTES);
      MemorySegment name = Field.string(arena, "/proc/self/fd/" + file.number());
      long result =
          calls.attempt(
              Call.NAME_TO_HANDLE_AT,
              AT_FDCWD,
              name.address(),
              handle.address(),
              Field.ints(arena, 0).address(),
              AT_SYMLINK_FOLLOW);
      if (result != 0) {
        return Optional.empty();
      }
      return Optional.of(
          new LastingIdentity(
              hexadecimal(uuid, 1, Field.getByte(uuid, 0)),
              // After the number of bytes: type and handle.
              hexadecimal(handle, Integer.BYTES, Integer.BYTES + Field.getInt(handle, 0))));
    }
  }

  private static String hexadecimal(MemorySegment bytes, int at, int length) {
    byte[] part = new byte[length];
    bytes.asByteBuffer().get(at, part);
    return HexFormat.of().formatHex(part);
  }

  /** How many names a file has; a memfd has none. */
  public long links(Fd fd) {
    try (Arena arena = Arena.ofConfined()) {
      return Field.getLong(stat(arena, fd), ST_NLINK);
    }
  }

  /** What kind of file system a file or memfd is on. */
  public FileSystem fileSystem(Fd fd) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment statfs = arena.allocate(STATFS_BYTES, Long.BYTES);
      calls.on(Call.FSTATFS, fd, statfs.address());
      return FileSystem.of(Field.getLong(statfs, 0));
    }
  }

  private MemorySegment stat(Arena arena, Fd fd) {
    MemorySegment stat = arena.allocate(STAT_BYTES, Long.BYTES);
    calls.on(Call.FSTAT, fd, stat.address());
    return stat;
  }

  /**
   * Changes a file's or memfd's size: what is new reads as zeros.
   *
   * @throws SystemCallException EPERM if a seal forbids it, EINVAL if it is negative or no multiple
   *     of the huge pages' size
   */
  public void resize(Fd fd, long bytes) {
    calls.on(Call.FTRUNCATE, fd, bytes);
  }

  /**
   * Allocates the memory or disk space of a part, so that writing there can't run out of it; makes
   * the file larger if the part ends beyond its end.
   *
   * @throws SystemCallException ENOSPC, ENOMEM; EPERM if a seal forbids it
   */
  public void allocate(Fd fd, long offset, long bytes) {
    calls.on(Call.FALLOCATE, fd, 0, offset, bytes);
  }

  /**
   * Reads what is there next, waiting for at least a byte where there can be one (pipe, socket).
   *
   * @param into filled from its beginning; above 0 bytes, of any kind (off the heap saves a copy)
   * @return how many bytes were read; 0 at the end
   * @throws IllegalArgumentException if {@code into} has no room
   */
  public int read(Fd fd, MemorySegment into) {
    if (into.byteSize() == 0 || into.isReadOnly()) {
      throw new IllegalArgumentException(
          "read " + fd.what() + " into memory of no size or for reading only");
    }
    long wanted = Math.min(into.byteSize(), Integer.MAX_VALUE);
    if (into.isNative()) {
      return (int) calls.on(Call.READ, fd, Calls.address(into), wanted);
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment copy = arena.allocate(wanted);
      long n = calls.on(Call.READ, fd, copy.address(), wanted);
      MemorySegment.copy(copy, 0, into, 0, n);
      return (int) n;
    }
  }

  /**
   * Writes everything, waiting for room as often as it takes. On failure a part may have been
   * written.
   *
   * @throws SystemCallException EPIPE if nobody reads the pipe any more, ENOSPC, EPERM if a seal
   *     forbids it
   */
  public void write(Fd fd, MemorySegment from) {
    if (!from.isNative()) {
      try (Arena arena = Arena.ofConfined()) {
        write(fd, arena.allocate(from.byteSize()).copyFrom(from));
      }
      return;
    }
    long done = 0;
    while (done < from.byteSize()) {
      done += calls.on(Call.WRITE, fd, Calls.address(from) + done, from.byteSize() - done);
    }
  }

  /**
   * Waits until what was written is on the disk, the file's size included.
   *
   * @throws SystemCallException EIO, ENOSPC if it could not be written; EINVAL for a pipe or socket
   */
  public void sync(Fd fd) {
    calls.on(Call.FSYNC, fd);
  }

  /**
   * Sets the position of the next read or write, which all duplicates of the descriptor share.
   *
   * @param offset in bytes from the beginning
   * @throws SystemCallException ESPIPE if it is a pipe or socket
   */
  public void seek(Fd fd, long offset) {
    calls.on(Call.LSEEK, fd, offset, SEEK_SET);
  }

  /**
   * The position of the next read or write, in bytes from the beginning.
   *
   * @throws SystemCallException ESPIPE if it is a pipe or socket
   */
  public long position(Fd fd) {
    return calls.on(Call.LSEEK, fd, 0, SEEK_CUR);
  }

  /**
   * The first offset at or after {@code offset} that has data; empty if there is only a hole up to
   * the end. Moves the position.
   */
  public OptionalLong nextData(Fd fd, long offset) {
    long at = calls.attemptOn(Call.LSEEK, fd, offset, SEEK_DATA);
    return at == -Errno.ENXIO.number()
        ? OptionalLong.empty()
        : OptionalLong.of(SystemCallException.check(at, Call.LSEEK, fd.what()));
  }

  /**
   * The first offset at or after {@code offset} that has no data; the end counts as a hole. Moves
   * the position.
   *
   * @throws SystemCallException ENXIO if {@code offset} is the end or beyond
   */
  public long nextHole(Fd fd, long offset) {
    return calls.on(Call.LSEEK, fd, offset, SEEK_HOLE);
  }

  // ---------------------------------------------------------------------------------------------------- pipes and sockets

  /** A pipe. */
  public Pipe pipe() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment two = arena.allocate(ValueLayout.JAVA_INT, 2);
      calls.make(Call.PIPE2, "a pipe", two.address(), O_CLOEXEC);
      return new Pipe(
          calls.own(Field.getInt(two, 0), "pipe, end to read"),
          calls.own(Field.getInt(two, 4), "pipe, end to write"));
    }
  }

  /**
   * One descriptor with which a pipe is both written and read, so that it has no end as long as
   * this one is open: a queue of bytes in the kernel.
   *
   * @param bytes room for so many; each piece that was written by itself may take a page of it. The
   *     kernel rounds up. Without CAP_SYS_RESOURCE it is less, two pages perhaps, where the user's
   *     pipes have as much as they may (pipe-user-pages-soft, pipe(7))
   */
  public Fd queue(int bytes) {
    try (Pipe pipe = pipe()) {
      Fd both =
          open(
              Path.of("/proc/self/fd/" + pipe.reader().number()),
              OpenFlag.READ,
              OpenFlag.WRITE,
              OpenFlag.NONBLOCK);
      try {
        long result = calls.attemptOn(Call.FCNTL, both, F_SETPIPE_SZ, bytes);
        if (result != -Errno.EPERM.number()) {
          SystemCallException.check(result, Call.FCNTL, both.what());
        }
        return both;
      } catch (Throwable t) {
        both.close();
        throw t;
      }
    }
  }

  /**
   * Lets reads and writes fail with EAGAIN where they would wait; for everybody who has a duplicate
   * of the descriptor.
   */
  public void nonblocking(Fd fd) {
    calls.on(Call.FCNTL, fd, F_SETFL, calls.on(Call.FCNTL, fd, F_GETFL) | O_NONBLOCK);
  }

  /**
   * Moves bytes within the kernel (splice(2)), without waiting: at any moment, also if this process
   * is killed, each byte is on exactly one side. One of both is a pipe, the other a pipe or a
   * {@link #nonblocking} stream socket.
   *
   * @param bytes how many at most
   * @return how many were moved; 0 if {@code from} is at its end; empty if there is nothing to read
   *     or no room to write
   * @throws SystemCallException EPIPE if nobody reads {@code to} any more; what was to be moved
   *     stays where it is then
   */
  public OptionalLong splice(Fd from, Fd to, long bytes) {
    return splice(from, to, 0, bytes);
  }

  /**
   * As {@link #splice(Fd, Fd, long)}, from a pipe to a file at {@code offset}, waiting for the
   * file's disk. The file's own position stays, and it must not be open for appending.
   *
   * @throws SystemCallException ENOSPC, EDQUOT, EIO: what was to be moved is still in the pipe
   */
  public OptionalLong spliceTo(Fd pipe, Fd file, long offset, long bytes) {
    try (Arena arena = Arena.ofConfined()) {
      return splice(pipe, file, Field.longs(arena, offset).address(), bytes);
    }
  }

  private OptionalLong splice(Fd from, Fd to, long offset, long bytes) {
    int target = to.borrow();
    try {
      return unlessAgain(
          calls.attemptOn(Call.SPLICE, from, 0, target, offset, bytes, SPLICE_F_NONBLOCK),
          Call.SPLICE,
          from.what() + " to " + to.what());
    } finally {
      to.giveBack();
    }
  }

  /**
   * Sends a part of a file to a {@link #nonblocking} socket, without waiting (sendfile(2)). The
   * file's position stays.
   *
   * @return how many bytes were sent; 0 if {@code offset} is the file's end or beyond; empty if the
   *     socket has no room
   * @throws SystemCallException EPIPE, ECONNRESET if the other side has closed
   */
  public OptionalLong sendFile(Fd socket, Fd file, long offset, long bytes) {
    int source = file.borrow();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment at = Field.longs(arena, offset);
      return unlessAgain(
          calls.attemptOn(Call.SENDFILE, socket, source, at.address(), bytes),
          Call.SENDFILE,
          file.what() + " to " + socket.what());
    } finally {
      file.giveBack();
    }
  }

  private static OptionalLong unlessAgain(long result, Call call, String object) {
    return result == -Errno.EAGAIN.number()
        ? OptionalLong.empty()
        : OptionalLong.of(SystemCallException.check(result, call, object));
  }

  /**
   * The terminal that a descriptor is of; empty if it is none.
   *
   * @param fd borrowed for as long as the terminal is used
   */
  public Optional<Terminal> terminal(Fd fd) {
    return Terminal.of(calls, fd);
  }

  /** A counter of events (eventfd(2)), at 0. */
  public Fd eventfd() {
    return calls.own(calls.make(Call.EVENTFD, "an eventfd", 0, O_CLOEXEC), "eventfd");
  }

  /** Two sockets connected with each other. */
  public FdPair socketPair(SocketType type) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment two = arena.allocate(ValueLayout.JAVA_INT, 2);
      calls.make(
          Call.SOCKETPAIR,
          "of type " + type,
          Sockets.AF_UNIX,
          type.number | Sockets.SOCK_CLOEXEC,
          0,
          two.address());
      return new FdPair(
          calls.own(Field.getInt(two, 0), "socket pair, left end"),
          calls.own(Field.getInt(two, 4), "socket pair, right end"));
    }
  }

  /**
   * Listens for stream connections on a path, which must not exist: who starts anew removes the
   * file of a dead predecessor first. The file's permissions are those that the process's umask
   * leaves.
   *
   * @param path at most 107 bytes
   * @param backlog how many connections may wait for being accepted
   * @throws SystemCallException EADDRINUSE if the path exists, ENAMETOOLONG, ENOENT if its
   *     directory is missing, EACCES
   */
  public UnixListener listen(Path path, int backlog) {
    return Sockets.listen(calls, path, backlog);
  }

  /**
   * Connects to a listening stream socket, waiting while its backlog is full.
   *
   * @throws SystemCallException ENOENT if there is no such path, ECONNREFUSED if nobody listens
   *     there, ENAMETOOLONG, EACCES
   */
  public UnixSocket connect(Path path) {
    return connect(path, SocketType.STREAM);
  }

  /**
   * As {@link #connect(Path)}, with a socket of another type.
   *
   * @throws SystemCallException EPROTOTYPE besides, if what listens there is of another type
   */
  public UnixSocket connect(Path path, SocketType type) {
    return Sockets.connect(calls, path, type);
  }

  /**
   * Uses a connected socket: an end of a pair, or a received one.
   *
   * @param connected taken over: closed with the result
   */
  public UnixSocket adopt(Fd connected) {
    return new UnixSocket(calls, connected);
  }

  /**
   * Goes on with a listening socket that another process made.
   *
   * @param path where it listens
   * @param listening taken over: closed with the result
   */
  public UnixListener adoptListener(Path path, Fd listening) {
    return new UnixListener(calls, path, listening);
  }

  /**
   * Waits until one of the descriptors can be read without waiting, or is at its end.
   *
   * @param readable borrowed
   * @param timeout how long to wait at most; zero or less doesn't wait
   * @return those that can be read, in their order; empty after the timeout
   */
  public List<Fd> poll(List<Fd> readable, Duration timeout) {
    return Polling.poll(calls, readable, timeout);
  }

  /**
   * Waits until one of the descriptors is ready for what it is waited for, or hung up.
   *
   * @param wanted borrowed, with what each is waited for; nothing for {@link Readiness#HUNG_UP}
   *     alone
   * @param timeout how long to wait at most; zero or less doesn't wait
   * @return those that are ready, with what for; empty after the timeout
   */
  public Map<Fd, Set<Readiness>> poll(Map<Fd, Set<Readiness>> wanted, Duration timeout) {
    return Polling.poll(calls, wanted, timeout);
  }

  // ---------------------------------------------------------------------------------------------------- network

  /**
   * A network interface by its name, whether there is one or not.
   *
   * @param name 1 to {@link NetworkInterface#NAME_BYTES} bytes
   */
  public NetworkInterface networkInterface(String name) {
    return new NetworkInterface(calls, name);
  }

  /**
   * Makes a TAP in the caller's network namespace, which is down and in no bridge.
   *
   * @param name of its network interface, which must not exist
   * @param queues how many; as many as its user has pairs of them
   * @return the caller's to close
   * @throws SystemCallException ENOENT if this kernel has no TAPs; EPERM or EACCES without
   *     CAP_NET_ADMIN; EBUSY if the name is taken by another TAP, EINVAL if by something else
   */
  public Tap tap(String name, int queues) {
    return Tap.make(calls, name, queues);
  }

  /**
   * Passes on what waits in a TAP's queues: each packet leaves another interface in its place,
   * which for a TAP means that it waits there. Needs CAP_NET_RAW.
   *
   * @param queues of the TAP that the packets wait in, whose process reads them no more; borrowed
   * @param to where they leave
   * @param most how many of each queue
   * @return how many were passed on; what finds no room there is lost
   * @throws SystemCallException ENODEV if there is no interface {@code to}, ENETDOWN if it is down,
   *     EPERM; those passed on before are
   */
  public int passOn(List<Fd> queues, NetworkInterface to, int most) {
    return Tap.passOn(calls, queues, to, most);
  }

  /**
   * Listens for TCP connections.
   *
   * @param address an IPv4 one; port 0 lets the kernel choose
   * @param backlog how many connections may wait for being accepted
   * @throws SystemCallException EADDRINUSE if somebody listens there, EADDRNOTAVAIL if this machine
   *     has no such address, EACCES if this user may not listen on that port
   */
  public TcpListener listen(InetSocketAddress address, int backlog) {
    return TcpListener.listen(calls, address, backlog);
  }

  /**
   * Uses a listening socket that {@link #listen(InetSocketAddress, int)} made, perhaps in another
   * process.
   *
   * @param listening taken over: closed with the result
   */
  public TcpListener adoptListener(Fd listening) {
    return new TcpListener(calls, listening);
  }

  /**
   * Begins to connect to an IPv4 address; done, or failed, once the socket can be written: {@link
   * TcpSocket#check} tells.
   *
   * @throws SystemCallException ENETUNREACH and what else shows at once
   */
  public TcpSocket connect(InetSocketAddress to) {
    return TcpSocket.connect(calls, to);
  }

  // ---------------------------------------------------------------------------------------------------- processes

  /**
   * Starts a program: in a session of its own (so that neither Ctrl-C nor a hangup of this one's
   * terminal reaches it), every signal at its default and none blocked, its standard input {@code
   * /dev/null} unless number 0 is inherited, and no descriptor but those the request names.
   *
   * @return the child, the caller's to close; its end is to be awaited there
   * @throws SystemCallException ENOENT if there is no such program, EACCES if it may not be
   *     executed, ENOEXEC if it is none; EMFILE
   */
  public ChildProcess spawn(SpawnRequest request) {
    return Spawning.spawn(calls, request);
  }

  /**
   * A handle of a process, which stays that process's even when its number is used again.
   *
   * @throws SystemCallException ESRCH if there is no such process, EINVAL if {@code pid} is a
   *     thread or not above 0
   */
  public PidFd pidfd(int pid) {
    String what = "process " + pid;
    return new PidFd(calls, pid, calls.own(calls.make(Call.PIDFD_OPEN, what, pid, 0), what));
  }

  /** The effective user's number, 0 for root. */
  public int effectiveUser() {
    return (int) calls.attempt(Call.GETEUID);
  }

  /**
   * Raises the number of descriptors that this process may have to the most that it may give itself
   * (RLIMIT_NOFILE, the soft limit to the hard one). Programs that it starts inherit that.
   *
   * @return how many it may have now: as before, if the kernel's own limit (fs.nr_open) is below
   */
  public long raiseDescriptorLimit() {
    try (Arena arena = Arena.ofConfined()) {
      // struct rlimit: the soft limit, the hard one.
      MemorySegment limits = arena.allocate(2L * Long.BYTES, Long.BYTES);
      calls.make(Call.GETRLIMIT, "the limit of descriptors", RLIMIT_NOFILE, limits.address());
      long soft = Field.getLong(limits, 0);
      long hard = Field.getLong(limits, Long.BYTES);
      Field.setLong(limits, 0, hard);
      return calls.attempt(Call.SETRLIMIT, RLIMIT_NOFILE, limits.address()) == 0 ? hard : soft;
    }
  }

  /**
   * Says how readily a thread gets a processor before others that want it (setpriority(2), which on
   * Linux is about one thread). Threads and processes that it starts inherit it.
   *
   * @param thread its number, for a process's first thread the process's; 0 for the calling thread
   * @param value from -20, the most, to 19; 0 is usual
   * @return false if this process lacks the privilege (CAP_SYS_NICE, or RLIMIT_NICE) or the thread
   *     is gone: nothing has changed then
   */
  public boolean nice(int thread, int value) {
    long result = calls.attempt(Call.SETPRIORITY, PRIO_PROCESS, thread, value);
    if (result == -Errno.EACCES.number()
        || result == -Errno.EPERM.number()
        || result == -Errno.ESRCH.number()) {
      return false;
    }
    SystemCallException.check(result, Call.SETPRIORITY, "nice " + value + " of thread " + thread);
    return true;
  }

  /**
   * Gives the calling thread a real-time priority (SCHED_FIFO), so that ordinary threads don't keep
   * it waiting. What it starts does not inherit it.
   *
   * @param priority from 1, the lowest, to 99
   * @return false if this process lacks the privilege (CAP_SYS_NICE, or RLIMIT_RTPRIO): the thread
   *     goes on as it was
   * @throws SystemCallException EINVAL if the priority is out of range
   */
  public boolean realTime(int priority) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment parameter = Field.ints(arena, priority);
      long result =
          calls.attempt(
              Call.SCHED_SETSCHEDULER, 0, SCHED_FIFO | SCHED_RESET_ON_FORK, parameter.address());
      if (result == -Errno.EPERM.number()) {
        return false;
      }
      SystemCallException.check(result, Call.SCHED_SETSCHEDULER, "SCHED_FIFO " + priority);
      return true;
    }
  }

  // ---------------------------------------------------------------------------------------------------- the kernel

  /**
   * Which thread made the call that a FUSE file system in this process serves at the moment, on the
   * thread that serves it; 0 if it is in another PID namespace.
   *
   * @throws UnsupportedOperationException if libfuse is not loaded
   */
  public int fuseCaller() {
    // struct fuse_context: a pointer, uid, gid, and then it.
    long context = calls.make(Call.FUSE_GET_CONTEXT, "the calling thread");
    return Field.getInt(
        MemorySegment.ofAddress(context).reinterpret(FUSE_CONTEXT_PID + Integer.BYTES),
        FUSE_CONTEXT_PID);
  }

  /** Writing file systems out, and unmounting them. */
  public Mounts mounts() {
    return new Mounts(calls);
  }

  /**
   * Starts an idle process that shares this one's table of descriptors: whatever is in it is open
   * as long as either lives, from the moment on that the kernel puts it there. So a descriptor that
   * must not be closed survives a kill that comes before anybody can pass it on. The price is that
   * <em>nothing</em> that this process has open is closed, unlocked or hung up by its death.
   *
   * @return the caller's to end, by SIGKILL, and to reap
   * @throws SystemCallException EAGAIN, ENOMEM
   */
  public ChildProcess shareDescriptors() {
    return Sharing.start(calls);
  }

  /** Loads what {@link #shareDescriptors} needs, for who has no time for that later. */
  public void loadSharing() {
    var _ = Sharing.pause();
  }

  /**
   * The processor's time stamp counter, where it has one that goes on over a kexec: what measures
   * from one kernel to the next. Its unit differs from machine to machine.
   */
  public OptionalLong timeStampCounter() {
    return System.getProperty("os.arch", "").equals("amd64")
        ? OptionalLong.of(calls.attempt(Call.RDTSC))
        : OptionalLong.empty();
  }

  /** Keeping descriptors over a kexec. */
  public LiveUpdate liveUpdate() {
    return new LiveUpdate(calls);
  }

  /** Loading and starting another kernel. */
  public Kexec kexec() {
    return new Kexec(calls, this);
  }

  /**
   * Stops the machine, at once: no service is stopped, nothing is written to disk, no file system
   * unmounted. Returns only by an exception.
   *
   * @throws SystemCallException EPERM without CAP_SYS_BOOT; EINVAL for {@link Reboot#KEXEC} if no
   *     kernel is loaded
   */
  public void reboot(Reboot how) {
    calls.make(Call.REBOOT, how.toString(), how.command);
    throw new IllegalStateException("reboot " + how + " returned and reported no error");
  }
}
