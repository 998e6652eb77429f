package io.holdfast.testbed.scenarios;

import io.holdfast.core.state.MemoryMachine;
import io.holdfast.core.state.MemoryOperation;
import io.holdfast.core.state.MemoryState;
import io.holdfast.linux.Fd;
import io.holdfast.linux.IncomingSession;
import io.holdfast.linux.LiveUpdate;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.linux.SystemCallException;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Scenario;
import java.nio.file.Files;
import java.nio.file.Path;

/** The machine of preserved memory beside the kernel: what it permits is what the kernel does. */
@Promise("states")
public final class LuoStates implements Scenario {
  private static final String SESSION = "luo-states";
  private static final int PAGE = 4096;

  /** What the previous kernel's Live Update Orchestrator left, in debugfs. */
  private static final Path LEFT = Path.of("/sys/kernel/debug/kho/in/sub_fdts/LUO");

  @Override
  public String title() {
    return "the state machine of preserved memory is the kernel's";
  }

  @Override
  public void before(Inside in) {
    LiveUpdate luo = in.linux().liveUpdate();
    MemoryMachine machine = MemoryMachine.outgoing();
    in.check("no kernel left anything", !Files.exists(LEFT));
    Fd memory = in.linux().memfd("memory", PAGE);
    compare(in, machine, MemoryOperation.RESIZE, () -> in.linux().resize(memory, 2 * PAGE));
    machine.begin();
    OutgoingSession first = luo.create(SESSION);
    compare(in, machine, MemoryOperation.PRESERVE, () -> first.preserve(memory, 1));
    compare(in, machine, MemoryOperation.RESIZE, () -> in.linux().resize(memory, 4 * PAGE));
    compare(in, machine, MemoryOperation.RETRIEVE, () -> retrieve(luo, first.fd(), 1));
    compare(in, machine, MemoryOperation.UNPRESERVE, first::close);
    in.linux().resize(memory, 3 * PAGE);
    in.check("what is preserved no more can be resized", true);
    OutgoingSession second = luo.create(SESSION);
    second.preserve(memory, 1);
    // From here on, in FINALIZED and HANDED_OVER, the kernel is in the reboot call.
    machine.enter(MemoryState.FINALIZED);
    in.kexec();
  }

  @Override
  public void after(Inside in) {
    LiveUpdate luo = in.linux().liveUpdate();
    MemoryMachine machine = MemoryMachine.incoming();
    in.check("debugfs has what the old kernel left", Files.exists(LEFT));
    try (IncomingSession session = luo.retrieve(SESSION)) {
      preserved(in, machine, luo, session.fd());
      compare(in, machine, MemoryOperation.RETRIEVE, () -> session.retrieve(1).close());
      machine.enter(MemoryState.RESTORED);
      preserved(in, machine, luo, session.fd());
      compare(in, machine, MemoryOperation.RETRIEVE, () -> session.retrieve(1).close());
      try (Fd memory = session.retrieve(1)) {
        in.same("its size", 3L * PAGE, in.linux().size(memory));
        compare(in, machine, MemoryOperation.RESIZE, () -> in.linux().resize(memory, 5 * PAGE));
        session.finish();
        machine.enter(MemoryState.RELEASED);
        preserved(in, machine, luo, session.fd());
        compare(in, machine, MemoryOperation.RETRIEVE, () -> session.retrieve(1).close());
        compare(in, machine, MemoryOperation.RESIZE, () -> in.linux().resize(memory, 6 * PAGE));
      }
    }
  }

  /** Compares for another memfd, in a session that came from the old kernel. */
  private static void preserved(Inside in, MemoryMachine machine, LiveUpdate luo, Fd session) {
    try (Fd other = in.linux().memfd("other", PAGE);
        OutgoingSession mine = luo.adoptOutgoing(session.duplicate())) {
      compare(in, machine, MemoryOperation.PRESERVE, () -> mine.preserve(other, 2));
    }
  }

  private static void retrieve(LiveUpdate luo, Fd session, long token) {
    try (IncomingSession mine = luo.adoptIncoming(session.duplicate())) {
      mine.retrieve(token).close();
    }
  }

  private static void compare(
      Inside in, MemoryMachine machine, MemoryOperation operation, Runnable attempt) {
    String done = "permitted";
    try {
      attempt.run();
    } catch (SystemCallException e) {
      done = "refused, " + e.errno();
    }
    boolean permitted = MemoryMachine.permitting(operation).contains(machine.state());
    in.check(
        operation.words()
            + " in "
            + machine.state()
            + ": the machine says "
            + (permitted ? "yes" : "no")
            + ", the kernel: "
            + done,
        permitted == done.equals("permitted"));
  }
}
