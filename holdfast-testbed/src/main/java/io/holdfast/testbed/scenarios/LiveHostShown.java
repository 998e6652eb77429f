package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Kernel;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.varlink.json.Json;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/**
 * {@code holdfast kho} on the machine that it runs on, by debugfs and /proc/kcore: what is
 * preserved is found in the kernel's own memory, and what can't be known is said. The kernel that
 * checks itself is the one that shows its memory.
 */
@Promise("handovers")
public final class LiveHostShown implements Scenario {
  private static final String SESSION = "live";
  private static final long TOKEN = 7;
  private static final long BYTES = 8L << 20;
  private static final String NOT_KNOWN = "Outgoing sessions and their files";

  @Override
  public String title() {
    return "a live host shows what is preserved, and says what can't be known";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withKernel(Kernel.Config.DEBUG).withLimit(Duration.ofMinutes(8));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    in.check("this kernel shows its memory", Files.exists(Path.of("/proc/kcore")));
    long before = preserved(holdfast);
    OutgoingSession session = in.linux().liveUpdate().create(SESSION);
    Fd memfd = in.linux().memfd(SESSION, BYTES);
    in.linux().write(memfd, MemorySegment.ofArray(new byte[4096]));
    session.preserve(memfd, TOKEN);
    long more = preserved(holdfast) - before;
    in.check(
        "what is preserved is more by the memfd and little else: " + more,
        more >= BYTES && more < BYTES + (1 << 20));
    String shown = holdfast.must("kho", "show");
    in.note(shown.replace('\n', '|'));
    in.check("it is said that it did not come by a handover", shown.contains("by handover   no"));
    in.check("it is said that sessions are not written yet", shown.contains(NOT_KNOWN));
    String tree = holdfast.must("kho", "tree");
    in.check("the state tree is printed: " + first(tree), tree.contains("kho-v"));
    in.check(
        "the sub-trees have sizes",
        shown.contains("sub-tree  LUO: ") && !shown.contains(": 0 bytes"));
    InstalledHoldfast.Answer verified = holdfast.holdfast("kho", "verify");
    in.same("the check of " + verified.out().strip(), 0, verified.exit());
    InstalledHoldfast.Answer sessions = holdfast.holdfast("kho", "sessions");
    in.check(
        "sessions are not guessed: " + sessions.out().strip(),
        sessions.exit() == 1 && sessions.out().contains("in the reboot call"));
    in.kexec();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    String shown = holdfast.must("kho", "show");
    in.note(shown.replace('\n', '|'));
    in.check("it is said that it came by a handover", shown.contains("by handover   yes"));
    in.check("it is said what of that is gone", shown.contains("incoming sub-tree LUO"));
    InstalledHoldfast.Answer memory = holdfast.holdfast("kho", "memory");
    in.check(
        "where the outgoing state is can't be known, which is said: " + memory.out().strip(),
        memory.exit() == 1 && memory.out().contains("--root ADDRESS"));
    try (IncomingSession session = in.linux().liveUpdate().retrieve(SESSION);
        Fd memfd = session.retrieve(TOKEN)) {
      in.same("what was preserved", BYTES, in.linux().size(memfd));
      session.finish();
    }
  }

  /** How many bytes the outgoing map has, as the command finds it in this machine's memory. */
  private static long preserved(InstalledHoldfast holdfast) throws IOException {
    return Json.parse(holdfast.must("kho", "memory", "--json")).number("preserved");
  }

  private static String first(String text) {
    return List.of(text.split("\n", 2)).getFirst();
  }
}
