package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.LiveUpdate;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Scenario;

/** Sessions that were not finished do not survive the next kexec, retrieved or not. */
@Promise("kernel-facts")
public final class UnfinishedIsLost implements Scenario {
  private static final String UNTOUCHED = "untouched";
  private static final String RETRIEVED = "retrieved";
  private static final String ANEW = "preserved-anew";

  @Override
  public String title() {
    return "a session that was not finished does not survive the next kexec";
  }

  @Override
  public void before(Inside in) {
    preserve(in, UNTOUCHED, in.linux().memfd("one", 4096));
    preserve(in, RETRIEVED, in.linux().memfd("two", 4096));
    in.kexec();
  }

  @Override
  public void after(Inside in) {
    LiveUpdate luo = in.linux().liveUpdate();
    if (in.boot() == 1) {
      in.note("this is a fact of Linux " + in.release());
      // Both stay open: what is lost is lost by the kexec.
      IncomingSession retrieved = luo.retrieve(RETRIEVED);
      Fd memory = retrieved.retrieve(1);
      in.same("after the first kexec it is there", 4096L, in.linux().size(memory));
      LuoRefusals.refused(
          in,
          "a memfd of an incoming session can't be preserved before that is finished",
          Errno.EBUSY,
          () -> {
            OutgoingSession early = luo.create("early");
            early.preserve(memory, 1);
            return "preserved";
          });
      preserve(in, ANEW, in.linux().memfd("three", 4096));
      in.kexec();
    }
    LuoRefusals.refused(
        in,
        "after the second, what nobody touched is lost",
        Errno.ENOENT,
        () -> luo.retrieve(UNTOUCHED).toString());
    LuoRefusals.refused(
        in,
        "and what was retrieved and not finished as well",
        Errno.ENOENT,
        () -> luo.retrieve(RETRIEVED).toString());
    try (IncomingSession session = luo.retrieve(ANEW)) {
      in.same("only what was preserved anew is there", ANEW, session.name());
      session.finish();
    }
  }

  private static void preserve(Inside in, String name, Fd memory) {
    in.linux().liveUpdate().create(name).preserve(memory, 1);
  }
}
