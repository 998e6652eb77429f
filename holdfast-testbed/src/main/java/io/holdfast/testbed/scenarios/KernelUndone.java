package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Call;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Kernel;
import io.holdfast.linux.OutgoingSession;
import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/**
 * Updates of the kernel that fail before the reboot call: a call is refused, the agent is killed in
 * each state, a QEMU dies, a QEMU hangs. Each time everything is undone: guests run, no session is
 * left, nothing is loaded, and the report says what failed. The guest of a QEMU that hangs runs
 * when that goes on, also with another agent; the others run before.
 */
@Promise("kernel-undone")
public final class KernelUndone implements Scenario {
  private static final String VM = "web";
  private static final String OTHER = "db";
  private static final Path RULE = Path.of("/run/rule");
  private static final int CANCELLED = 1;
  private static final int SIGCONT = 18;
  private static final int SIGSTOP = 19;
  private static final long PATIENCE_NANOS = 120_000_000_000L;

  @Override
  public String title() {
    return "an update of the kernel that fails before the reboot call is undone, wherever it fails";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withLimit(Duration.ofMinutes(18));
  }

  @Override
  public void prepare(Outside out) {
    InstalledHoldfast.require();
  }

  /** The agent on a kernel that does what a file says. */
  static final class Faulty {
    private static final int LIVE_UPDATE = 0xBA;
    private static final int PRESERVE = LIVE_UPDATE << 8 | 0x40;
    private static final Path UPDATES = InstalledHoldfast.RUN.resolve("updates");

    private final String[] rule;
    private final String own = Long.toString(ProcessHandle.current().pid());

    private Faulty(String text) {
      this.rule = text.strip().split(" ", -1);
    }

    /**
     * The file has one line: {@code refuse CALL ERRNO STATE}, {@code kill PID STATE} or {@code stop
     * PID STATE}; the first call that fits it.
     */
    public static void main(String[] arguments) throws IOException {
      // Read before each update; it does not change while one is under way.
      InstalledHoldfast.serve(
          (call, a, b, c, d, e, f) -> {
            long refused = Files.exists(RULE) ? new Faulty(read(RULE)).apply(call, a, b) : 0;
            return refused < 0 ? refused : Kernel.system().call(call, a, b, c, d, e, f);
          });
    }

    private static String read(Path file) {
      try {
        return Files.readString(file);
      } catch (IOException e) {
        return ""; // removed just now
      }
    }

    /** What the call shall return instead; 0 to make it. */
    private long apply(Call call, long a, long b) {
      String state = rule[rule.length - 1];
      boolean meant =
          switch (rule[0]) {
            case "refuse" -> call.name().equals(rule[1]) && (call != Call.IOCTL || b == PRESERVE);
            case "kill", "stop" -> true;
            default -> false;
          };
      // Undoing loads "no kernel", which is not what is meant.
      if (!meant || (call == Call.KEXEC_FILE_LOAD && a < 0) || !state.equals(state())) {
        return 0;
      }
      try {
        Files.delete(RULE);
      } catch (IOException e) {
        return 0; // another thread was first
      }
      return switch (rule[0]) {
        case "kill" -> {
          InstalledHoldfast.kill(Long.parseLong(rule[1].equals("agent") ? own : rule[1]));
          yield 0;
        }
        case "stop" -> {
          InstalledHoldfast.signal(Long.parseLong(rule[1]), SIGSTOP);
          yield 0;
        }
        default -> -Errno.valueOf(rule[2]).number();
      };
    }

    /** The state that the update under way is in, by its journal. */
    private static String state() {
      String state = "";
      try (DirectoryStream<Path> journals = Files.newDirectoryStream(UPDATES, "*.journal")) {
        for (Path each : journals) {
          for (String line : Files.readAllLines(each)) {
            String[] words = line.split(" ", -1);
            state = words[0].equals("entered") && words.length > 2 ? words[2] : state;
          }
        }
      } catch (IOException e) {
        return "";
      }
      return state;
    }
  }

  private static List<JsonObject> reports(InstalledHoldfast holdfast) {
    try (VarlinkClient agent = holdfast.agent()) {
      return agent.call("io.holdfast.Update.List", JsonObject.empty()).array("reports").objects();
    }
  }

  /** The report of an update that has ended, or is about to: the command may not live so long. */
  private static JsonObject next(InstalledHoldfast holdfast, int before) throws IOException {
    long start = System.nanoTime();
    while (reports(holdfast).size() <= before) {
      if (System.nanoTime() - start > PATIENCE_NANOS) {
        throw new IOException("the update did not end: " + holdfast.said());
      }
      InstalledHoldfast.pause(200);
    }
    return reports(holdfast).getLast();
  }

  /** Checks that there is nothing left of an update. */
  private static void undone(Inside in, InstalledHoldfast holdfast, String what, List<String> vms)
      throws IOException {
    for (String name : List.of("holdfast", "holdfast/" + VM, "holdfast/" + OTHER)) {
      try (OutgoingSession session = in.linux().liveUpdate().create(name)) {
        in.check(what + ": session " + name + " is gone", session.toString().length() > 0);
      }
    }
    in.same(
        what + ": a kernel is loaded",
        "0",
        Files.readString(Path.of("/sys/kernel/kexec_loaded")).strip());
    for (String vm : vms) {
      holdfast.checkFirmware(vm);
    }
  }

