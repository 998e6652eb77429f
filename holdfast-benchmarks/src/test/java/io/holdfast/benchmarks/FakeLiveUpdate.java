package io.holdfast.benchmarks;

import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;

/**
 * A kernel that preserves descriptors for the next one, as LUO does, and loads that, but never
 * starts it. A memfd stands for a session; closing the last descriptor of it undoes the session.
 */
final class FakeLiveUpdate implements Kernel {
  private static final int LUO = 0xBA00;
  private static final int CREATE_SESSION = LUO;
  private static final int PRESERVE_FD = LUO | 0x40;
  private static final int UNLOAD = 1;
  private static final int F_DUPFD_CLOEXEC = 1030;
  private static final int FD = 4;
  private static final int REST = 8;
  private static final String LINK = "/memfd:session ";

  private final Linux real = Linux.system();

  /** What each session has preserved: tokens and files. */
  private final Map<String, Set<String>> preserved = new HashMap<>();

  private boolean loaded;

  /** The sessions that are open. */
  synchronized Set<String> sessions() {
    Set<String> open = new TreeSet<>();
    try (Stream<Path> all = Files.list(Path.of("/proc/self/fd"))) {
      all.forEach(
          each -> {
            String link = link(each);
            if (link.startsWith(LINK)) {
              open.add(name(link));
            }
          });
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    preserved.keySet().retainAll(open);
    return open;
  }

  /** Whether a kernel is loaded. */
  synchronized boolean loaded() {
    return loaded;
  }

  private static String link(Path descriptor) {
    try {
      return Files.readSymbolicLink(descriptor).toString();
    } catch (NoSuchFileException e) {
      return "";
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String name(String link) {
    return link.substring(LINK.length(), link.length() - " (deleted)".length());
  }

  @Override
  public long call(Call call, long a, long b, long c, long d, long e, long f) {
    try {
      if (call == Call.OPEN && text(a).equals("/dev/liveupdate")) {
        return real.memfd("liveupdate", 0).release();
      }
      if (call == Call.IOCTL && (b & 0xff00) == LUO) {
        return ioctl((int) a, (int) b, c);
      }
      if (call == Call.KEXEC_FILE_LOAD) {
        synchronized (this) {
          loaded = e != UNLOAD;
          return 0;
        }
      }
      // The machine's file systems are not the test's.
      return call == Call.SYNC ? 0 : Kernel.system().call(call, a, b, c, d, e, f);
    } catch (IOException x) {
      throw new UncheckedIOException(x);
    }
  }

  private synchronized long ioctl(int fd, int request, long address) throws IOException {
    Set<String> open = sessions();
    if (request == CREATE_SESSION) {
      String name = text(address + REST);
      if (open.contains(name)) {
        return -Errno.EEXIST.number();
      }
      preserved.put(name, new HashSet<>());
      try (RandomAccessFile memory = new RandomAccessFile("/proc/self/mem", "rw")) {
        memory.seek(address + FD);
        memory.write(number(real.memfd("session " + name, 0).release()));
      }
      return 0;
    }
    String link = link(Path.of("/proc/self/fd/" + fd));
    Set<String> session = preserved.get(link.startsWith(LINK) ? name(link) : "");
    if (request != PRESERVE_FD || session == null) {
      return -Errno.ENOTTY.number();
    }
    String token = "token " + memory(address + REST, Long.BYTES).getLong();
    if (session.contains(token)) {
      return -Errno.EEXIST.number();
    }
    String file = identity(memory(address + FD, Integer.BYTES).getInt());
    if (preserved.values().stream().anyMatch(each -> each.contains(file))) {
      return -Errno.EBUSY.number();
    }
    session.addAll(Set.of(token, file));
    return 0;
  }

  private String identity(int number) {
    // Its own duplicate: an Fd closes what it has.
    long copy = Kernel.system().call(Call.FCNTL, number, F_DUPFD_CLOEXEC, 0, 0, 0, 0);
    try (Fd fd = Fd.own(Kernel.system(), (int) copy, "a descriptor to preserve")) {
      return real.identity(fd).toString();
    }
  }

  private static byte[] number(int value) {
    return ByteBuffer.allocate(Integer.BYTES).order(ByteOrder.nativeOrder()).putInt(value).array();
  }

  private static ByteBuffer memory(long address, int length) throws IOException {
    byte[] bytes = new byte[length];
    try (RandomAccessFile memory = new RandomAccessFile("/proc/self/mem", "r")) {
      memory.seek(address);
      memory.readFully(bytes);
    }
    return ByteBuffer.wrap(bytes).order(ByteOrder.nativeOrder());
  }

  private static String text(long address) throws IOException {
    StringBuilder text = new StringBuilder();
    try (RandomAccessFile memory = new RandomAccessFile("/proc/self/mem", "r")) {
      memory.seek(address);
      for (int next = memory.read(); next > 0; next = memory.read()) {
        text.append((char) next);
      }
    }
    return new String(
        text.toString().getBytes(StandardCharsets.ISO_8859_1), StandardCharsets.UTF_8);
  }
}
