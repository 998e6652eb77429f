package io.holdfast.linux;

/** What to do about an error, where the call and the error alone tell. */
final class Advice {
  private Advice() {}

  /** One or more sentences, or nothing where the error's own text says it all. */
  static String on(Call call, Errno errno) {
    String special =
        switch (call) {
          case POSIX_SPAWNP -> onSpawn(errno);
          case BIND, LISTEN, CONNECT, ACCEPT4 -> onSocket(errno);
          case MEMFD_CREATE, FTRUNCATE, FALLOCATE, MMAP, MADVISE -> onMemory(call, errno);
          case FCNTL -> onSeals(errno);
          case PIDFD_OPEN, PIDFD_GETFD, PIDFD_SEND_SIGNAL, WAITID -> onProcess(call, errno);
          case SENDMSG, RECVMSG, WRITE -> onTransfer(errno);
          case KEXEC_FILE_LOAD -> onKexec(errno);
          case REBOOT -> onReboot(errno);
          default -> "";
        };
    return special.isEmpty() ? general(errno) : special;
  }

  private static String general(Errno errno) {
    return switch (errno) {
      case EMFILE ->
          "This process has as many descriptors as it may: raise its limit (ulimit -n, or LimitNOFILE= of its systemd"
              + " unit).";
      case ENFILE -> "The machine has as many open files as it may: raise /proc/sys/fs/file-max.";
      case EACCES ->
          "This user may not: check the permissions of it and of every directory above it, or run as another user.";
      case EPERM ->
          "This needs a privilege that the process lacks: run it as root, or grant the capability.";
      case ENOENT -> "There is no such path: check its spelling and that what makes it has run.";
      case ENOMEM ->
          "Memory is short: free some, or raise the memory limit (MemoryMax=) of this process.";
      case ENAMETOOLONG -> "Choose a shorter name.";
      case ENOSYS, EOPNOTSUPP ->
          "This kernel, or the file system, does not have it; Holdfast needs Linux 5.14 or newer.";
      case ENOSPC -> "The file system is full: free some space on it.";
      case EROFS -> "The file system is mounted read-only.";
      case EBADF ->
          "The descriptor was not open for this use (reading, writing, or what the call works on).";
      default -> "";
    };
  }

  private static String onSpawn(Errno errno) {
    return switch (errno) {
      case ENOENT ->
          "There is no such program, on this path or in PATH, or the interpreter it names in its first line is missing:"
              + " install it or correct the path.";
      case EACCES ->
          "The file is not executable for this user (chmod +x), or its file system is mounted noexec, or it was not found"
              + " and PATH has a directory that this user may not search.";
      case ENOEXEC ->
          "The file is no program for this machine: another architecture, or a script without a #! line.";
      case ETXTBSY ->
          "The program's file is open for writing: wait until it is written and closed.";
      case E2BIG -> "Its arguments and environment together are too long.";
      case EAGAIN ->
          "This user has as many processes as it may: raise ulimit -u, or TasksMax= of the systemd unit.";
      case EBADF -> "A descriptor to inherit is given a number above the limit of ulimit -n.";
      default -> "";
    };
  }

  private static String onSocket(Errno errno) {
    return switch (errno) {
      case EADDRINUSE ->
          "Another process listens there, or one that died left the socket file behind: stop it, or remove the file.";
      case EADDRNOTAVAIL -> "This machine has no such address: `ip address` shows those it has.";
      case ECONNREFUSED -> "Nobody listens there (any more): start what should, then try again.";
      case ENOENT ->
          "There is no such socket or directory: start what makes it, or correct the path.";
      case ENAMETOOLONG -> "The path of a Unix socket has at most 107 bytes: choose a shorter one.";
      case EAGAIN -> "More connections wait there than its backlog holds: try again.";
      case EPROTOTYPE -> "What listens there is a socket of another type (stream, packets).";
      default -> "";
    };
  }

