package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Call;
import io.holdfast.linux.Kernel;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * After an update of the kernel the agent is killed by SIGKILL after each of its calls of the Live
 * Update Orchestrator in turn, and started again each time. Nothing is lost.
 */
@Promise("kernel-arrival")
public final class KilledInRestore implements Scenario {
  private static final String VM = "web";

  /**
   * After which of its calls each agent is killed. What its predecessor did it need not do again:
   * first when it has a guard; the session with the manifest, then the manifest; the VM's session,
   * each of its memfds; then when it has started the VM's QEMU; the end of the VM's session, that
   * of the manifest's. The last one is not killed.
   */
  private static final List<String> AFTER =
      List.of(Mortal.GUARD, "1", "1", "2", "2", "3", "4", "5", Mortal.SPAWN, "2", "3", "99");

  @Override
  public String title() {
    return "the agent is killed after each call that brings a VM back from another kernel; nothing is lost";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withMemory(2048).withLimit(Duration.ofMinutes(12));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  /** The agent on a kernel that kills it right after a certain call. */
  static final class Mortal {
    private static final String SPAWN = "spawn";
    private static final String GUARD = "guard";
    private static final int LIVE_UPDATE = 0xBA;

    private Mortal() {}

    /** Told n for its n-th ioctl of live update, or of what start it is to be the first one. */
    public static void main(String[] arguments) throws IOException {
      Call fatal =
          switch (arguments[0]) {
            case GUARD -> Call.CLONE;
            case SPAWN -> Call.POSIX_SPAWNP;
            default -> Call.IOCTL;
          };
      int last = fatal == Call.IOCTL ? Integer.parseInt(arguments[0]) : 1;
      AtomicInteger count = new AtomicInteger();
      InstalledHoldfast.serve(
          (call, a, b, c, d, e, f) -> {
            long result = Kernel.system().call(call, a, b, c, d, e, f);
            boolean counted = call == fatal && (call != Call.IOCTL || (b >> 8) == LIVE_UPDATE);
            if (counted && count.incrementAndGet() == last) {
              InstalledHoldfast.kill(ProcessHandle.current().pid());
            }
            return result;
          });
    }
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    holdfast.runFirmware(VM);
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Path _ = InstalledHoldfast.disk(VM);
    int killed = 0;
    boolean alive = false;
    for (String call : AFTER) {
      Process agent = holdfast.startAgent(Mortal.class, call);
      alive = holdfast.readyOrDead(agent);
      killed += alive ? 0 : 1;
    }
    in.check("the last agent had nothing left to do; " + killed + " were killed before it", alive);
    in.check("agents were killed: " + killed, killed >= 11);
    in.note(holdfast.said().replace('\n', '|'));
    holdfast.checkFirmware(VM);
    in.same("QEMUs that there are", 1L, qemus());
  }

  private static long qemus() {
    return ProcessHandle.allProcesses()
        .filter(process -> process.info().command().orElse("").contains("qemu-system"))
        .count();
  }
}
