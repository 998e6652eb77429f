package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.LiveUpdate;
import io.holdfast.linux.MemfdOption;
import io.holdfast.linux.OpenFlag;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.linux.SystemCallException;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Scenario;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Supplier;

/** What the kernel preserves and what it refuses, and what preserving does to a memfd. */
@Promise("kernel-facts")
public final class LuoRefusals implements Scenario {
  private static final int PAGE = 4096;

  @Override
  public String title() {
    return "what the Live Update Orchestrator refuses, and what it freezes";
  }

  @Override
  public void before(Inside in) throws IOException {
    in.note("these are facts of Linux " + in.release());
    LiveUpdate luo = in.linux().liveUpdate();
    try (OutgoingSession session = luo.create("refusals")) {
      kinds(in, session);
      frozen(in, session);
      names(in, luo);
    }
    device(in, luo);
  }

  private static void kinds(Inside in, OutgoingSession session) throws IOException {
    Files.writeString(Path.of("/proc/sys/vm/nr_hugepages"), "2");
    try (Fd huge = in.linux().memfd("huge", 2 << 20, MemfdOption.HUGE_2M);
        Fd eventfd = in.linux().eventfd();
        Fd file = in.linux().open(Path.of("/run/file"), OpenFlag.CREATE, OpenFlag.WRITE)) {
      refused(
          in, "a memfd of huge pages is refused", Errno.ENOENT, () -> preserve(session, huge, 1));
      refused(in, "an eventfd is refused", Errno.ENOENT, () -> preserve(session, eventfd, 2));
      refused(in, "a file is refused", Errno.ENOENT, () -> preserve(session, file, 3));
      refused(
          in, "so is the session itself", Errno.ENOENT, () -> preserve(session, session.fd(), 4));
    }
  }

  private static void frozen(Inside in, OutgoingSession session) {
    try (Fd memory = in.linux().memfd("frozen", 16 * PAGE, MemfdOption.ALLOW_SEALING);
        Fd other = in.linux().memfd("other", PAGE)) {
      in.linux().write(memory, MemorySegment.ofArray(new byte[] {1}));
      session.preserve(memory, 10);
      refused(
          in, "growing a preserved memfd is refused", Errno.EPERM, () -> resize(in, memory, 32));
      refused(in, "so is shrinking it", Errno.EPERM, () -> resize(in, memory, 8));
      refused(
          in,
          "and allocating beyond its end",
          Errno.EPERM,
          () -> {
            in.linux().allocate(memory, 16 * PAGE, PAGE);
            return "allocated";
          });
      in.linux().seek(memory, 5 * PAGE);
      in.linux().write(memory, MemorySegment.ofArray(new byte[] {2, 3}));
      in.check("writing to it is not", true);
      in.same("holes were filled", 16L * PAGE, in.linux().nextHole(memory, 0));
      refused(
          in, "the same file again is refused", Errno.EBUSY, () -> preserve(session, memory, 11));
      refused(in, "a token twice is refused", Errno.EEXIST, () -> preserve(session, other, 10));
    }
  }

  private static void names(Inside in, LiveUpdate luo) {
    refused(
        in,
        "a session's name twice is refused",
        Errno.EEXIST,
        () -> luo.create("refusals").toString());
    String longest = "n".repeat(LiveUpdate.NAME_BYTES);
    try (OutgoingSession session = luo.create(longest)) {
      in.same("a name of 63 bytes is kept whole", longest, session.name());
    }
    refused(
        in,
        "what no kernel left can't be retrieved",
        Errno.ENOENT,
        () -> luo.retrieve("nobody's").toString());
  }

  private static void device(Inside in, LiveUpdate luo) {
    try (Fd memory = in.linux().memfd("thawed", PAGE)) {
      try (OutgoingSession session = luo.create("undone")) {
        session.preserve(memory, 1);
      }
      in.linux().resize(memory, 2 * PAGE);
      in.check("closing a session undoes it: the memfd grows again", true);
    }
    try (Fd device = in.linux().open(Path.of("/dev/liveupdate"), OpenFlag.READ, OpenFlag.WRITE)) {
      refused(
          in,
          "while somebody has the device open (descriptor "
              + device.number()
              + "), nobody else may",
          Errno.EBUSY,
          () -> luo.create("second").toString());
    }
  }

  private static String preserve(OutgoingSession session, Fd fd, long token) {
    session.preserve(fd, token);
    return "preserved";
  }

  private static String resize(Inside in, Fd memory, int pages) {
    in.linux().resize(memory, (long) pages * PAGE);
    return "resized";
  }

  /** Checks that something is refused with an error, and that the message says what to do. */
  static void refused(Inside in, String what, Errno errno, Supplier<String> attempt) {
    try {
      in.same(what, errno, attempt.get());
    } catch (SystemCallException e) {
      in.same(what, errno, e.errno());
      if (!String.valueOf(e.getMessage()).endsWith(".")) {
        in.check("and the error says what to do: " + e.getMessage(), false);
      }
    }
  }
}
