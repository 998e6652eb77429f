package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Kernel;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * After an update of the kernel nothing starts an agent, as in an initrd's shell, and the root file
 * system lacks QEMU. {@code holdfast rescue} shows what waits, and changes nothing; the agent of
 * the wrong root loses nothing; the one that is started in a chroot, as docs/rescue.md says, brings
 * the guest back.
 */
@Promise("kernel-arrival")
public class RescueAfterKexec implements Scenario {
  private static final String VM = "web";
  private static final String LINES = "lines";
  private static final String COUNT = "count";
  private static final String QEMU = "qemu";
  private static final String MENDED = "/mnt";
  private static final long DISK_BYTES = 16L << 20;
  private static final int SOME = 3;

  /** When the command is killed: it takes some seconds in the machine. */
  private static final List<Long> MIDDLES = List.of(600L, 1500L);

  private static final int WAITS = 3;

  @Override
  public String name() {
    return "rescue";
  }

  @Override
  public String title() {
    return "no agent and no QEMU after a kexec: holdfast rescue shows what waits, and a chroot brings it back";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(3072)
        .withDevices(new Setup.Device.Disk(DISK_BYTES))
        .withLimit(Duration.ofMinutes(12));
  }

  @Override
  public void prepare(Outside out) throws IOException {
    InstalledHoldfast.require();
    CountingGuest.install(out.disk(0));
  }

  /**
   * The same on a kernel that shows its memory: there the VM that waits is named. The agent's root
   * is the right one.
   */
  public static final class Named extends RescueAfterKexec {
    @Override
    public String name() {
      return "rescue-names";
    }

    @Override
    public String title() {
      return "a kernel that shows its memory: holdfast rescue names the VM that waits";
    }

    @Override
    public Setup setup() {
      return super.setup().withKernel(Kernel.Config.DEBUG);
    }

    @Override
    public void after(Inside in) throws IOException {
      InstalledHoldfast holdfast = new InstalledHoldfast(in);
      String found = rescue(in, holdfast, "before any agent");
      in.check("it says that VMs wait", found.startsWith("VMs wait"));
      in.check("it names the VM and its memory", found.matches("(?s).*\nweb +64 MiB .*"));
      in.check("it says where that is", found.contains("its session is in the kernel"));
      Process _ = holdfast.startAgent();
      goesOn(in, holdfast);
    }
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    InstalledHoldfast.Answer nothing = holdfast.holdfast("rescue");
    in.note(nothing.out().replace('\n', '|'));
    in.same("nothing waits on the first kernel", 0, nothing.exit());
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
            "qemu64",
            "--disk",
            "/dev/vda,format=raw");
    CountingGuest guest = new CountingGuest(in, holdfast, VM);
    int lines = guest.await(0, SOME);
    in.check("the guest counts before the update: " + lines + " lines", lines >= SOME);
    try (VarlinkClient agent = holdfast.agent()) {
      in.remember(
          QEMU,
          agent.call("io.holdfast.Vm.Show", JsonObject.of("name", VM)).object("vm").string("qemu"));
    }
    in.remember(LINES, lines);
    in.remember(COUNT, guest.count());
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Path qemu = Path.of(in.recall(QEMU)).toRealPath();
    // Nobody can start it from this root any more.
    run("mount", "--bind", "/dev/null", qemu.toString());

    String first = rescue(in, holdfast, "before any agent");
    in.check("it says that VMs may wait", first.contains("VMs may wait in this kernel"));
    in.check("it says which are not known", first.contains("Which VMs wait cannot be told"));
    for (long millis : MIDDLES) {
      Process killed = holdfast.start("rescue");
      InstalledHoldfast.pause(millis);
      in.note("it is killed after " + millis + " ms, alive: " + killed.isAlive());
      InstalledHoldfast.kill(killed.pid());
    }
    in.same("it says the same again", first, rescue(in, holdfast, "after some were killed"));
    in.check("there is no run directory yet", !Files.exists(InstalledHoldfast.RUN));