  private static void refused(
      Inside in, InstalledHoldfast holdfast, String rule, String where, String why)
      throws IOException {
    int before = reports(holdfast).size();
    Files.writeString(RULE, rule);
    long start = System.nanoTime();
    InstalledHoldfast.Answer answer =
        holdfast.holdfast(holdfast.kernelUpdate().toArray(String[]::new));
    JsonObject report = next(holdfast, before);
    in.check(rule + " came to pass", !Files.exists(RULE));
    String message = report.string("message");
    in.note(
        "%s: %d ms, %d: %s"
            .formatted(rule, (System.nanoTime() - start) / 1_000_000, answer.exit(), message));
    in.same(rule + ": outcome", "cancelled", report.string("outcome"));
    in.check(
        rule + ": the report says where and why: " + message,
        message.contains(where) && message.contains(why) && message.contains("undone"));
    // Once the rest of the host is stopped, the command is.
    if (rule.contains("PREPARING")) {
      in.same(rule + ": exit status", CANCELLED, answer.exit());
    }
  }

  /** A QEMU hangs when its guest is to be stopped; the other guest runs on without it. */
  private static void hangs(Inside in, InstalledHoldfast holdfast) throws IOException {
    int before = reports(holdfast).size();
    Files.writeString(RULE, "stop " + qemu(OTHER) + " FREEZING");
    InstalledHoldfast.Answer _ = holdfast.holdfast(holdfast.kernelUpdate().toArray(String[]::new));
    JsonObject report = next(holdfast, before);
    in.check("a QEMU hangs", !Files.exists(RULE));
    in.note("a QEMU hangs: " + report.string("message"));
    in.same("a QEMU hangs: outcome", "stuck", report.string("outcome"));
    String vms = holdfast.must("vm", "list");
    in.check(
        "its VM is stuck: " + vms.replace('\n', '|'),
        vms.contains(OTHER + " is stuck") && vms.contains(report.string("id")));
    holdfast.checkFirmware(VM);
  }

  private static void awaitDeath(Process agent) {
    long start = System.nanoTime();
    while (agent.isAlive() && System.nanoTime() - start < PATIENCE_NANOS) {
      InstalledHoldfast.pause(100);
    }
  }

  private static void goesOn(Inside in, InstalledHoldfast holdfast, String what)
      throws IOException {
    InstalledHoldfast.signal(qemu(OTHER), SIGCONT);
    long start = System.nanoTime();
    while (!reports(holdfast).getLast().string("outcome").equals("cancelled")
        && System.nanoTime() - start < PATIENCE_NANOS) {
      InstalledHoldfast.pause(200);
    }
    JsonObject report = reports(holdfast).getLast();
    in.note(what + ": " + report.string("message"));
    in.same(what + " and goes on: outcome", "cancelled", report.string("outcome"));
  }

  @Override
  public void before(Inside in) throws IOException {
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process agent = holdfast.startAgent(Faulty.class);
    int agents = 1;
    holdfast.awaitAgent(agent, agents);
    holdfast.runFirmware(VM);
    holdfast.runFirmware(OTHER);
    List<String> both = List.of(VM, OTHER);
    for (String[] each :
        new String[][] {
          {"refuse KEXEC_FILE_LOAD ENOEXEC PREPARING", "host-kernel", "ENOEXEC"},
          {"refuse IOCTL ENOMEM PREPARING", "prepare", "ENOMEM"},
          {"refuse IOCTL ENOMEM FREEZING", "freeze", "ENOMEM"},
          {"refuse REBOOT EBUSY FROZEN", "reboot", "EBUSY"},
        }) {
      refused(in, holdfast, each[0], each[1], each[2]);
      undone(in, holdfast, each[0], both);
    }
    for (String state : List.of("PREPARING", "SHUTTING_DOWN", "FREEZING", "FROZEN")) {
      String what = "the agent is killed in " + state;
      int before = reports(holdfast).size();
      Files.writeString(RULE, "kill agent " + state);
      InstalledHoldfast.Answer _ =
          holdfast.holdfast(holdfast.kernelUpdate().toArray(String[]::new));
      // The command is stopped with the rest of the host, before the later states come.
      awaitDeath(agent);
      in.check(what, !agent.isAlive());
      agent = holdfast.startAgent(Faulty.class);
      holdfast.awaitAgent(agent, ++agents);
      JsonObject report = next(holdfast, before);
      in.note(what + ": " + report.string("message"));
      in.same(what + ": outcome", "cancelled", report.string("outcome"));
      undone(in, holdfast, what, both);
    }
    hangs(in, holdfast);
    goesOn(in, holdfast, "a QEMU hangs");
    undone(in, holdfast, "a QEMU hangs", both);
    hangs(in, holdfast);
    InstalledHoldfast.kill(agent.pid());
    awaitDeath(agent);
    agent = holdfast.startAgent(Faulty.class);
    holdfast.awaitAgent(agent, ++agents);
    holdfast.checkFirmware(VM);
    goesOn(in, holdfast, "a QEMU hangs, with the next agent");
    undone(in, holdfast, "a QEMU hangs, with the next agent", both);
    long qemu = qemu(OTHER);
    refused(in, holdfast, "kill " + qemu + " PREPARING", OTHER, "");
    undone(in, holdfast, "a QEMU is killed", List.of(VM));
  }

  /** The process that runs a VM. */
  private static long qemu(String vm) throws IOException {
    String record =
        Files.readString(InstalledHoldfast.RUN.resolve("vms").resolve(vm).resolve("vm.json"));
    String process = io.holdfast.varlink.json.Json.parse(record).string("process");
    return Long.parseLong(process.substring(0, process.indexOf('@')));
  }
}
