package io.holdfast.linux;

import java.util.Locale;

/** The functions of the C library that Holdfast calls; each constant's name in lower case is the function's. */
public enum Call {
  ACCEPT4, BIND, CLOSE, CONNECT, FALLOCATE, FCNTL, FTRUNCATE, FSTAT, GETEUID, GETSOCKOPT, KILL, LISTEN, LSEEK, MADVISE, MEMFD_CREATE,
  MMAP, MUNMAP, OPEN, POLL, READ, RECVMSG, SENDMSG, SETSOCKOPT, SHUTDOWN, SOCKET, SOCKETPAIR, WRITE;

  /** The C library's name for it. */
  public String function() {
    return name().toLowerCase(Locale.ROOT);
  }
}
