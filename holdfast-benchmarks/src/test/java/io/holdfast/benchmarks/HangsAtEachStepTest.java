package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.benchmarks.FaultyAgent.Fault;
import io.holdfast.benchmarks.FaultyAgent.Victim;
import io.holdfast.linux.Call;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkConnectionException;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * A QEMU is stopped by SIGSTOP right before the agent sends it, or another one of the VM, a
 * command: before each one of an operation, one after the other. The operation ends by itself; when
 * the QEMU goes on, so does the guest, in one process, and the VM can be updated.
 *
 * <p>Each night does one in {@link #STRIDE}, from another one on: {@code -Dholdfast.hangs.stride=1}
 * does all of them, in 40 minutes.
 */
@Tag("guest")
@Tag("nightly")
@Promise("slow-is-not-dead")
class HangsAtEachStepTest {
  private static final int STRIDE = Integer.getInteger("holdfast.hangs.stride", 8);

  /** Hosts at work at the same time, which wait most of the time. */
  private static final int LANES = 3;

  /** More than the commands of a hot-plug. */
  private static final int PORTS = 8;

  private static final String COMMAND = "\"execute\"";

  /** What operations came to, and how often. */
  private final Map<String, AtomicInteger> ends = new ConcurrentSkipListMap<>();

  /** A host, on which an operation is done again and again. */
  private interface Lane extends AutoCloseable {
    /**
     * Does the operation; a QEMU hangs before a command.
     *
     * @param command its number, from 0
     * @return false if the operation has fewer commands
     */
    boolean hangsAt(int command) throws IOException;

    @Override
    void close() throws IOException;
  }

  private interface Start {
    Lane lane() throws IOException;
  }

  @ParameterizedTest
  @EnumSource(names = {"PREDECESSOR_HANGS", "SUCCESSOR_HANGS"})
  void anUpdateEndsAndTheGuestGoesOn(Victim victim) throws IOException, InterruptedException {
    atEachCommand("update, " + victim, () -> new Updated(victim));
  }

  @ParameterizedTest
  @CsvSource({
    "PREPARED, PREDECESSOR_HANGS",
    "FROZEN, PREDECESSOR_HANGS",
    "COMMITTED, SUCCESSOR_HANGS"
  })
  void anUpdateIsTakenUpWhenTheQemuGoesOn(String state, Victim victim)
      throws IOException, InterruptedException {
    atEachCommand("recovery in " + state + ", " + victim, () -> new Recovered(state, victim));
  }

  @Test
  void aQemuThatWasToBeAdoptedIsAsItWas() throws IOException, InterruptedException {
    atEachCommand("adoption", Adopted::new);
  }

  @Test
  void aDeviceIsPluggedInWhenTheQemuGoesOn() throws IOException, InterruptedException {
    atEachCommand("hot-plug", Plugged::new);
  }

  private void atEachCommand(String operation, Start start)
      throws IOException, InterruptedException {
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    long seed = Long.getLong("holdfast.seed", System.nanoTime());
    System.out.println("HangsAtEachStepTest: HOLDFAST_SEED=" + seed + ", " + operation);
    AtomicInteger next = new AtomicInteger((int) Math.floorMod(seed, (long) STRIDE));
    List<Future<Integer>> lanes = new ArrayList<>();
    int done = 0;
    try (ExecutorService executor = Executors.newFixedThreadPool(LANES)) {
      for (int i = 0; i < LANES; i++) {
        lanes.add(executor.submit(() -> work(operation, start, next)));
      }
      for (Future<Integer> lane : lanes) {
        done += lane.get();
      }
    } catch (ExecutionException e) {
      throw new AssertionError(e.getMessage(), e);
    }
    System.out.printf("%s: QEMU hung before %d commands: %s%n", operation, done, ends);
    assertThat(done).as("%s has commands", operation).isPositive();
  }

  private static int work(String operation, Start start, AtomicInteger next) throws IOException {
    int done = 0;
    try (Lane lane = start.lane()) {
      while (true) {
        int command = next.getAndAdd(STRIDE);
        long began = System.nanoTime();
        try {
          if (!lane.hangsAt(command)) {
            return done;
          }
        } catch (IOException | RuntimeException | AssertionError e) {
          throw new AssertionError(operation + ", command " + command + ": " + e.getMessage(), e);
        }
        System.out.printf(
            "%s, command %d: %d s%n",
            operation, command, (System.nanoTime() - began) / 1_000_000_000);
        done++;
      }
    }
  }

  private void ended(String how) {
    ends.computeIfAbsent(how, _ -> new AtomicInteger()).incrementAndGet();
  }

  /** Of a VM whose guest counts. */
  private abstract static class OfAVm implements Lane {
    final Host host;

    private final Victim victim;
    private long predecessor;

    OfAVm(Victim victim) throws IOException {
      this.victim = victim;
      host = Host.start();
      boolean ready = false;
      try {
        JsonObject definition = host.definition(Host.qemu());
        // A guest whose QEMU was stopped by a signal finds that time has passed.
        String append = definition.string("append") + " watchdog_thresh=60";
        JsonObject _ = host.runVm(definition.with("append", append).with("hotplugPorts", PORTS));
        completes();
        ready = true;
      } finally {
        if (!ready) {
          host.close();
        }
      }
    }

    /** The QEMU that the guest is in now is the predecessor from now on. */
    final void begins() {
      predecessor = Host.recordedProcess(host.run());
    }

    final void arm(int command) throws IOException {
      host.arm(new Fault(false, Call.SENDMSG, COMMAND, victim, command));
    }

    /** What an update does for the first time comes before the first hang. */
    final void completes() {
      JsonObject report = host.update(Host.qemu());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      host.assertWhole();
    }

    /** Only the one that hangs: the other may be fenced by the agent. */
    final void goesOn() {
      Host.qemus(host.run()).stream()
          .filter(pid -> (pid == predecessor) == (victim == Victim.PREDECESSOR_HANGS))
          .forEach(pid -> StallingFile.signal("-CONT", pid));
      Host.await("the guest runs", () -> host.show().string("state").equals("running"));
      host.assertWhole();
    }

    @Override
    public void close() throws IOException {
      host.close();
    }
  }

  /** While it is updated. */
  private final class Updated extends OfAVm {
    Updated(Victim victim) throws IOException {
      super(victim);
    }

    @Override
    public boolean hangsAt(int command) throws IOException {
      begins();
      arm(command);
      String outcome;
      try {
        outcome = host.update(Host.qemu()).string("outcome");
      } catch (VarlinkException e) {
        assertThat(e).hasMessageContaining("did not answer");
        outcome = "not begun";
      }
      boolean struck = !host.armed();
      host.disarm();
      goesOn();
      if (struck) {
        ended(outcome);
        completes();
      }
      return struck;
    }
  }

  /** While an agent takes up the update in which the agent before it was killed. */
  private final class Recovered extends OfAVm {
    private final String state;

    Recovered(String state, Victim victim) throws IOException {
      super(victim);
      this.state = state;
    }

    @Override
    public boolean hangsAt(int command) throws IOException {
      begins();
      host.arm(new Fault(true, Call.WRITE, "^entered \\S+ " + state + " ", Victim.AGENT));
      assertThatThrownBy(() -> host.update(Host.qemu()))
          .isInstanceOf(VarlinkConnectionException.class);
      host.awaitAgentDeath();
      arm(command);
      host.startAgentUntilItAnswers();
      Host.await("the end of the recovery, or its hang", () -> !host.armed() || runs());
      boolean struck = !host.armed();
      if (struck) {
        Host.await("what comes of it", () -> !shown().equals("updating"));
        ended(shown());
      }
      host.disarm();
      goesOn();
      completes();
      return struck;
    }

    private boolean runs() {
      return shown().equals("running");
    }

    private String shown() {
      JsonObject listed =
          host.call("Vm.List", JsonObject.empty()).array("vms").objects().getFirst();
      return listed.string("state");
    }
  }

  /** While a device is plugged in. */
  private final class Plugged extends OfAVm {
    private int used;

    Plugged() throws IOException {
      super(Victim.PREDECESSOR_HANGS);
    }

    @Override
    public boolean hangsAt(int command) throws IOException {
      assertThat(used).as("a port for each command").isLessThan(PORTS);
      int port = used++;
      begins();
      arm(command);
      String id = "rng" + command;
      try {
        JsonObject _ =
            qmp(
                "device_add",
                JsonObject.of("driver", "virtio-rng-pci", "id", id, "bus", "port" + port));
      } catch (VarlinkException e) {
        assertThat(e).hasMessageContaining("did not answer");
      }
      boolean struck = !host.armed();
      host.disarm();
      goesOn();
      Host.await("the end of the command", host::isFree);
      if (struck) {
        ended("plugged in");
        completes();
      }
      assertThat(qmp("qom-list", JsonObject.of("path", "/machine/peripheral")).toString())
          .contains("\"" + id + "\"");
      return struck;
    }

    private JsonObject qmp(String command, JsonObject arguments) {
      return host.call(
          "Vm.Qmp", JsonObject.of("name", Host.VM, "command", command, "arguments", arguments));
    }
  }

  /** While it is adopted. */
  private final class Adopted implements Lane {
    private final Host host = Host.start();

    Adopted() throws IOException {}

    @Override
    public boolean hangsAt(int command) throws IOException {
      Path directory = Files.createDirectory(host.directory().resolve("adopted-" + command));
      try (AdoptTest.Started qemu = AdoptTest.bare(directory, AdoptTest.FILE)) {
        Path socket = directory.resolve("qmp.sock");
        Host.await("QEMU", () -> Files.exists(socket));
        Files.writeString(host.directory().resolve(FaultyAgent.ADOPTED), Long.toString(qemu.pid()));
        host.arm(new Fault(false, Call.SENDMSG, COMMAND, Victim.ADOPTED_HANGS, command));
        JsonObject adoption = JsonObject.of("name", Host.VM, "qmp", socket.toString());
        boolean adopted = adopted(adoption);
        boolean struck = !host.armed();
        host.disarm();
        StallingFile.signal("-CONT", qemu.pid());
        if (!adopted) {
          host.assertEmpty();
          assertThat(adopted(adoption)).isTrue();
        }
        assertThat(host.show().number("pid")).isEqualTo(qemu.pid());
        JsonObject report = host.update(Host.qemu());
        assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
        host.stopVm();
        host.assertEmpty();
        if (struck) {
          ended(adopted ? "adopted" : "refused");
        }
        return struck;
      }
    }

    /** Whether it is adopted; what is not is refused because it does not answer. */
    private boolean adopted(JsonObject adoption) {
      String said;
      try {
        JsonObject reply = host.call("Vm.Adopt", adoption);
        if (reply.array("obstacles").objects().isEmpty()) {
          return true;
        }
        said = reply.toString();
      } catch (VarlinkException e) {
        said = String.valueOf(e.getMessage());
      }
      assertThat(said)
          .containsAnyOf("did not answer", "nobody answers there", "is stopped by a signal");
      return false;
    }

    @Override
    public void close() throws IOException {
      host.close();
    }
  }
}