  private static String onMemory(Call call, Errno errno) {
    return switch (errno) {
      case ENOMEM, EFAULT ->
          "Memory is short: free some, raise MemoryMax= of this process, or if it is of huge pages, reserve more of their"
              + " size (nr_hugepages in /sys/kernel/mm/hugepages/).";
      case ENODEV -> "This machine has no huge pages of this size, or the file cannot be mapped.";
      case EPERM ->
          call == Call.MMAP || call == Call.FTRUNCATE || call == Call.FALLOCATE
              ? "A seal on the memory forbids it, or the descriptor was not opened for it."
              : "";
      case EACCES -> "The descriptor was not opened for this access.";
      case EINVAL ->
          switch (call) {
            case MEMFD_CREATE ->
                "The name has more than 249 bytes, or this kernel lacks one of the options.";
            case MADVISE ->
                "This kernel lacks the advice (huge pages are off, or it is older than 5.14).";
            case FTRUNCATE ->
                "The size is negative, or no multiple of the huge pages' size, or the file has no size.";
            default -> "The offset or size is negative, zero, or no multiple of the page's size.";
          };
      default -> "";
    };
  }

  private static String onSeals(Errno errno) {
    return switch (errno) {
      case EPERM ->
          "The memory was made without ALLOW_SEALING, or it is sealed against further seals.";
      case EBUSY ->
          "Somebody has it mapped for writing: unmap it before sealing it against writes.";
      case EINVAL ->
          "It is no memfd, or the descriptor's number would be above the limit of ulimit -n.";
      default -> "";
    };
  }

  private static String onProcess(Call call, Errno errno) {
    return switch (errno) {
      case ESRCH -> "The process has ended.";
      case EPERM ->
          call == Call.PIDFD_GETFD
              ? "Taking descriptors of a process needs the right to trace it: run as the same user with"
                  + " /proc/sys/kernel/yama/ptrace_scope 0, or as root."
              : "The process belongs to another user: run as that user or as root.";
      case EBADF ->
          call == Call.PIDFD_GETFD ? "The process has no open descriptor of this number." : "";
      case ECHILD -> "It is not a child of this process, or it was reaped already.";
      case EINVAL -> call == Call.PIDFD_OPEN ? "The number is a thread's, not a process's." : "";
      default -> "";
    };
  }

  private static String onTransfer(Errno errno) {
    return switch (errno) {
      case EPIPE, ECONNRESET -> "The other side has closed the connection or ended.";
      case ETOOMANYREFS ->
          "Too many descriptors are on their way through sockets for this user: raise ulimit -n, or let the receivers"
              + " take them.";
      case EMSGSIZE -> "The message is longer than a packet may be: send less at once.";
      default -> "";
    };
  }

  private static String onKexec(Errno errno) {
    return switch (errno) {
      case ENOEXEC ->
          "The file is no kernel that kexec can load (it takes a bzImage), or the running kernel was built without"
              + " CONFIG_RELOCATABLE.";
      case EPERM ->
          "Loading a kernel needs root (CAP_SYS_BOOT), /proc/sys/kernel/kexec_load_disabled at 0, and a kernel that is"
              + " not locked down.";
      case EBUSY -> "Another process is loading a kernel at this moment: try again.";
      case ENOSYS -> "The running kernel was built without CONFIG_KEXEC_FILE.";
      case EADDRNOTAVAIL, ENOMEM ->
          "There is no room for the kernel. With kho=on it must fit into KHO's scratch areas: free memory, or reserve"
              + " more at boot (kho_scratch=).";
      case EINVAL ->
          "The command line is longer than the kernel takes (2,047 bytes), or the file is cut off.";
      case EKEYREJECTED, ENOKEY, ENODATA ->
          "The running kernel loads only images that are signed with a key that it trusts.";
      default -> "";
    };
  }

  private static String onReboot(Errno errno) {
    return switch (errno) {
      case EPERM -> "Stopping the machine needs root (CAP_SYS_BOOT).";
      case EINVAL ->
          "No kernel is loaded for kexec: load one first. If one is, a preserved file could not be frozen; the kernel's"
              + " log names it.";
      case EBUSY -> "Another process is loading a kernel at this moment: try again.";
      default -> "";
    };
  }

  /** What an error on a network interface means. */
  static String onInterface(Errno errno) {
    return switch (errno) {
      case ENODEV ->
          "There is no such network interface in this network namespace: `ip link` shows those there are.";
      case EPERM -> "Changing network interfaces needs root (CAP_NET_ADMIN).";
      case EOPNOTSUPP ->
          "It is no bridge of the kernel's: `ip link show type bridge` shows those there are.";
      default -> general(errno);
    };
  }

