package io.holdfast.linux;

import java.util.Locale;

/**
 * What Holdfast calls of the C library and of Linux; each constant's name in lower case is the
 * function's.
 */
public enum Call {
  ACCEPT4,
  BIND,
  /** The C library's: the process begins in a function. */
  CLONE,
  CLOSE,
  CONNECT,
  EVENTFD,
  FALLOCATE,
  FCNTL,
  FSTAT,
  FSTATFS,
  FSYNC,
  FTRUNCATE,
  /** libfuse's, which must be loaded: whom a file system in this process serves. */
  FUSE_GET_CONTEXT(Returns.LONG),
  GETEUID,
  GETRLIMIT,
  GETSOCKNAME,
  GETSOCKOPT,
  IOCTL,
  /** Its number differs between machines; this is x86-64's. */
  KEXEC_FILE_LOAD(320),
  /** Its number differs between machines; this is x86-64's. */
  KCMP(312),
  KILL,
  LISTEN,
  LSEEK(Returns.LONG),
  MADVISE,
  MEMFD_CREATE,
  MMAP(Returns.LONG),
  MOUNT,
  MUNMAP,
  NAME_TO_HANDLE_AT,
  OPEN,
  PIDFD_GETFD(438),
  PIDFD_OPEN(434),
  PIDFD_SEND_SIGNAL(424),
  PIPE2,
  POSIX_SPAWNP(Returns.ERROR),
  POSIX_SPAWNATTR_DESTROY(Returns.ERROR),
  POSIX_SPAWNATTR_INIT(Returns.ERROR),
  POSIX_SPAWNATTR_SETFLAGS(Returns.ERROR),
  POSIX_SPAWNATTR_SETSIGDEFAULT(Returns.ERROR),
  POSIX_SPAWNATTR_SETSIGMASK(Returns.ERROR),
  POSIX_SPAWN_FILE_ACTIONS_ADDCLOSE(Returns.ERROR),
  POSIX_SPAWN_FILE_ACTIONS_ADDCLOSEFROM_NP(Returns.ERROR),
  POSIX_SPAWN_FILE_ACTIONS_ADDDUP2(Returns.ERROR),
  POSIX_SPAWN_FILE_ACTIONS_ADDOPEN(Returns.ERROR),
  POSIX_SPAWN_FILE_ACTIONS_DESTROY(Returns.ERROR),
  POSIX_SPAWN_FILE_ACTIONS_INIT(Returns.ERROR),
  PPOLL,
  /**
   * No function of anybody's but one instruction of x86-64, {@code rdtsc}: the processor's time
   * stamp counter.
   */
  RDTSC(Returns.LONG),
  READ(Returns.LONG),
  REBOOT,
  RECVMSG(Returns.LONG),
  SCHED_SETSCHEDULER,
  SENDFILE(Returns.LONG),
  SENDMSG(Returns.LONG),
  SETPRIORITY,
  SETRLIMIT,
  SETSOCKOPT,
  SHUTDOWN,
  SOCKET,
  SOCKETPAIR,
  SPLICE(Returns.LONG),
  SYNC,
  TCGETATTR,
  TCSETATTR,
  UMOUNT2,
  UNLINK,
  WAITID,
  WRITE(Returns.LONG);

  /** How a function tells its result. */
  enum Returns {
    /** An int, -1 for failure with errno set. */
    INT,
    /** A long, -1 for failure with errno set. */
    LONG,
    /** The error's number itself, 0 for success. */
    ERROR
  }

  /** Says that the C library's function is used. */
  static final int NO_NUMBER = -1;

  private final Returns returns;
  private final int systemCall;

  Call() {
    this(Returns.INT);
  }

  Call(Returns returns) {
    this.returns = returns;
    this.systemCall = NO_NUMBER;
  }

  /**
   * A system call that the C library has no function for before glibc 2.36, or at all; the number
   * is the same on every machine unless said otherwise.
   */
  Call(int systemCall) {
    this.returns = Returns.LONG;
    this.systemCall = systemCall;
  }

  /** The C library's name for it. */
  public String function() {
    return name().toLowerCase(Locale.ROOT);
  }

  Returns returns() {
    return returns;
  }

  /** The number to pass to syscall(2), or {@link #NO_NUMBER} to call the function by its name. */
  int systemCall() {
    return systemCall;
  }
}
