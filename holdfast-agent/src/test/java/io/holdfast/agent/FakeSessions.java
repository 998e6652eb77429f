package io.holdfast.agent;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.journal.UpdateId;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import io.holdfast.kexec.manifest.Clock;
import io.holdfast.kexec.manifest.Manifest;
import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.Linux;
import io.holdfast.store.BoxId;
import io.holdfast.store.DescriptorStore;
import io.holdfast.store.StoreKey;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A kernel with sessions of a previous one that there never was: a memfd stands for a session, by
 * its name. It can refuse calls, and let its caller die at one.
 */
public final class FakeSessions implements Kernel {
  /** The update that arrives. */
  public static final String UPDATE = "20261130-000000-kernel-1";

  private static final int RETRIEVE_SESSION = 0xBA01;
  private static final int RETRIEVE_FD = 0xBA41;
  private static final int FINISH = 0xBA42;
  private static final int FD = 4;
  private static final int REST = 8;
  private static final String LINK = "/memfd:session ";

  private final Linux real = Linux.system();
  private final Map<String, Map<Long, Fd>> left = new TreeMap<>();
  private final Map<String, Fd> open = new TreeMap<>();
  private final Map<String, Errno> refusals = new ConcurrentHashMap<>();
  private final Set<String> asked = new HashSet<>();
  private final List<String> finished = new ArrayList<>();
  private int user;
  private int dieAt = Integer.MAX_VALUE;
  private int refuseAt = Integer.MAX_VALUE;
  private int calls;

  /** A kernel to which nothing has come yet. */
  public FakeSessions() {}

  /** The death of the caller. */
  public static final class Death extends Error {
    private static final long serialVersionUID = 1L;

    private Death() {}
  }

  /**
   * Lets an update arrive.
   *
   * @param boxes by name, each with its entries' contents by label
   * @param participants of the update
   */
  public void arrive(Map<String, Map<String, String>> boxes, List<String> participants) {
    List<Manifest.CrossedBox> crossed = new ArrayList<>();
    boxes.forEach(
        (name, entries) -> {
          String session = Manifest.SESSION + "/" + name;
          List<Manifest.CrossedEntry> all = new ArrayList<>();
          new TreeMap<>(entries)
              .forEach(
                  (label, content) -> {
                    long token = all.size() + 1L;
                    put(session, token, content.getBytes(StandardCharsets.UTF_8));
                    all.add(new Manifest.CrossedEntry(label, token));
                  });
          crossed.add(new Manifest.CrossedBox(BoxId.of(name), session, all));
        });
    UpdateId update = new UpdateId(UPDATE);
    ByteArrayOutputStream journal = new ByteArrayOutputStream();
    journal.writeBytes(
        JournalText.encode(
            new JournalRecord.Began(
                update, CarrierKind.KEXEC, Instant.now(), participants, Map.of())));
    for (UpdateState state :
        List.of(
            UpdateState.PREPARING,
            UpdateState.PREPARED,
            UpdateState.SHUTTING_DOWN,
            UpdateState.FREEZING,
            UpdateState.FROZEN)) {
      journal.writeBytes(JournalText.encode(new JournalRecord.Entered(update, state, 1)));
    }
    Clock now = Clock.now(real);
    int size = new Manifest(UPDATE, now, crossed, List.of(), 0, 0).toBlob().length;
    ByteArrayOutputStream memfd = new ByteArrayOutputStream();
    memfd.writeBytes(new Manifest(UPDATE, now, crossed, List.of(), size, journal.size()).toBlob());
    memfd.writeBytes(journal.toByteArray());
    put(Manifest.SESSION, Manifest.TOKEN, memfd.toByteArray());
  }

  /**
   * Lets an update arrive as another version left it. Each entry's content is {@code BOX/LABEL}.
   *
   * @param memfd the manifest, and the journal behind it
   */
  public void arrive(byte[] memfd) throws IOException {
    for (Manifest.CrossedBox box : Manifest.of(MemorySegment.ofArray(memfd)).boxes()) {
      for (Manifest.CrossedEntry entry : box.entries()) {
        String content = box.id().key(entry.label()).text();
        put(box.session(), entry.token(), content.getBytes(StandardCharsets.UTF_8));
      }
    }
    put(Manifest.SESSION, Manifest.TOKEN, memfd);
  }

  private void put(String session, long token, byte[] content) {
    Fd memfd = real.memfd("entry", 0);
    real.write(memfd, MemorySegment.ofArray(content));
    left.computeIfAbsent(session, _ -> new TreeMap<>()).put(token, memfd);
  }

  /**
   * Puts all sessions into a descriptor store, as systemd does, or the guard of an agent that died.
   */
  public void keep(DescriptorStore store) {
    left.keySet().forEach(name -> store.put(new StoreKey.ArrivedSession(name), session(name)));
  }

