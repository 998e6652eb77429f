package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

/**
 * {@code holdfast update kernel} under a small guest that works: it counts, prints and writes to
 * its disk. {@link KernelUpdateUnderLinux} does it under a Linux guest, which takes long.
 */
@Promise({"kernel-update", "kernel-plan"})
public final class KernelUpdate implements Scenario {
  private static final String VM = "web";
  private static final String CONSOLE = "console-of-the-guest";
  private static final String LINES = "lines";
  private static final String COUNT = "count";
  private static final long DISK_BYTES = 16L << 20;
  private static final int SOME = 3;

  private final int port = Peer.freePort();

  @Override
  public String title() {
    return "the host gets a new kernel under a guest that counts, which goes on where it stood";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withDevices(new Setup.Device.Disk(DISK_BYTES), GuestNetwork.uplink(port))
        .withEarly(GuestNetwork.early() + InstalledHoldfast.early())
        .withLimit(Duration.ofMinutes(12));
  }

  @Override
  public void prepare(Outside out) throws IOException {
    InstalledHoldfast.require();
    CountingGuest.install(out.disk(0));
  }

  @Override
  public void before(Inside in) throws IOException {
    new GuestNetwork(in).make();
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    String _ =
        holdfast.must(
            "vm",
            "run",
            VM,
            "--memory",
            "64M",
            "--accel",
            "tcg",
            "--cpu",
            "qemu64", //
            "--disk",
            "/dev/vda,format=raw",
            "--net",
            GuestNetwork.NET);
    CountingGuest guest = new CountingGuest(in, holdfast, VM);
    int lines = guest.await(0, SOME);
    in.check("the guest counts before the update: " + lines + " lines", lines >= SOME);
    in.remember(LINES, lines);
    in.remember(COUNT, guest.count());
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    holdfast.awaitEarlyAgent();
    in.note("the agent says: " + holdfast.said().replace('\n', '|'));
    new GuestNetwork(in).check();
    CountingGuest guest = new CountingGuest(in, holdfast, VM);
    long before = Long.parseLong(in.recall(COUNT));
    long now = guest.count();
    in.check("its count did not go back: %,d after %,d".formatted(now, before), now >= before);
    int lines = guest.lines();
    int more = guest.await(lines, SOME);
    in.check(
        "its console goes on, nothing left out and nothing twice: %d lines, then %d"
            .formatted(lines, more),
        more >= lines + SOME && lines >= Integer.parseInt(in.recall(LINES)));
    Files.copy(InstalledHoldfast.console(VM), in.exchange().resolve(CONSOLE));
    for (String id : InstalledHoldfast.reports()) {
      in.note(holdfast.must("update", "show", id).replace('\n', '|'));
    }
  }

  @Override
  public void outside(Outside out) throws IOException {
    Path console = out.exchange().resolve(CONSOLE);
    int lines = CountingGuest.lines(console);
    out.check(
        "both kernels are in its console: %d lines".formatted(lines),
        lines >= Integer.parseInt(out.remembered(LINES)) + SOME);
    long disk = CountingGuest.onDisk(out.disk(0));
    out.check(
        "its disk is as far as its console or further: %,d, %,d"
            .formatted(disk, CountingGuest.after(lines)),
        disk >= CountingGuest.after(lines));
  }
}
