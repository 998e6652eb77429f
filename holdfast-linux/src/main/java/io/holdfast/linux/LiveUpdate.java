package io.holdfast.linux;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The kernel's Live Update Orchestrator, {@code /dev/liveupdate}: it keeps descriptors over a
 * kexec, in named sessions.
 *
 * <p>Before the kexec a session is made ({@link #create}) and descriptors are put into it under
 * tokens ({@link OutgoingSession#preserve}); the session must stay open until the kexec, since
 * closing it, or the death of whoever holds it, undoes all of that. After the kexec it is fetched
 * by its name ({@link #retrieve}), its descriptors by their tokens, and the session finished.
 *
 * <p>The device may be open once at a time on the whole machine, so it is opened for each call and
 * closed again; sessions outlive that. Needs root, and a kernel with {@code CONFIG_LIVEUPDATE}
 * booted with {@code kho=on liveupdate=on}. Without the latter on the <em>next</em> kernel's
 * command line all state is lost without a word.
 *
 * <p>Source of the interface: {@code include/uapi/linux/liveupdate.h} of Linux 7.3; of what its
 * errors mean: {@code kernel/liveupdate} and {@code mm/memfd_luo.c} there.
 *
 * <pre>{@code
 * LiveUpdate luo = linux.liveUpdate();
 * OutgoingSession session = luo.create("web");   // stays open
 * session.preserve(ram, 1);
 * // kexec; in the new kernel:
 * try (IncomingSession session = luo.retrieve("web")) {
 *   Fd ram = session.retrieve(1);
 *   session.finish();
 * }
 * }</pre>
 */
public final class LiveUpdate {
  /** What a session's name has at most, in bytes of UTF-8. */
  public static final int NAME_BYTES = 63;

  private static final String DEVICE = "/dev/liveupdate";

  // _IO(0xBA, n): no size and no direction in it.
  private static final int TYPE = 0xBA << 8;
  private static final int CREATE_SESSION = TYPE;
  private static final int RETRIEVE_SESSION = TYPE | 0x01;

  // struct liveupdate_ioctl_create_session and ..._retrieve_session: u32 size, s32 fd, u8 name[64].
  private static final int SESSION_BYTES = 72;
  private static final int FD = 4;
  private static final int NAME = 8;

  /**
   * Held while the device is open. The kernel lets in one opener at a time, and the VMs of one
   * update make their sessions at the same time.
   */
  private static final ReentrantLock OPEN = new ReentrantLock();

  private final Calls calls;
  private final Path device;

  LiveUpdate(Calls calls) {
    this(calls, Path.of(DEVICE));
  }

  LiveUpdate(Calls calls, Path device) {
    this.calls = calls;
    this.device = device;
  }

  /**
   * Makes a session for descriptors that are to outlive the kexec.
   *
   * @param name 1 to {@link #NAME_BYTES} bytes of UTF-8, by which the next kernel finds it; no two
   *     sessions may have the same
   * @return the caller's; closing it undoes it
   * @throws SystemCallException EEXIST if a session has the name; EBUSY while another process has
   *     the device open; ENOENT without a live update orchestrator; EIO if this kernel could not
   *     read what its predecessor left; EACCES; ENOMEM; EMFILE
   * @throws IllegalArgumentException if the name is empty, too long or has a NUL
   */
  public OutgoingSession create(String name) {
    return new OutgoingSession(
        calls, session(Operation.CREATE, CREATE_SESSION, name, "session " + name));
  }

  /**
   * Fetches a session that the previous kernel left. <strong>Closing it before all its descriptors
   * were retrieved discards those that were not, for good</strong>; so does the death of whoever
   * holds it.
   *
   * @param name its name, exactly
   * @return the caller's
   * @throws SystemCallException ENOENT if the previous kernel left none of that name, or there is
   *     no live update orchestrator; EINVAL if it was retrieved before; EBUSY, EIO, EACCES, ENOMEM,
   *     EMFILE as with {@link #create}
   * @throws IllegalArgumentException if the name is empty, too long or has a NUL
   */
  public IncomingSession retrieve(String name) {
    return new IncomingSession(
        calls, session(Operation.RETRIEVE, RETRIEVE_SESSION, name, "session " + name));
  }

  /**
   * Uses the descriptor of an outgoing session that somebody else kept.
   *
   * @param session taken over: closed with the result
   */
  public OutgoingSession adoptOutgoing(Fd session) {
    return new OutgoingSession(calls, session);
  }

  /**
   * Uses the descriptor of an incoming session that somebody else kept.
   *
   * @param session taken over: closed with the result
   */
  public IncomingSession adoptIncoming(Fd session) {
    return new IncomingSession(calls, session);
  }

  private Fd session(Operation operation, int request, String name, String what) {
    byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
    if (bytes.length == 0 || bytes.length > NAME_BYTES || name.indexOf('\0') >= 0) {
      throw new IllegalArgumentException(
          "a live update session's name has 1 to %d bytes and no NUL; this one has %d: '%s'"
              .formatted(NAME_BYTES, bytes.length, name.replace('\0', '?')));
    }
    OPEN.lock();
    try (Arena arena = Arena.ofConfined();
        Fd opened = open(arena)) {
      MemorySegment arguments = arena.allocate(SESSION_BYTES, Long.BYTES);
      Field.setInt(arguments, 0, SESSION_BYTES);
      MemorySegment.copy(bytes, 0, arguments, ValueLayout.JAVA_BYTE, NAME, bytes.length);
      ioctl(calls, operation, opened, request, arguments, what);
      return calls.own(Field.getInt(arguments, FD), what);
    } finally {
      OPEN.unlock();
    }
  }

  private Fd open(Arena arena) {
    long number =
        calls.attempt(
            Call.OPEN,
            Field.string(arena, device.toString()).address(),
            OpenFlag.bits(OpenFlag.READ, OpenFlag.WRITE) | Linux.O_CLOEXEC);
    return calls.own(check(number, Call.OPEN, Operation.OPEN, device.toString()), DEVICE);
  }

  static void ioctl(
      Calls calls, Operation operation, Fd fd, int request, MemorySegment arguments, String what) {
    check(
        calls.attemptOn(Call.IOCTL, fd, request, Calls.address(arguments)),
        Call.IOCTL,
        operation,
        what + ", " + operation.text);
  }

  private static long check(long result, Call call, Operation operation, String object) {
    if (result >= 0) {
      return result;
    }
    Errno errno = Errno.of((int) -result);
    String advice = Advice.on(operation, errno);
    throw new SystemCallException(
        call, errno, object, advice.isEmpty() ? Advice.on(call, errno) : advice);
  }

  /** What is asked of the orchestrator; the same error means another thing with each. */
  enum Operation {
    OPEN("open"),
    CREATE("create session"),
    RETRIEVE("retrieve session"),
    PRESERVE("preserve"),
    RETRIEVE_FD("retrieve descriptor"),
    FINISH("finish"),
    GET_NAME("get name");

    final String text;

    Operation(String text) {
      this.text = text;
    }
  }
}
