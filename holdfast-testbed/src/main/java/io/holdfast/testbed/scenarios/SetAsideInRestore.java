package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.OpenFlag;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

/**
 * After an update of the kernel the first agent finds {@code /dev/liveupdate} in use and does not
 * start; the second cannot retrieve the memfds of one VM. That one is set aside, the other comes
 * back, and so does the first when it can be retrieved.
 */
public final class SetAsideInRestore implements Scenario {
  private static final String VM = "web";
  private static final String OTHER = "other";
  private static final Path DEVICE = Path.of("/dev/liveupdate");
  private static final Path ALLOWED = Path.of("/run/allowed");

  @Override
  public String title() {
    return "a VM that cannot be retrieved from the previous kernel is set aside; nothing is forgotten";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withMemory(2048).withLimit(Duration.ofMinutes(12));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  /** The agent on a kernel that rebuilds nothing of the VM until a file is there. */
  static final class Refusing {
    private static final int RETRIEVE_FD = 0xBA41;

    private Refusing() {}

    /** Runs it. */
    public static void main(String[] arguments) throws IOException {
      InstalledHoldfast.serve(
          (call, a, b, c, d, e, f) ->
              call == Call.IOCTL && b == RETRIEVE_FD && !Files.exists(ALLOWED) && isOfVm(a)
                  ? -Errno.EIO.number()
                  : Kernel.system().call(call, a, b, c, d, e, f));
    }

    private static boolean isOfVm(long descriptor) {
      try {
        return Files.readSymbolicLink(Path.of("/proc/self/fd/" + descriptor))
            .toString()
            .endsWith("holdfast/" + VM);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  /** Whether sysfs says that memory was handed over to this kernel. */
  private static boolean handedOver() throws IOException {
    Path all = Path.of("/sys/kernel/boot_params/setup_data");
    if (!Files.exists(all)) {
      return false;
    }
    try (DirectoryStream<Path> each = Files.newDirectoryStream(all)) {
      for (Path one : each) {
        if (Files.readString(one.resolve("type")).strip().equals("0xa")) {
          return true;
        }
      }
      return false;
    }
  }

  @Override
  public void before(Inside in) throws IOException {
    in.check("nothing was handed over to the first kernel", !handedOver());
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    try (Fd _ = in.linux().open(DEVICE, OpenFlag.READ, OpenFlag.WRITE)) {
      // Where nothing can have arrived the device may be anybody's.
      Process _ = holdfast.startAgent();
    }
    holdfast.runFirmware(VM);
    holdfast.runFirmware(OTHER);
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    in.check("memory was handed over to this kernel", handedOver());
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Path _ = InstalledHoldfast.disk(VM);
    Path _ = InstalledHoldfast.disk(OTHER);
    try (Fd _ = in.linux().open(DEVICE, OpenFlag.READ, OpenFlag.WRITE)) {
      Process refused = holdfast.startAgent(Refusing.class);
      in.check("no agent starts that cannot tell", !holdfast.readyOrDead(refused));
    }
    in.note(holdfast.said().replace('\n', '|'));
    in.check("it says what is busy", holdfast.said().contains("EBUSY"));
    Process agent = holdfast.startAgent(Refusing.class);
    in.check("the next one starts", holdfast.readyOrDead(agent));
    String vms = holdfast.must("vm", "list");
    in.check("one VM is unknown: " + vms.replace('\n', '|'), vms.contains("unknown"));
    holdfast.checkFirmware(OTHER);
    in.same("trying again, in vain", 1, holdfast.holdfast("update", "retry").exit());
    InstalledHoldfast.kill(agent.pid());
    while (agent.isAlive()) {
      InstalledHoldfast.pause(20);
    }
    Process next = holdfast.startAgent(Refusing.class);
    holdfast.awaitAgent(next, 2);
    holdfast.checkFirmware(OTHER);
    Files.createFile(ALLOWED);
    in.same("trying again", 0, holdfast.holdfast("update", "retry").exit());
    holdfast.checkFirmware(VM);
    holdfast.checkFirmware(OTHER);
    for (String id : InstalledHoldfast.reports()) {
      in.note(holdfast.must("update", "show", id).replace('\n', '|'));
    }
  }
}