  /** Puts those into a descriptor store that were retrieved, and that it does not have. */
  public void rescue(DescriptorStore store) {
    for (String name : open.keySet()) {
      if (!store.keys().contains(new StoreKey.ArrivedSession(name))) {
        store.put(new StoreKey.ArrivedSession(name), session(name));
      }
    }
  }

  private Fd session(String name) {
    return open.computeIfAbsent(name, each -> real.memfd("session " + each, 0));
  }

  /**
   * Refuses something from now on.
   *
   * @param what {@code open}, {@code session NAME} or {@code NAME TOKEN}
   */
  public void refuse(String what, Errno errno) {
    refusals.put(what, errno);
  }

  /** Refuses nothing any more. */
  public void allow() {
    refusals.clear();
  }

  /** Whom its callers are told to be, root unless told otherwise. */
  public void user(int number) {
    user = number;
  }

  /** Its caller dies at a call from now on, counted from 1. */
  public void dieAt(int call) {
    dieAt = call;
    calls = 0;
  }

  /** Refuses one call with EIO, counted from 1 from now on. */
  public void refuseAt(int call) {
    refuseAt = call;
    calls = 0;
  }

  /** How many calls came since {@link #refuseAt} or {@link #dieAt}. */
  public int calls() {
    return calls;
  }

  /** The sessions that were finished, in that order. */
  public List<String> finished() {
    return List.copyOf(finished);
  }

  /** What was asked for, as {@link #refuse} names it. */
  public Set<String> asked() {
    return Set.copyOf(asked);
  }

  @Override
  public long call(Call call, long a, long b, long c, long d, long e, long f) {
    try {
      return switch (call) {
        case GETEUID -> user;
        case SENDMSG ->
            refused() ? -Errno.EIO.number() : Kernel.system().call(call, a, b, c, d, e, f);
        case OPEN ->
            text(a).equals("/dev/liveupdate")
                ? device()
                : Kernel.system().call(call, a, b, c, d, e, f);
        case IOCTL ->
            (b & 0xff00) == 0xBA00
                ? ioctl((int) a, (int) b, c)
                : Kernel.system().call(call, a, b, c, d, e, f);
        default -> Kernel.system().call(call, a, b, c, d, e, f);
      };
    } catch (IOException x) {
      throw new UncheckedIOException(x);
    }
  }

  private boolean refused() {
    if (++calls == dieAt) {
      throw new Death();
    }
    return calls == refuseAt;
  }

  private long device() {
    if (refused()) {
      return -Errno.EIO.number();
    }
    asked.add("open");
    Errno refused = refusals.get("open");
    return refused == null ? real.memfd("liveupdate", 0).release() : -refused.number();
  }

  private long ioctl(int fd, int request, long address) throws IOException {
    if (refused()) {
      return -Errno.EIO.number();
    }
    if (request == RETRIEVE_SESSION) {
      String name = text(address + REST);
      asked.add("session " + name);
      Errno refused = refusals.get("session " + name);
      if (refused != null || !left.containsKey(name) || open.containsKey(name)) {
        Errno errno = left.containsKey(name) ? Errno.EINVAL : Errno.ENOENT;
        return -(refused == null ? errno : refused).number();
      }
      return give(address, session(name));
    }
    String link = Files.readSymbolicLink(Path.of("/proc/self/fd/" + fd)).toString();
    if (!link.startsWith(LINK)) {
      return -Errno.ENOTTY.number();
    }
    String name = link.substring(LINK.length(), link.length() - " (deleted)".length());
    if (request == FINISH) {
      if (finished.contains(name)) {
        return -Errno.EINVAL.number();
      }
      finished.add(name);
      return 0;
    }
    if (request != RETRIEVE_FD) {
      return -Errno.ENOTTY.number();
    }
    long token = memory(address + REST, Long.BYTES).getLong();
    asked.add(name + " " + token);
    Errno refused = refusals.get(name + " " + token);
    Fd memfd = left.getOrDefault(name, Map.of()).get(token);
    if (refused != null || memfd == null) {
      return -(refused == null ? Errno.ENOENT : refused).number();
    }
    return give(address, memfd);
  }

  private static long give(long address, Fd fd) throws IOException {
    ByteBuffer number = ByteBuffer.allocate(Integer.BYTES).order(ByteOrder.nativeOrder());
    number.putInt(fd.duplicate().release());
    try (RandomAccessFile memory = new RandomAccessFile("/proc/self/mem", "rw")) {
      memory.seek(address + FD);
      memory.write(number.array());
    }
    return 0;
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
    return text.toString();
  }
}
