package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** Unix sockets by path. */
final class Sockets {
  static final int AF_UNIX = 1;
  static final int SOCK_CLOEXEC = 0x80000;

  // struct sockaddr_un: short family, char path[108] with a NUL at its end.
  private static final int PATH_AT = 2;
  private static final int LONGEST_PATH = 107;

  private Sockets() {}

  static UnixListener listen(Calls calls, Path path, int backlog) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment address = address(arena, Call.BIND, path);
      Fd fd = socket(calls, path + " (listening)", SocketType.STREAM);
      try {
        calls.on(Call.BIND, fd, address.address(), address.byteSize());
        long result = calls.attemptOn(Call.LISTEN, fd, backlog);
        if (result < 0) {
          // The file is ours: bind made it.
          calls.attempt(Call.UNLINK, address.address() + PATH_AT);
          throw SystemCallException.failed(Call.LISTEN, result, fd.what());
        }
        return new UnixListener(calls, path, fd);
      } catch (Throwable t) {
        fd.close();
        throw t;
      }
    }
  }

  static UnixSocket connect(Calls calls, Path path, SocketType type) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment address = address(arena, Call.CONNECT, path);
      Fd fd = socket(calls, path.toString(), type);
      try {
        calls.on(Call.CONNECT, fd, address.address(), address.byteSize());
        return new UnixSocket(calls, fd);
      } catch (Throwable t) {
        fd.close();
        throw t;
      }
    }
  }

  private static Fd socket(Calls calls, String what, SocketType type) {
    return calls.own(calls.make(Call.SOCKET, what, AF_UNIX, type.number | SOCK_CLOEXEC, 0), what);
  }

  private static MemorySegment address(Arena arena, Call call, Path path) {
    MemorySegment name = Field.string(arena, path.toString());
    int length = path.toString().getBytes(StandardCharsets.UTF_8).length;
    if (length > LONGEST_PATH) {
      throw SystemCallException.failed(
          call, -Errno.ENAMETOOLONG.number(), path + " (" + length + " bytes)");
    }
    MemorySegment address = arena.allocate(PATH_AT + name.byteSize(), Long.BYTES);
    Field.setShort(address, 0, AF_UNIX);
    MemorySegment.copy(name, 0, address, PATH_AT, name.byteSize());
    return address;
  }
}
