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
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Whatever fails in an update, the guest goes on in exactly one process, the report says what to
 * do, and nothing is left over. A real guest in real QEMU, the agent in a process of its own. One
 * guest lives through all faults that it must survive.
 */
@Tag("guest")
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class FaultsTest {
  private Optional<Host> started = Optional.empty();

  @BeforeAll
  void start() throws IOException, InterruptedException {
    assumeTrue(
        Files.exists(Host.guest().resolve("vmlinuz")),
        "needs the test guest: run guest/build, or ./test, which does");
    started = Optional.of(Host.start());
  }

  @BeforeEach
  void vm() {
    if (host().call("Vm.List", JsonObject.empty()).array("vms").size() == 0) {
      var _ = host().runVm(Host.qemu());
    }
  }

  /** After each: also those that failed leave the next one a fair start. */
  @AfterEach
  void disarm() throws IOException {
    host().disarm();
  }

  @AfterAll
  void end() throws IOException {
    if (started.isPresent()) {
      started.get().close();
    }
  }

  private Host host() {
    return started.orElseThrow();
  }

  // ---- a successor that can't be ----

  private Path script(String name, String text) throws IOException {
    Path script = host().directory().resolve(name);
    Files.writeString(script, text);
    return Files.setPosixFilePermissions(script, PosixFilePermissions.fromString("rwxr-xr-x"));
  }

  /**
   * A QEMU that does something else first when it is to be a successor, and does not in a trial:
   * that one would refuse it.
   */
  private Path wrapper(String name, String first) throws IOException {
    return script(
        name,
        "#!/bin/sh\ncase \"$*\" in *holdfast-control*) ;; *' -incoming '*) %s ;; esac\nexec %s \"$@\"\n"
            .formatted(first, Host.qemu()));
  }

  private void assertRefused(String qemu, String what, String why, String advice) {
    JsonObject report = host().update(qemu);
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("refused");
    assertThat(report.string("message")).contains("nothing was changed");
    JsonObject obstacle = report.array("obstacles").objects().getFirst();
    assertThat(obstacle.string("what")).contains(what);
    assertThat(obstacle.string("why")).contains(why);
    assertThat(obstacle.string("advice")).contains(advice);
    host().assertWhole();
  }

  private void assertUndone(JsonObject report, String... says) {
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("cancelled");
    assertThat(report.string("message"))
        .contains(says)
        .contains("Everything was undone; VM vm1 runs on its predecessor");
    host().assertWhole();
  }

  @Test
  @Promise("undone-before-commit")
  void successorIsMissing() {
    assertRefused("/nowhere/qemu", "/nowhere/qemu", "there is no such file", "Install QEMU");
  }

  @Test
  @Promise("undone-before-commit")
  void successorIsNotExecutable() throws IOException {
    Path file = script("plain", "#!/bin/sh\n");
    Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rw-------"));
    assertRefused(file.toString(), "plain", "it is not executable", "execute permission");
  }

  @Test
  @Promise("undone-before-commit")
  void successorIsNotQemu() throws IOException {
    assertRefused("/bin/true", "/bin/true", "", "Name a qemu-system binary");
    Path text = script("text", "Dear reader, this is no program.\n");
    assertRefused(text.toString(), "text", "", "Name a qemu-system binary");
    assertRefused("/tmp", "/tmp", "it is not a file", "Name an executable qemu-system binary");
  }

  @Test
  @Promise("undone-before-commit")
  void successorRunsOutOfMemory() throws IOException {
    Path small = wrapper("small", "ulimit -v 120000");
    assertUndone(host().update(small.toString()), "did not come up");
  }

  @Test
  @Promise("undone-before-commit")
  void successorCanNotEvenBeProbedForLackOfMemory() throws IOException {
    Path small = script("tiny", "#!/bin/sh\nulimit -v 60000\nexec " + Host.qemu() + " \"$@\"\n");
    assertRefused(small.toString(), "tiny", "", "Name a qemu-system binary");
  }

  @Test
  @Promise("undone-before-commit")
  void successorDiesAtItsStart() throws IOException {
    Path dying = wrapper("dying", "kill -9 $$");
    assertUndone(host().update(dying.toString()), "did not come up");
  }

  /** A trial runs on the command line that it should; the real successor can't load the state. */
  @Test
  @Promise("qemu-pairs")
  void aPairThatFailedInTheBlackoutIsRefusedFromThenOn() throws IOException {
    Path broken = wrapper("unloading", "set -- \"$@\" -global virtio-blk-pci.vectors=7");
    Path memory = host().run().resolve("failed-pairs");
    assertUndone(
        host().update(broken.toString()),
        "the successor could not load the device state",
        "Bad config data",
        "the next plan refuses this pair (" + memory + ")");
    String advice = "remove line 1 of " + memory;
    assertRefused(broken.toString(), "unloading", "with the guest stopped", advice);
    assertRefused(broken.toString(), "unloading", "Bad config data", advice);
    host().killAgent();
    host().startAgent();
    assertRefused(broken.toString(), "unloading", "with the guest stopped", advice);
    assertGoesOn(host().update(Host.qemu()));
    // Its line is removed: it is tried again, and fails as before.
    Files.write(memory, new byte[0]);
    assertUndone(host().update(broken.toString()), "could not load the device state");
    // A file that is damaged keeps nobody from updating, and is told.
    Files.writeString(memory, "{\"from\":");
    JsonObject plan =
        host().call("Update.Vmm", JsonObject.of("name", Host.VM, "dryRun", true)).object("report");
    assertThat(plan.string("outcome")).isEqualTo("planned");
    assertThat(plan.array("risks").strings())
        .anyMatch(risk -> risk.contains("line 1 of " + memory + " is damaged"));
    assertGoesOn(host().update(Host.qemu()));
    assertThat(Files.readString(memory)).isEqualTo("{\"from\":");
    Files.delete(memory);
  }

  // ---- names and values ----

  @ParameterizedTest
  @ValueSource(strings = {"", "../../etc", "a/b", "-x", "a b", "a\nb", "ü"})
  @Promise("undone-before-commit")
  void illFormedNames(String name) {
    for (String method : List.of("Vm.Show", "Vm.Stop", "Vm.Memory", "Update.Vmm")) {
      assertThatThrownBy(() -> host().call(method, JsonObject.of("name", name)))
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("VM name")
          .hasMessageContaining("1 to 63 characters");
    }
    host().assertWhole();
  }

  @Test
  @Promise("undone-before-commit")
  void unknownNames() {
    for (String method : List.of("Vm.Show", "Vm.Stop", "Vm.Memory", "Update.Vmm")) {
      assertThatThrownBy(() -> host().call(method, JsonObject.of("name", "nobody")))
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("there is no VM nobody; `holdfast vm list` shows those there are");
    }
    for (String method : List.of("Update.Show", "Update.Cancel")) {
      assertThatThrownBy(() -> host().call(method, JsonObject.of("id", "nothing")))
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("no update nothing");
    }
    host().assertWhole();
  }

  @Test
  @Promise("undone-before-commit")
  void nameIsTaken() {
    assertThatThrownBy(
            () ->
                host().call("Vm.Run", JsonObject.of("definition", host().definition(Host.qemu()))))
        .isInstanceOf(VarlinkException.class)
        .hasMessageContaining("there is a VM vm1 already; stop it first, or choose another name");
    host().assertWhole();
  }

  @Promise("undone-before-commit")
  static Stream<Arguments> badValues() {
    return Stream.of(
        Arguments.of("name", "../x", "VM name"),
        Arguments.of("qemu", "/nowhere/qemu", "Install QEMU"),
        Arguments.of("memory", 0L, "take at least 16 MiB"),
        Arguments.of("memory", -1L, "take at least 16 MiB"),
        Arguments.of("memory", (64L << 20) + 1, "in whole MiB"),
        Arguments.of("memory", Long.MAX_VALUE >> 20 << 20, ""),
        Arguments.of("cpus", 0L, "take 1 to 255"),
        Arguments.of("cpus", 256L, "take 1 to 255"),
        Arguments.of("machine", "pdp11", "-machine help"),
        Arguments.of("cpu", "z80", "-cpu help"),
        Arguments.of("accelerator", "steam", "take kvm or tcg"),
        Arguments.of("kernel", "/nowhere/vmlinuz", "there is no such file"),
        Arguments.of("disks", List.of(JsonObject.of("path", "relative")), "give the whole path"),
        Arguments.of(
            "disks",
            List.of(JsonObject.of("path", "/dev/null", "format", "vmdk")),
            "take raw or qcow2"),
        Arguments.of("extra", List.of("-no-such-option"), "no-such-option"));
  }

  @ParameterizedTest
  @MethodSource("badValues")
  void badValues(String field, Object value, String message) {
    JsonObject definition =
        host().definition(Host.qemu()).with("name", "other").with("disks", List.of());
    assertThatThrownBy(
            () -> host().call("Vm.Run", JsonObject.of("definition", definition.with(field, value))))
        .isInstanceOf(VarlinkException.class)
        .hasMessageContaining(message);
    host().assertWhole();
  }

  // ---- somebody dies ----

  private JsonObject updateWith(boolean after, Call call, String what, Victim victim)
      throws IOException {
    // The crossing is tried once per agent: the fault is meant for the update.
    var _ =
        host()
            .call(
                "Update.Vmm", JsonObject.of("name", Host.VM, "qemu", Host.qemu(), "dryRun", true));
    host().arm(new Fault(after, call, what, victim));
    JsonObject report = host().update(Host.qemu());
    assertThat(host().armed()).as("the moment %s never came: %s", what, report).isFalse();
    return report;
  }

  private static String entered(String state) {
    return "^entered \\S+ " + state + " ";
  }

  @Test
  @Promise("never-twice")
  void successorDiesBeforeItLoads() throws IOException {
    assertUndone(
        updateWith(true, Call.WRITE, entered("PREPARED"), Victim.SUCCESSOR), "the successor");
  }

  @Test
  @Promise("never-twice")
  void successorDiesAsItIsConnected() throws IOException {
    assertUndone(
        updateWith(false, Call.SENDMSG, "\"migrate-incoming\"", Victim.SUCCESSOR),
        "the successor of vm1 went away");
  }

  /** QEVM are the first bytes of a migration stream. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  @Promise("never-twice")
  void successorDiesWhileItLoads(boolean after) throws IOException {
    assertUndone(
        updateWith(after, Call.SENDMSG, "^QEVM", Victim.SUCCESSOR),
        "the successor of vm1 went away");
  }

  /**
   * Nobody needs it before the commit; so its death is found after that, and it is forward only.
   */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  @Promise("never-twice")
  void successorDiesAfterItHasLoaded(boolean after) throws IOException {
    assertGoesOn(updateWith(after, Call.WRITE, entered("RESTORED"), Victim.SUCCESSOR));
  }

  @ParameterizedTest
  @ValueSource(strings = {"COMMITTED", "RESUMED"})
  @Promise("never-twice")
  void successorDiesBetweenCommitAndRun(String state) throws IOException {
    assertGoesOn(updateWith(true, Call.WRITE, entered(state), Victim.SUCCESSOR));
  }

  private void assertGoesOn(JsonObject report) throws IOException {
    assertThat(report.string("outcome")).as("%s", report).isIn("completed", "recovered");
    assertThat(report.string("message")).contains("VM vm1 runs on its successor");
    host().assertWhole();
  }

  @ParameterizedTest
  @ValueSource(strings = {"RESTORED", "COMMITTED"})
  @Promise("never-twice")
  void predecessorDiesAfterItsStateIsSent(String state) throws IOException {
    assertGoesOn(updateWith(true, Call.WRITE, entered(state), Victim.PREDECESSOR));
  }

  @ParameterizedTest
  @ValueSource(strings = {"PREPARED", "FROZEN"})
  @Promise("never-twice")
  void predecessorDiesBeforeItsStateIsSent(String state) throws IOException {
    JsonObject report = updateWith(true, Call.WRITE, entered(state), Victim.PREDECESSOR);
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("cancelled");
    assertThat(report.string("message"))
        .contains("died before its state was sent: the guest is lost")
        .contains("Stop it with `holdfast vm stop vm1`, and run it again from its disks.");
    assertLost();
  }

  private void assertLost() throws IOException {
    JsonObject vm = host().show();
    assertThat(vm.string("state")).as("%s", vm).isEqualTo("lost");
    assertThat(vm.string("reason")).isNotEmpty();
    host().assertNothingRuns();
    // And what the message says works.
    host().stopVm();
    host().assertEmpty();
  }

  /** It was written down that the guest may run, but it was not told to. */
  @Test
  @Promise("never-twice")
  void successorDiesAsItIsAboutToBeToldToRun() throws IOException {
    assertGoesOn(updateWith(true, Call.WRITE, "^fact \\S+ vm1 runs ", Victim.SUCCESSOR));
  }

  /** The guest may have run already: starting it again would be a fork. */
  @Test
  @Promise("never-twice")
  void successorDiesAsItRuns() throws IOException {
    JsonObject report = updateWith(false, Call.SENDMSG, "\"execute\":\"cont\"", Victim.SUCCESSOR);
    assertThat(report.string("message"))
        .contains("the guest is lost, as it can't be started again from its state without a fork")
        .contains("Stop it with `holdfast vm stop vm1`, and run it again from its disks");
    assertLost();
  }

  // ---- the agent dies ----

  static Stream<Arguments> steps() {
    Stream<String> records =
        Stream.of(
            "^began\\.1 ",
            entered("PREPARING"),
            "^fact \\S+ vm1 target ",
            "^fact \\S+ vm1 successor starting ",
            "^fact \\S+ vm1 successor [0-9]",
            entered("PREPARED"),
            entered("FREEZING"),
            "^fact \\S+ vm1 stopped ",
            entered("FROZEN"),
            entered("HANDED_OVER"),
            entered("RESTORING"),
            entered("RESTORED"),
            entered("COMMITTED"),
            entered("RESUMED"),
            "^fact \\S+ vm1 runs ",
            entered("NORMAL"));
    return records.flatMap(each -> Stream.of(Arguments.of(each, false), Arguments.of(each, true)));
  }

  @ParameterizedTest
  @MethodSource("steps")
  @Promise("never-twice")
  void agentDies(String record, boolean after) throws IOException {
    long before = host().show().number("generation");
    host().arm(new Fault(after, Call.WRITE, record, Victim.AGENT));
    assertThatThrownBy(() -> host().update(Host.qemu()))
        .isInstanceOf(VarlinkConnectionException.class);
    host().awaitAgentDeath();
    assertThat(host().armed()).isFalse();
    host().startAgent();
    host().assertWhole();
    boolean committed =
        Stream.of("RESUMED", "runs", "NORMAL").anyMatch(record::contains)
            || (record.contains("COMMITTED") && after);
    assertThat(host().show().number("generation")).isEqualTo(committed ? before + 1 : before);
  }

  /** Neither undoing nor finishing an update may need the file that it went to. */
  @ParameterizedTest
  @ValueSource(strings = {"PREPARED", "COMMITTED"})
  void agentDiesAndTheTargetIsRemoved(String state) throws IOException {
    Path target = wrapper("removed-" + state, ":");
    host().arm(new Fault(true, Call.WRITE, entered(state), Victim.AGENT));
    assertThatThrownBy(() -> host().update(target.toString()))
        .isInstanceOf(VarlinkConnectionException.class);
    host().awaitAgentDeath();
    Files.delete(target);
    host().startAgent();
    host().assertWhole();
  }

  @Test
  void agentDiesWhileItProbesAQemu() throws IOException, InterruptedException {
    Path started = host().directory().resolve("probe");
    Path hanging =
        script("hanging", "#!/bin/sh\necho $$ >%s\nexec sleep 1000\n".formatted(started));
    Thread update =
        Thread.ofPlatform()
            .start(
                () ->
                    assertThatThrownBy(() -> host().update(hanging.toString()))
                        .isInstanceOf(VarlinkConnectionException.class));
    Host.await("the probe", () -> Files.exists(started) && started.toFile().length() > 0);
    long probe = Long.parseLong(Files.readString(started).strip());
    host().killAgent();
    update.join();
    Host.await("the end of the probe, process " + probe, () -> !Host.alive(probe));
    host().startAgent();
    host().assertWhole();
  }

  /** What an agent rehearses is nothing for the next one to take up, or to keep open. */
  @Test
  @Promise("never-twice")
  void agentDiesInItsRehearsal() throws IOException {
    host().killAgent();
    host().arm(new Fault(true, Call.WRITE, "^entered rehearsal PREPARED ", Victim.AGENT));
    host().startAgent();
    host().awaitAgentDeath();
    assertThat(host().armed()).isFalse();
    host().startAgent();
    host().assertWhole();
  }

  @Test
  @Promise("never-twice")
  void agentDiesBetweenUpdatesAndTheVmGoesOnWithoutIt() throws IOException {
    host().killAgent();
    host().startAgent();
    host().assertWhole();
  }

  @Test
  @Promise("never-twice")
  void vmDiesWhileNoAgentIsThere() throws IOException {
    host().killAgent();
    host().killVm();
    host().startAgent();
    JsonObject report = host().update(Host.qemu());
    assertThat(report.string("outcome")).isEqualTo("refused");
    assertThat(report.array("obstacles").objects().getFirst().string("advice"))
        .contains("holdfast vm stop vm1");
    assertLost();
  }

  // ---- the socket ----

  @Test
  @Promise("undone-before-commit")
  void anotherAgentHasTheRunDirectory() throws IOException {
    assertThat(host().runAgain(List.of("--run", host().run().toString())))
        .contains("another agent has " + host().run())
        .contains("--run DIR");
    host().assertWhole();
  }

  /** What it multiplies is in LimitsTest of holdfast-agent. */
  @Test
  void anAgentReadsItsPatienceFromTheEnvironment() throws IOException {
    List<String> arguments = List.of("--run", host().run().toString());
    assertThat(host().runAgain(arguments, Map.of("HOLDFAST_PATIENCE", "3")))
        .contains("deadlines are 3 times the usual ones (HOLDFAST_PATIENCE)");
    assertThat(host().runAgain(arguments, Map.of("HOLDFAST_PATIENCE", "0")))
        .contains("HOLDFAST_PATIENCE='0' is not a whole number from 1 to 100")
        .contains("it is ignored")
        .doesNotContain("deadlines are");
    host().assertWhole();
  }

  @Test
  @Promise("undone-before-commit")
  void anotherServiceHasTheSocket() throws IOException {
    Path other = host().directory().resolve("other");
    assertThat(
            host()
                .runAgain(
                    List.of(
                        "--run",
                        other.toString(),
                        "--socket",
                        host().run().resolve("agent.sock").toString())))
        .contains("agent.sock is in use by another service")
        .contains("--socket PATH");
    try (Stream<Path> left = Files.walk(other)) {
      assertThat(left.filter(Files::isRegularFile).map(each -> each.getFileName().toString()))
          .as("nothing but the lock, which is nobody's")
          .containsExactly("agent.lock");
    }
    host().assertWhole();
  }

  // ---- another version ----

  @Test
  @Promise("undone-before-commit")
  void successorIsTooOldForTheMachineType() throws IOException, InterruptedException {
    String newer = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    assumeTrue(
        !newer.isEmpty(), "needs a second, newer QEMU: HOLDFAST_QEMU_OTHER, which ./test sets");
    try (Host other = Host.start()) {
      String machine = other.runVm(newer).string("machine");
      JsonObject report = other.update(Host.qemu());
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("refused");
      JsonObject obstacle = report.array("obstacles").objects().getFirst();
      assertThat(obstacle.string("why"))
          .contains("it lacks what the guest was promised: machine type " + machine);
      assertThat(obstacle.string("advice")).contains("Update to a QEMU that has it");
      other.assertWhole();
    }
  }
}
