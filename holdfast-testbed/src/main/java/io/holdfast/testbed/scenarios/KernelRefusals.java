package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * What the plan of an update of the kernel refuses: a kernel without Kexec HandOver, one that reads
 * another version of the Live Update Orchestrator's state, a command line that leaves that off, an
 * agent whose memory is limited. The guest never stops.
 */
@Promise("kernel-plan")
public final class KernelRefusals implements Scenario {
  private static final String VM = "web";
  private static final int REFUSED = 3;

  @Override
  public String title() {
    return "an update to a kernel that would lose the guests is refused, and they never stop";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withMemory(3072).withLimit(Duration.ofMinutes(8));
  }

  @Override
  public void prepare(Outside out) throws IOException {
    InstalledHoldfast.require();
    Path vmlinux = out.kernel().vmlinux().orElseThrow();
    byte[] image = Files.readAllBytes(vmlinux);
    byte[] from = "luo-v5\0".getBytes(StandardCharsets.US_ASCII);
    int changed = 0;
    for (int at = 0; at + from.length <= image.length; at++) {
      int same = 0;
      while (same < from.length && image[at + same] == from[same]) {
        same++;
      }
      if (same == from.length) {
        image[at + 5] = '6';
        changed++;
      }
    }
    out.check("the kernel has luo-v5 in it", changed > 0);
    Files.write(out.exchange().resolve("other-luo"), image);
  }

  private static void refused(
      Inside in, InstalledHoldfast holdfast, String what, String kernel, String append, String why)
      throws IOException {
    List<String> line =
        new ArrayList<>(
            List.of(
                "update",
                "kernel",
                "--kernel",
                kernel,
                "--from",
                in.runningKernel().toString(),
                "--append",
                append));
    InstalledHoldfast.Answer answer = holdfast.holdfast(line.toArray(String[]::new));
    in.check(
        what + " is refused, by its name: " + answer.out().replace('\n', '|'),
        answer.exit() == REFUSED && answer.out().contains(why));
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process agent = holdfast.startAgent();
    holdfast.runFirmware(VM);
    String next = in.nextKernel().toString();
    String line = in.nextCommandLine();
    refused(
        in,
        holdfast,
        "a kernel without KHO",
        System.getenv("HOLDFAST_GUEST") + "/vmlinuz",
        line,
        "CONFIG_KEXEC_HANDOVER");
    refused(
        in, holdfast, "another luo", in.exchange().resolve("other-luo").toString(), line, "luo-v6");
    refused(
        in,
        holdfast,
        "a command line without liveupdate=on",
        next,
        line.replace(" liveupdate=on", ""),
        "liveupdate=on");
    Path group = Path.of("/sys/fs/cgroup/limited");
    Files.createDirectories(group);
    Files.writeString(Path.of("/sys/fs/cgroup/cgroup.subtree_control"), "+memory");
    Files.writeString(group.resolve("memory.max"), Long.toString(300L << 20));
    Files.writeString(group.resolve("cgroup.procs"), Long.toString(agent.pid()));
    refused(in, holdfast, "a limited agent", next, line, "memory limit");
    holdfast.checkFirmware(VM);
  }
}