  /** What an error on the making of a TAP means. */
  static String onTap(Errno errno) {
    return switch (errno) {
      case ENOENT, ENODEV, ENXIO ->
          "This kernel has no TAPs, or they are not loaded: modprobe tun, or build it with CONFIG_TUN.";
      case EPERM, EACCES -> "Making a TAP needs root (CAP_NET_ADMIN).";
      case EBUSY, EINVAL ->
          "The name is taken by another network interface: `ip link` shows it; remove it with `ip link delete`.";
      default -> general(errno);
    };
  }

  /**
   * What an error of the Live Update Orchestrator means; nothing where the general advice says it
   * all.
   */
  static String on(LiveUpdate.Operation operation, Errno errno) {
    return switch (operation) {
      case OPEN -> onOpenLiveUpdate(errno);
      case CREATE -> onCreateSession(errno);
      case RETRIEVE -> onRetrieveSession(errno);
      case PRESERVE -> onPreserve(errno);
      case RETRIEVE_FD -> onRetrieveDescriptor(errno);
      case FINISH -> onFinish(errno);
      case GET_NAME -> onSession(errno);
    };
  }

  private static String onOpenLiveUpdate(Errno errno) {
    return switch (errno) {
      case ENOENT ->
          "This kernel has no Live Update Orchestrator, or it is off: it needs CONFIG_LIVEUPDATE and a boot with kho=on"
              + " liveupdate=on.";
      case EBUSY ->
          "Another process has it open, and one at a time may: let go of it there (`fuser /dev/liveupdate` finds it; where"
              + " systemd 261 or newer runs the machine it is systemd), or try again.";
      case EIO ->
          "This kernel could not read what the previous one left, so that is lost: the kernel's log says why. It was"
              + " written by a kernel with another format, or one with a kind of file that this one does not know.";
      case EACCES, EPERM -> "Live updates are root's: run it as root.";
      default -> "";
    };
  }

  private static String onCreateSession(Errno errno) {
    return switch (errno) {
      case EEXIST ->
          "A session of this name exists: choose another, or end the process that holds that one.";
      case EINVAL -> "The kernel does not take the name: it has 1 to 63 bytes.";
      default -> onSession(errno);
    };
  }

  private static String onRetrieveSession(Errno errno) {
    return switch (errno) {
      case ENOENT ->
          "The previous kernel left no session of this name: it was not open at the kexec, this kernel was booted without"
              + " kho=on liveupdate=on, it is from the kernel before that one, or this was no kexec.";
      case EINVAL ->
          "It was retrieved before, by this or another process: only that descriptor of it can be used.";
      default -> onSession(errno);
    };
  }

  private static String onPreserve(Errno errno) {
    return switch (errno) {
      case ENOENT ->
          "This kernel can't preserve a descriptor of this kind; Linux 7.3 preserves memfds that are not of huge pages, and"
              + " nothing else.";
      case EEXIST -> "The session has another descriptor under this token: choose another.";
      case EBUSY -> "The file is preserved already, in this or another session.";
      case EOPNOTSUPP -> "The memfd has a seal that this kernel can't carry to the next.";
      case EFBIG -> "The memfd has more pages than this kernel can preserve in one (2^32).";
      case ENOSPC -> "The session is full: put it into another.";
      case EINVAL ->
          "The session came from the previous kernel, which nothing can be added to; or the descriptor can't be preserved.";
      default -> onSession(errno);
    };
  }

  private static String onRetrieveDescriptor(Errno errno) {
    return switch (errno) {
      case ENOENT -> "Nothing was preserved under this token in this session.";
      case EINVAL ->
          "The session was made on this kernel: only one that came from the previous kernel has something to retrieve. If it"
              + " did, the kernel could not rebuild the descriptor.";
      case EMFILE, ENFILE -> "";
      case ENOTTY -> onSession(errno);
      default ->
          "The kernel could not rebuild the descriptor, and will not try again: its memory is lost. The kernel's log may"
              + " say why.";
    };
  }

  private static String onFinish(Errno errno) {
    return switch (errno) {
      case EBUSY -> "The kernel can't let go of one of its descriptors yet: try again.";
      case EINVAL ->
          "The session was made on this kernel: only one that came from the previous can be finished.";
      default -> onSession(errno);
    };
  }

  private static String onSession(Errno errno) {
    return switch (errno) {
      case ENOTTY ->
          "The descriptor is no live update session, or a session of the other direction, or the kernel is too old for"
              + " this.";
      case E2BIG, EOPNOTSUPP ->
          "The kernel is older than this program: it lacks part of the request.";
      default -> "";
    };
  }
}
