package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.LiveUpdate;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Scenario;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;

/** Closing an incoming session discards what was not retrieved; what was, stays. */
@Promise("kernel-facts")
public final class ClosingDiscards implements Scenario {
  private static final String SESSION = "closing-discards";
  private static final long BYTES = 256L << 20;

  @Override
  public String title() {
    return "closing an incoming session discards what was not retrieved";
  }

  @Override
  public void before(Inside in) {
    OutgoingSession session = in.linux().liveUpdate().create(SESSION);
    for (int token = 1; token <= 2; token++) {
      Fd memory = in.linux().memfd("memory " + token, BYTES);
      in.linux().write(memory, MemorySegment.ofArray(new byte[] {(byte) token}));
      session.preserve(memory, token);
    }
    in.kexec();
  }

  @Override
  public void after(Inside in) throws IOException {
    in.note("this is a fact of Linux " + in.release());
    LiveUpdate luo = in.linux().liveUpdate();
    IncomingSession session = luo.retrieve(SESSION);
    LuoRefusals.refused(
        in,
        "a session can be retrieved once",
        Errno.EINVAL,
        () -> luo.retrieve(SESSION).toString());
    LuoRefusals.refused(
        in, "an unknown token is refused", Errno.ENOENT, () -> session.retrieve(9).toString());
    try (Fd kept = session.retrieve(1)) {
      long before = free();
      session.close();
      long after = free();
      in.note("closing it freed %d MiB".formatted((after - before) >> 20));
      in.check(
          "closing it freed the memory of what was not retrieved",
          after - before > BYTES * 3 / 4 && after - before < BYTES * 5 / 4);
      byte[] content = new byte[1];
      in.linux().seek(kept, 0);
      in.linux().read(kept, MemorySegment.ofArray(content));
      in.same("what was retrieved is whole", (byte) 1, content[0]);
      LuoRefusals.refused(
          in, "the session is gone", Errno.ENOENT, () -> luo.retrieve(SESSION).toString());
    }
  }

  /** Free memory, in bytes. */
  private static long free() throws IOException {
    return Files.readAllLines(Path.of("/proc/meminfo")).stream()
        .filter(line -> line.startsWith("MemFree:"))
        .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")) * 1024)
        .findFirst()
        .orElseThrow();
  }
}