    Process wrong = holdfast.startAgent();
    JsonObject served = rescue(in, holdfast);
    in.same("the agent of the wrong root has it", "not back", box(served).string("place"));
    in.check("QEMU is missing", missing(served, qemu));
    InstalledHoldfast.kill(wrong.pid());
    while (wrong.isAlive()) {
      InstalledHoldfast.pause(20);
    }
    String stored = rescue(in, holdfast, "after that agent was killed");
    in.check("it says who stores the VM", stored.contains("its memory is stored by process "));
    in.check("and how much", stored.contains("64 MiB"));
    in.check("QEMU is still missing", stored.contains("Missing here:\n- web: QEMU " + qemu));

    run("mount", "--bind", "/", MENDED);
    String mended = rescue(in, holdfast, "for the mended root", "--root", MENDED);
    in.check("nothing is missing there", !mended.contains("Missing here:"));
    for (String name : List.of("dev", "proc", "sys", "run")) {
      String bind = "mount -o rbind /" + name + " " + MENDED + "/" + name;
      in.check("it says to run " + bind, mended.contains(bind));
      run(bind.split(" ", -1));
    }
    String bound = rescue(in, holdfast, "for the mended root with its mounts", "--root", MENDED);
    in.check("nothing is left to bind", !bound.contains("mount -o"));
    in.check("it says how to start the agent", bound.contains("chroot /mnt holdfast agent"));

    Process right = holdfast.startAgentIn(MENDED);
    in.check("the agent is there", right.isAlive());
    goesOn(in, holdfast);
  }

  /** Checks that the guest goes on where it stood, and that nothing waits any more. */
  private static void goesOn(Inside in, InstalledHoldfast holdfast) throws IOException {
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
    InstalledHoldfast.Answer end = holdfast.holdfast("rescue");
    in.note(end.out().replace('\n', '|'));
    in.same("nothing waits any more", 0, end.exit());
  }

  @Override
  public void outside(Outside out) throws IOException {
    long disk = CountingGuest.onDisk(out.disk(0));
    out.check(
        "its disk is as far as its console before the update or further: %,d".formatted(disk),
        disk >= CountingGuest.after(Integer.parseInt(out.remembered(LINES))));
  }

  /** What the command prints where something waits. */
  private static String rescue(
      Inside in, InstalledHoldfast holdfast, String when, String... options) throws IOException {
    InstalledHoldfast.Answer answer = holdfast.holdfast(words(options));
    in.note(when + ": " + answer.out().replace('\n', '|'));
    in.same("something waits " + when, WAITS, answer.exit());
    return answer.out();
  }

  private static String[] words(String... options) {
    return Stream.concat(Stream.of("rescue"), Stream.of(options)).toArray(String[]::new);
  }

  /** The same for programs. */
  private static JsonObject rescue(Inside in, InstalledHoldfast holdfast) throws IOException {
    InstalledHoldfast.Answer answer = holdfast.holdfast("rescue", "--json");
    in.note(answer.out().strip());
    in.same("something waits, for programs", WAITS, answer.exit());
    return Json.parse(answer.out());
  }

  private static JsonObject box(JsonObject found) throws IOException {
    Optional<JsonObject> box =
        found.array("boxes").objects().stream()
            .filter(each -> each.string("name").equals(VM))
            .findFirst();
    return box.orElseThrow(() -> new IOException("no VM " + VM + " in " + found));
  }

  private static boolean missing(JsonObject found, Path qemu) throws IOException {
    return box(found).array("missing").strings().stream()
        .anyMatch(each -> each.contains(qemu.getFileName().toString()));
  }

  private static void run(String... command) throws IOException {
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    try {
      if (process.waitFor() != 0) {
        throw new IOException(String.join(" ", command) + ": " + said);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }
}
