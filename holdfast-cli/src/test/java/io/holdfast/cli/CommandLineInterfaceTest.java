package io.holdfast.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.Call;
import io.holdfast.varlink.Handler;
import io.holdfast.varlink.VarlinkError;
import io.holdfast.varlink.VarlinkInterface;
import io.holdfast.varlink.VarlinkServer;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Whole command lines, against a real Varlink server with the agent's real interfaces and canned
 * answers.
 */
@Timeout(60)
class CommandLineInterfaceTest {
  @TempDir private Path directory;

  private final ByteArrayOutputStream outBytes = new ByteArrayOutputStream();
  private final ByteArrayOutputStream errBytes = new ByteArrayOutputStream();
  private final Interrupts interrupts = new Interrupts();
  private final Map<String, Handler> handlers = new HashMap<>();
  private final List<JsonObject> calls = new ArrayList<>();
  private final List<List<String>> agents = new ArrayList<>();
  private final Map<String, String> environment = new HashMap<>();
  private boolean terminal;
  private VarlinkServer server;

  @BeforeEach
  void serve() throws IOException {
    VarlinkServer.Builder builder =
        VarlinkServer.builder("Holdfast", "canned agent", "1", "https://example.org");
    for (String name : List.of("io.holdfast.Agent", "io.holdfast.Vm", "io.holdfast.Update")) {
      VarlinkInterface definition = VarlinkInterface.parse(source(name));
      builder.implement(definition);
      for (String method : definition.methods()) {
        builder.on(name + "." + method, this::answer);
      }
    }
    server = builder.start(Linux.system().listen(socket(), 8));
  }

  @AfterEach
  void close() {
    server.close();
  }

  private static String source(String name) throws IOException {
    try (InputStream file =
        CommandLineInterfaceTest.class.getResourceAsStream(
            "/io/holdfast/agent/" + name + ".varlink")) {
      assertThat(file).as(name).isNotNull();
      return new String(file.readAllBytes(), UTF_8);
    }
  }

  private void answer(Call call) {
    synchronized (calls) {
      calls.add(call.parameters());
    }
    Handler handler = handlers.get(call.method());
    if (handler == null) {
      throw new VarlinkError(
          "io.holdfast.Vm.NotPossible",
          JsonObject.of("message", "the test expects no " + call.method()));
    }
    handler.handle(call);
  }

  private Path socket() {
    return directory.resolve("agent.sock");
  }

  private Exit run(String... arguments) {
    return run(socket(), arguments);
  }

  private Exit run(Path socket, String... arguments) {
    Shell shell =
        new Shell(
            new PrintStream(outBytes, false, UTF_8),
            new PrintStream(errBytes, false, UTF_8),
            terminal,
            100,
            environment,
            directory,
            ZoneOffset.UTC,
            () -> socket,
            agents::add);
    return new CommandLineInterface(shell, interrupts).run(arguments);
  }

  private String out() {
    return outBytes.toString(UTF_8);
  }

  private String err() {
    return errBytes.toString(UTF_8);
  }

  private void vmRuns() {
    handlers.put("io.holdfast.Vm.Run", call -> call.reply(JsonObject.of("vm", Samples.RUNNING)));
  }

  private JsonObject definition() {
    return calls.getFirst().object("definition");
  }

  // What goes to the agent.

  @Test
  void runsAVmWithDefaults() {
    vmRuns();
    assertThat(run("vm", "run", "web")).isEqualTo(Exit.OK);
    assertThat(definition())
        .isEqualTo(
            Json.parse(
                """
                {"name":"web","memory":1073741824,"cpus":1,"disks":[],"extra":[]}
                """));
    assertThat(out()).startsWith("VM web is running, pid 4711: QEMU 7.2.13, ");
    assertThat(err()).isEmpty();
  }

  @Test
  void runsAVmWithEverything() throws IOException {
    vmRuns();
    Path qemu = Files.createDirectory(directory.resolve("bin")).resolve("qemu-x");
    Files.createFile(
        qemu, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwxr-xr-x")));
    environment.put("PATH", "/nowhere:" + directory.resolve("bin"));
    Exit exit =
        run(
            "vm",
            "run",
            "web",
            "--memory",
            "2G",
            "--cpus=4",
            "--disk",
            "root.qcow2,format=qcow2",
            "--disk",
            "/d/cd.img,readonly",
            "--net",
            "tap,bridge=br0,queues=4",
            "--net=user,mac=52:54:00:00:00:01,hostfwd=tcp:127.0.0.1:2222-:22",
            "--kernel",
            "./vmlinuz",
            "--initrd",
            "../initrd",
            "--append",
            "console=ttyS0 quiet",
            "--machine",
            "q35",
            "--cpu",
            "max,-la57",
            "--accel",
            "tcg",
            "--huge-pages",
            "--qemu",
            "qemu-x",
            "--",
            "-device",
            "virtio-rng-pci",
            "--",
            "--json");
    assertThat(err()).isEmpty();
    assertThat(exit).isEqualTo(Exit.OK);
    assertThat(definition())
        .isEqualTo(
            Json.parse(
                """
                {"name":"web","qemu":"DIR/bin/qemu-x","memory":2147483648,"hugePages":"transparent","cpus":4,
                 "machine":"q35","cpu":"max,-la57","accelerator":"tcg","kernel":"DIR/vmlinuz",
                 "initrd":"DIR/../initrd","append":"console=ttyS0 quiet",
                 "disks":[{"path":"DIR/root.qcow2","format":"qcow2","readOnly":false},
                          {"path":"/d/cd.img","readOnly":true}],
                 "networks":[{"kind":"tap","bridge":"br0","queues":4},
                             {"kind":"user","mac":"52:54:00:00:00:01",
                              "hostForwards":[{"address":"127.0.0.1","port":2222,"guestPort":22}]}],
                 "extra":["-device","virtio-rng-pci","--","--json"]}
                """
                    .replace("DIR", directory.toString())));
    assertThat(out()).as("--json after -- belongs to QEMU").startsWith("VM web is running");
  }

  @Test
  void takesAProgramThatIsNotInThePathForAFile() {
    vmRuns();
    environment.put("PATH", "/nowhere");
    assertThat(run("vm", "run", "web", "--qemu", "qemu-x")).isEqualTo(Exit.OK);
    assertThat(definition().string("qemu")).isEqualTo(directory.resolve("qemu-x").toString());
  }

  @Test
  void listsShowsAndStops() {
    handlers.put(
        "io.holdfast.Vm.List",
        call -> call.reply(JsonObject.of("vms", JsonArray.of(Samples.RUNNING))));
    handlers.put("io.holdfast.Vm.Show", call -> call.reply(JsonObject.of("vm", Samples.RUNNING)));
    handlers.put("io.holdfast.Vm.Stop", call -> call.reply(JsonObject.empty()));
    assertThat(run("vm", "list")).isEqualTo(Exit.OK);
    assertThat(run("vm", "show", "web")).isEqualTo(Exit.OK);
    assertThat(run("vm", "stop", "web")).isEqualTo(Exit.OK);
    assertThat(calls)
        .containsExactly(
            JsonObject.empty(), JsonObject.of("name", "web"), JsonObject.of("name", "web"));
    assertThat(out())
        .startsWith("NAME  STATE")
        .contains("name:        web\n")
        .endsWith("VM web is stopped.\n");
  }

  @Test
  void pausesAndResumes() {
    JsonObject paused = Samples.RUNNING.with("state", "paused");
    handlers.put("io.holdfast.Vm.Pause", call -> call.reply(JsonObject.of("vm", paused)));
    handlers.put("io.holdfast.Vm.Resume", call -> call.reply(JsonObject.of("vm", Samples.RUNNING)));
    assertThat(run("vm", "pause", "web")).isEqualTo(Exit.OK);
    assertThat(run("vm", "resume", "web")).isEqualTo(Exit.OK);
    assertThat(calls).containsExactly(JsonObject.of("name", "web"), JsonObject.of("name", "web"));
    assertThat(out()).isEqualTo("VM web is paused.\nVM web is running.\n");
  }

  @Test
  void showsStatusAndUpdates() {
    handlers.put("io.holdfast.Agent.Status", call -> call.reply(Samples.STATUS));
    handlers.put(
        "io.holdfast.Update.List",
        call -> call.reply(JsonObject.of("reports", JsonArray.of(Samples.COMPLETED))));
    handlers.put(
        "io.holdfast.Update.Show", call -> call.reply(JsonObject.of("report", Samples.CANCELLED)));
    assertThat(run("status")).isEqualTo(Exit.OK);
    assertThat(run("update", "list")).isEqualTo(Exit.OK);
    assertThat(run("update", "show", "u8"))
        .as("showing a cancelled update is no failure")
        .isEqualTo(Exit.OK);
    assertThat(out())
        .contains("keeper:        process 98", "u7  2026-11-23 10:40:00", "Update u8 (vmm) of web");
    assertThat(calls.getLast()).isEqualTo(JsonObject.of("id", "u8"));
  }

  @Test
  void handsOverToTheAgentWithAbsolutePaths() {
    assertThat(run("agent")).isEqualTo(Exit.OK);
    assertThat(run("--socket", "a.sock", "agent", "--run", "/r")).isEqualTo(Exit.OK);
    assertThat(agents)
        .containsExactly(
            List.of(), List.of("--socket", directory.resolve("a.sock").toString(), "--run", "/r"));
  }

  @Test
  void takesTheSocketBeforeOrAfterTheCommand() {
    handlers.put("io.holdfast.Agent.Status", call -> call.reply(Samples.STATUS));
    Path elsewhere = directory.resolve("nobody.sock");
    assertThat(run(elsewhere, "--socket", "agent.sock", "status")).isEqualTo(Exit.OK);
    assertThat(run(elsewhere, "status", "--socket", socket().toString())).isEqualTo(Exit.OK);
  }

  // For programs.

  @Test
  @Promise("command")
  void printsTheReplyAsItCame() {
    JsonObject reply = JsonObject.of("vms", JsonArray.of(Samples.RUNNING, Samples.LOST));
    handlers.put("io.holdfast.Vm.List", call -> call.reply(reply));
    assertThat(run("--json", "vm", "list")).isEqualTo(Exit.OK);
    assertThat(out()).endsWith("}\n").hasLineCount(1);
    assertThat(Json.parse(out())).isEqualTo(reply);
  }

  @Test
  void printsHelpVersionAndStatesAsJsonToo() {
    assertThat(run("vm", "--help", "--json")).isEqualTo(Exit.OK);
    assertThat(Json.parse(out()).string("help")).startsWith("Usage: holdfast vm ");
    outBytes.reset();
    assertThat(run("--version", "--json")).isEqualTo(Exit.OK);
    assertThat(Json.parse(out()).string("version")).isNotBlank();
    outBytes.reset();
    assertThat(run("states", "--json")).isEqualTo(Exit.OK);
    JsonObject prepared = Json.parse(out()).object("update").array("exec").objects().get(2);
    assertThat(prepared.string("state")).isEqualTo("PREPARED");
    assertThat(prepared.string("phase")).isEqualTo("brownout");
    assertThat(prepared.array("next").strings()).contains("FREEZING", "CANCELLING");
    assertThat(prepared.object("permissions").string("run guest")).isEqualTo("yes");
    assertThat(Json.parse(out()).array("memory").objects()).hasSizeGreaterThan(5);
  }

  @Test
  @Promise("command")
  void printsErrorsAsJson() {
    handlers.put(
        "io.holdfast.Vm.Show",
        _ -> {
          throw new VarlinkError(
              "io.holdfast.Vm.NoSuchVm",
              JsonObject.of("name", "web", "message", "no VM is called web"));
        });
    assertThat(run("vm", "show", "web", "--json")).isEqualTo(Exit.FAILED);
    assertThat(Json.parse(out()))
        .isEqualTo(
            JsonObject.of(
                "error", "io.holdfast.Vm.NoSuchVm", "message", "vm show web: no VM is called web"));
    assertThat(err()).isEmpty();
  }

  @ParameterizedTest
  @CsvSource({
    "vm shwo --json, io.holdfast.cli.Usage, 2",
    "--json vm run, io.holdfast.cli.Usage, 2",
    "--json --socket nobody.sock vm list, io.holdfast.cli.NoAgent, 4",
    "--json update vmm, io.holdfast.cli.Usage, 2",
  })
  @Promise("command")
  void printsItsOwnErrorsAsJson(String line, String error, int code) {
    assertThat(run(line.split(" ", -1)).code()).isEqualTo(code);
    assertThat(Json.parse(out()).string("error")).isEqualTo(error);
    assertThat(Json.parse(out()).string("message")).isNotBlank();
    assertThat(err()).isEmpty();
  }

  // What goes wrong.

  @Test
  void saysHowToStartTheAgent() {
    assertThat(run(directory.resolve("nobody.sock"), "vm", "list")).isEqualTo(Exit.NO_AGENT);
    assertThat(err())
        .isEqualTo(
            "holdfast: vm list: no agent listens on "
                + directory.resolve("nobody.sock")
                + ". Start it with: holdfast agent; or name the socket of one that runs with --socket\n");
    assertThat(out()).isEmpty();
  }

  @Test
  void takesASocketThatNobodyListensOnForNoAgent() {
    server.close();
    assertThat(Files.exists(socket())).isTrue();
    assertThat(run("vm", "list")).isEqualTo(Exit.NO_AGENT);
  }

  @Test
  void namesTheFieldOfABadDefinition() {
    handlers.put(
        "io.holdfast.Vm.Run",
        _ -> {
          throw new VarlinkError(
              "io.holdfast.Vm.BadDefinition",
              JsonObject.of("field", "kernel", "message", "/boot/x is missing: give a file"));
        });
    assertThat(run("vm", "run", "web")).isEqualTo(Exit.FAILED);
    assertThat(err()).isEqualTo("holdfast: vm run web: kernel: /boot/x is missing: give a file\n");
  }

  @Test
  void saysWhoMayCall() {
    handlers.put(
        "io.holdfast.Vm.List",
        _ -> {
          throw VarlinkError.permissionDenied();
        });
    assertThat(run("vm", "list")).isEqualTo(Exit.FAILED);
    assertThat(err()).contains("only root and its own user");
  }

  @Test
  void saysWhatBecomesOfVmsWhenTheAgentGoesAway() {
    CompletableFuture<Void> closing = new CompletableFuture<>();
    handlers.put(
        "io.holdfast.Vm.List",
        _ -> {
          Thread.ofPlatform()
              .start(
                  () -> {
                    server.close();
                    closing.complete(null);
                  });
          closing.orTimeout(20, TimeUnit.SECONDS).join();
        });
    assertThat(run("vm", "list")).isEqualTo(Exit.FAILED);
    assertThat(err())
        .startsWith("holdfast: vm list: the connection to the agent ended")
        .contains("Running VMs continue");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "\"\"|a command is missing, one of agent, status, vm, update, rescue, box, kho, debugfs, states. How it is used: holdfast --help",
        "vm|vm: a command is missing, one of run, adopt, list, show, console, pause, resume, stop, media, qmp. How it is used: holdfast vm --help",
        "vm lst|vm: 'lst' is not known here. Did you mean list? How it is used: holdfast vm --help",
        "updaet vmm a|'updaet' is not known here. Did you mean update? How it is used: holdfast --help",
        "vm run a --memroy 1G|vm run: '--memroy' is not known here. Did you mean --memory? How it is used: holdfast vm run --help",
        "debugfs|debugfs: Missing required parameter: 'MOUNTPOINT'. How it is used: holdfast debugfs --help",
        "debugfs a b|debugfs: 'b' is not known here. How it is used: holdfast debugfs --help",
        "box|box: a command is missing, one of put, get, list, remove, give-up. How it is used: holdfast box --help",
        "box put a b|box put: Missing required parameter: 'FILE'. How it is used: holdfast box put --help",
        "vm show|vm show: Missing required parameter: 'NAME'. How it is used: holdfast vm show --help",
        "update vmm|update vmm: Missing required parameter: 'NAME', or --all. How it is used: holdfast update vmm --help",
        "update vmm --all a|update vmm: give --all or names of VMs, not both. How it is used: holdfast update vmm --help",
        "vm show a b|vm show: 'b' is not known here. How it is used: holdfast vm show --help",
        "vm run a b -- c|vm run: 'b' is one word too many: QEMU's own arguments come after --. How it is used: holdfast vm run --help",
        "vm run a --initrd x|vm run: --initrd says something about a kernel that is booted directly: give --kernel too, or neither. How it is used: holdfast vm run --help",
      })
  @Promise("command")
  void explainsMistakes(String line, String message) {
    String[] arguments = line.isEmpty() ? new String[0] : line.split(" ", -1);
    assertThat(run(arguments)).isEqualTo(Exit.USAGE);
    assertThat(err()).isEqualTo("holdfast: " + message + "\n");
    assertThat(out()).isEmpty();
    assertThat(calls).isEmpty();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      value = {
        "--memory 1.5G|'1.5G' is not a size",
        "--memory 99999999T|is more than 2^63-1 bytes",
        "--memory 0|is nothing",
        "--cpus 0|'0' is no number of CPUs",
        "--cpus two|'two' is no number of CPUs",
        "--accel xen|'xen' is not known: write kvm or tcg",
        "--disk a,ro|'ro' in 'a,ro' is not known",
        "--net bridge|'bridge' is no network",
        "--net user,hostfwd=udp::1-:1|only TCP",
        "--memory|Missing required parameter for option '--memory'",
        "--cpus 1 --cpus 2|should be specified only once",
      })
  @Promise("command")
  void refusesValuesThatMakeNoSense(String options, String message) {
    assertThat(run(("vm run a " + options).split(" ", -1))).isEqualTo(Exit.USAGE);
    assertThat(err()).contains(message);
    assertThat(calls).isEmpty();
  }

  // Updates.

  private static JsonObject progress(String state, String message, long elapsed) {
    return JsonObject.of(
        "progress",
        JsonObject.of(
            "id",
            "u7",
            "target",
            "web",
            "state",
            state,
            "participant",
            "vm:web",
            "message",
            message,
            "elapsed",
            elapsed));
  }

  private void updateEndsAs(JsonObject report) {
    handlers.put(
        "io.holdfast.Update.Vmm",
        call -> {
          call.progress(progress("PREPARING", "starting QEMU", 1_000_000));
          call.progress(progress("", "memory mapped", 800_000_000));
          call.progress(progress("FROZEN", "frozen", 1_209_340_000));
          call.reply(JsonObject.of("report", report));
        });
  }

  @Test
  void updatesAndShowsProgressAndPhases() {
    updateEndsAs(Samples.COMPLETED);
    assertThat(run("update", "vmm", "web", "--qemu", "/opt/qemu")).isEqualTo(Exit.OK);
    assertThat(calls)
        .containsExactly(
            JsonObject.of(
                "name", "web", "qemu", "/opt/qemu", "reversible", false, "dryRun", false));
    assertThat(out())
        .startsWith(
            """
                1.0 ms  PREPARING     vm:web: starting QEMU
              800.0 ms  PREPARING     vm:web: memory mapped
                1.21 s  FROZEN        vm:web: frozen
            Update u7 (vmm) of web, started 2026-11-23 10:40:00: completed
            """)
        .contains("brownout 1.20 s, blackout 9.6 ms (guest stopped");
    assertThat(err()).isEmpty();
  }

  @Test
  void rewritesItsLineOnATerminal() {
    terminal = true;
    updateEndsAs(Samples.COMPLETED);
    assertThat(run("update", "vmm", "web")).isEqualTo(Exit.OK);
    assertThat(out())
        .startsWith(
            "    1.0 ms  PREPARING     vm:web: starting QEMU"
                + "\r\u001b[K  800.0 ms  PREPARING     vm:web: memory mapped\n"
                + "    1.21 s  FROZEN        vm:web: frozen\nUpdate u7");
  }

  @Test
  @Promise("command")
  void printsOnlyTheReportForPrograms() {
    updateEndsAs(Samples.COMPLETED);
    assertThat(run("update", "vmm", "web", "--json")).isEqualTo(Exit.OK);
    assertThat(Json.parse(out())).isEqualTo(JsonObject.of("report", Samples.COMPLETED));
    assertThat(err()).isEmpty();
  }

  @Test
  void saysThatThePlanRefuses() {
    updateEndsAs(Samples.REFUSED);
    assertThat(run("update", "vmm", "web")).isEqualTo(Exit.REFUSED);
    assertThat(err())
        .isEqualTo(
            """
            holdfast: update vmm web: refused: 2 obstacles

            In the way:
              - vm:web: device nvme: QEMU marks it unmigratable
                what to do: use virtio-blk
              - vm:web: machine pc-q35-10.0: QEMU 7.2.13 lacks it
            """);
    assertThat(out()).endsWith("FROZEN        vm:web: frozen\n");
  }

  @Test
  void saysThatItWasCancelled() {
    updateEndsAs(Samples.CANCELLED);
    assertThat(run("update", "vmm", "web")).isEqualTo(Exit.FAILED);
    assertThat(err())
        .isEqualTo(
            "holdfast: update vmm web: cancelled: the user asked for it; web runs on as before\n");
  }

  @Test
  void printsThePlan() {
    handlers.put(
        "io.holdfast.Update.Vmm", call -> call.reply(JsonObject.of("report", Samples.PLAN)));
    assertThat(run("update", "vmm", "web", "--dry-run")).isEqualTo(Exit.OK);
    assertThat(calls.getFirst().bool("dryRun")).isTrue();
    assertThat(out()).startsWith("Plan to update the VMM of web: possible\n");
  }

  @Test
  @Promise("plan-refuses-first")
  void aPlanThatRefusesIsRefused() {
    handlers.put(
        "io.holdfast.Update.Vmm", call -> call.reply(JsonObject.of("report", Samples.REFUSED)));
    assertThat(run("update", "vmm", "web", "--dry-run")).isEqualTo(Exit.REFUSED);
    assertThat(out())
        .startsWith("Plan to update the VMM of web: refused, nothing would be changed\n");
  }

  // Several at once.

  private static JsonObject progress(String target, String state, String message) {
    return JsonObject.of(
        "progress",
        JsonObject.of(
            "id",
            "u-" + target,
            "target",
            target,
            "state",
            state,
            "participant",
            target,
            "message",
            message,
            "elapsed",
            1_000_000));
  }

  private void updatesEndAs(JsonObject... reports) {
    handlers.put(
        "io.holdfast.Update.Vmms",
        call -> {
          call.progress(JsonObject.of("batch", "b1"));
          call.progress(progress("web", "PREPARING", ""));
          call.progress(progress("database", "PREPARING", ""));
          call.progress(progress("web", "", "starting QEMU"));
          call.reply(JsonObject.of("reports", JsonArray.of((Object[]) reports)));
        });
  }

  private static JsonObject of(String target, JsonObject report) {
    return report.with("id", "u-" + target).with("target", target);
  }

  @Test
  @Promise("many-vms")
  void updatesSeveralAndShowsTheEndOfEach() {
    updatesEndAs(of("web", Samples.COMPLETED), of("database", Samples.COMPLETED));
    Exit exit = run("update", "vmm", "web", "database", "--parallel", "3", "--qemu", "/opt/qemu");
    assertThat(err()).isEmpty();
    assertThat(exit).isEqualTo(Exit.OK);
    assertThat(calls)
        .containsExactly(
            Json.parse(
                """
                {"names":["web","database"],"qemu":"/opt/qemu","parallel":3,"reversible":false,"dryRun":false}"""));
    assertThat(out())
        .isEqualTo(
            """
                1.0 ms  web       PREPARING
                1.0 ms  database  PREPARING
                1.0 ms  web       PREPARING     starting QEMU

            VM        OUTCOME    BROWNOUT ms  BLACKOUT ms  ID
            web       completed       1203.1          9.6  u-web
            database  completed       1203.1          9.6  u-database

            2 of 2 VMs done
            """);
  }

  @Test
  void updatesAll() {
    updatesEndAs(of("web", Samples.COMPLETED));
    assertThat(run("update", "vmm", "--all", "--reversible")).isEqualTo(Exit.OK);
    assertThat(calls).containsExactly(JsonObject.of("reversible", true, "dryRun", false));
    assertThat(out()).endsWith("1 of 1 VM done\n");
  }

  @Test
  @Promise("many-vms")
  void saysWhatBecameOfThoseThatFailed() {
    updatesEndAs(
        of("web", Samples.COMPLETED),
        of("database", Samples.REFUSED),
        of("mail", Samples.CANCELLED));
    assertThat(run("update", "vmm", "--all")).isEqualTo(Exit.FAILED);
    assertThat(out()).contains("refused").endsWith("1 of 3 VMs done\n");
    assertThat(err())
        .isEqualTo(
            """
            holdfast: update vmm database: refused: 2 obstacles

            In the way:
              - vm:web: device nvme: QEMU marks it unmigratable
                what to do: use virtio-blk
              - vm:web: machine pc-q35-10.0: QEMU 7.2.13 lacks it
            holdfast: update vmm mail: cancelled: the user asked for it; web runs on as before
            """);
  }

  @Test
  @Promise("many-vms")
  void severalOfWhichSomeWereOnlyRefusedAreRefused() {
    updatesEndAs(of("web", Samples.COMPLETED), of("database", Samples.REFUSED));
    assertThat(run("update", "vmm", "--all")).isEqualTo(Exit.REFUSED);
  }

  @Test
  @Promise("many-vms")
  void printsTheReportsOfSeveralForPrograms() {
    updatesEndAs(of("web", Samples.COMPLETED), of("database", Samples.REFUSED));
    assertThat(run("update", "vmm", "--all", "--json")).isEqualTo(Exit.REFUSED);
    assertThat(Json.parse(out()))
        .isEqualTo(
            JsonObject.of(
                "reports",
                JsonArray.of(of("web", Samples.COMPLETED), of("database", Samples.REFUSED))));
    assertThat(err()).isEmpty();
  }

  @Test
  @Promise("many-vms")
  void anInterruptCancelsAllOfThem() throws InterruptedException {
    CountDownLatch end = new CountDownLatch(1);
    handlers.put(
        "io.holdfast.Update.Vmms",
        call -> {
          call.progress(JsonObject.of("batch", "b1"));
          call.progress(progress("web", "PREPARING", ""));
          await(end);
          call.reply(JsonObject.of("reports", JsonArray.of(of("web", Samples.CANCELLED))));
        });
    handlers.put("io.holdfast.Update.Cancel", call -> call.reply(JsonObject.empty()));
    Thread interrupt = interruptSoon(end);
    assertThat(run("update", "vmm", "--all")).isEqualTo(Exit.FAILED);
    interrupt.join();
    assertThat(calls.getLast()).isEqualTo(JsonObject.of("id", "b1"));
    assertThat(out()).contains("The agent cancels updates b1; waiting for its end");
  }

  @Test
  @Promise("undone-before-commit")
  void anUpdateOfAnotherCommandIsCancelled() {
    handlers.put("io.holdfast.Update.Cancel", call -> call.reply(JsonObject.empty()));
    assertThat(run("update", "cancel", "u7")).isEqualTo(Exit.OK);
    assertThat(calls.getLast()).isEqualTo(JsonObject.of("id", "u7"));
    assertThat(out())
        .isEqualTo("The agent cancels update u7; `holdfast update show u7` shows how it ends\n");
    assertThat(run("update", "cancel")).isEqualTo(Exit.USAGE);
    handlers.put(
        "io.holdfast.Update.Cancel",
        _ -> {
          throw new VarlinkError(
              "io.holdfast.Update.NoSuchUpdate",
              JsonObject.of("id", "u9", "message", "no update u9 is under way"));
        });
    assertThat(run("update", "cancel", "u9")).isEqualTo(Exit.FAILED);
    assertThat(err()).contains("no update u9 is under way");
  }

  @Test
  void anUpdateThatCanNotBeginIsAFailure() {
    handlers.put(
        "io.holdfast.Update.Vmm",
        _ -> {
          throw new VarlinkError(
              "io.holdfast.Update.NotPossible",
              JsonObject.of("message", "web is stopped: start it first"));
        });
    assertThat(run("update", "vmm", "web")).isEqualTo(Exit.FAILED);
    assertThat(err()).isEqualTo("holdfast: update vmm web: web is stopped: start it first\n");
  }

  @Test
  void aReplyWithoutAReportIsAFailure() {
    handlers.put("io.holdfast.Update.Vmm", call -> call.reply(JsonObject.empty()));
    assertThat(run("update", "vmm", "web")).isEqualTo(Exit.FAILED);
    assertThat(err()).contains("ended its reply without a report").contains("holdfast update list");
  }

  /**
   * An update that goes on until it is cancelled or, where that is refused, until the interrupt is
   * dealt with.
   */
  private CountDownLatch updateWaits(JsonObject report) {
    CountDownLatch end = new CountDownLatch(1);
    handlers.put(
        "io.holdfast.Update.Vmm",
        call -> {
          call.progress(progress("PREPARING", "starting QEMU", 1_000_000));
          await(end);
          call.reply(JsonObject.of("report", report));
        });
    return end;
  }

  private static void await(CountDownLatch latch) {
    try {
      assertThat(latch.await(20, TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  /** Interrupts as soon as the command listens to it, as a key that is pressed a little later. */
  private Thread interruptSoon(CountDownLatch dealtWith) {
    return Thread.ofPlatform()
        .start(
            () -> {
              while (!interrupts.interrupt()) {
                Thread.onSpinWait();
              }
              dealtWith.countDown();
            });
  }

  @Test
  void anInterruptCancels() throws InterruptedException {
    CountDownLatch end = updateWaits(Samples.CANCELLED);
    handlers.put("io.holdfast.Update.Cancel", call -> call.reply(JsonObject.empty()));
    Thread interrupt = interruptSoon(end);
    assertThat(run("update", "vmm", "web")).isEqualTo(Exit.FAILED);
    interrupt.join();
    assertThat(calls.getLast()).isEqualTo(JsonObject.of("id", "u7"));
    // What the update itself says meanwhile may come in between.
    assertThat(out())
        .containsSubsequence(
            "Interrupted: asking the agent to cancel update u7\n",
            "The agent cancels update u7; waiting for its end\n",
            "Update u8 (vmm) of web, started 2026-11-23 10:41:00: cancelled\n");
    assertThat(err()).contains("update vmm web: cancelled: the user asked for it");
    assertThat(interrupts.interrupt()).as("afterwards nothing is left to cancel").isFalse();
  }

  @Test
  @Promise("undone-before-commit")
  void anInterruptAfterTheCommitIsRefusedAndTheUpdateEnds() throws InterruptedException {
    CountDownLatch end = updateWaits(Samples.COMPLETED);
    handlers.put(
        "io.holdfast.Update.Cancel",
        _ -> {
          throw new VarlinkError(
              "io.holdfast.Update.NotPossible",
              JsonObject.of("message", "u7 is committed and only goes forward"));
        });
    Thread interrupt = interruptSoon(end);
    assertThat(run("update", "vmm", "web")).isEqualTo(Exit.OK);
    interrupt.join();
    assertThat(out())
        .contains(
            "The agent does not cancel update u7: update vmm web: u7 is committed and only goes forward. Waiting for its end\n")
        .contains(": completed\n");
    assertThat(err()).isEmpty();
  }

  @Test
  void anInterruptKeepsTheOutputForProgramsClean() throws InterruptedException {
    CountDownLatch end = updateWaits(Samples.CANCELLED);
    handlers.put("io.holdfast.Update.Cancel", call -> call.reply(JsonObject.empty()));
    Thread interrupt = interruptSoon(end);
    assertThat(run("--json", "update", "vmm", "web")).isEqualTo(Exit.FAILED);
    interrupt.join();
    assertThat(Json.parse(out())).isEqualTo(JsonObject.of("report", Samples.CANCELLED));
    assertThat(err()).contains("asking the agent to cancel update u7");
  }

  /** The whole command as a process of its own, ended as Ctrl-C ends it. */
  @Test
  @Promise("undone-before-commit")
  void ctrlCInAProcessOfItsOwnCancelsAndWaitsForTheReport()
      throws IOException, InterruptedException {
    CountDownLatch end = updateWaits(Samples.CANCELLED);
    handlers.put(
        "io.holdfast.Update.Cancel",
        call -> {
          call.reply(JsonObject.empty());
          end.countDown();
        });
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                "io.holdfast.cli.Holdfast",
                "--socket",
                socket().toString(),
                "update",
                "vmm",
                "web")
            .redirectErrorStream(true)
            .start();
    try (BufferedReader lines = process.inputReader(UTF_8)) {
      assertThat(lines.readLine()).contains("PREPARING     vm:web: starting QEMU");
      // The key sends SIGINT; SIGTERM takes the same way.
      String signal = interruptsAreIgnored() ? "-TERM" : "-INT";
      assertThat(new ProcessBuilder("kill", signal, Long.toString(process.pid())).start().waitFor())
          .isZero();
      // The agent's answer to the cancelling and the report come on two connections, to two
      // threads.
      assertThat(lines.lines())
          .containsExactlyInAnyOrder(
              "Interrupted: asking the agent to cancel update u7",
              "The agent cancels update u7; waiting for its end",
              "Update u8 (vmm) of web, started " + localTime(1795430460000L) + ": cancelled",
              "holdfast: update vmm web: cancelled: the user asked for it; web runs on as before");
      assertThat(process.waitFor(20, TimeUnit.SECONDS)).isTrue();
      assertThat(process.exitValue()).isEqualTo(1);
    } finally {
      process.destroyForcibly();
    }
  }

  /** In what a shell started in the background SIGINT is ignored, and so in its children. */
  private static boolean interruptsAreIgnored() throws IOException {
    return Files.readAllLines(Path.of("/proc/self/status")).stream()
        .filter(line -> line.startsWith("SigIgn:"))
        .anyMatch(line -> (Long.parseUnsignedLong(line.substring(7).strip(), 16) & 2) != 0);
  }

  private static String localTime(long milliseconds) {
    return DateTimeFormatter.ofPattern("yyyy-MM-dd HH:mm:ss", Locale.ROOT)
        .format(Instant.ofEpochMilli(milliseconds).atZone(ZoneId.systemDefault()));
  }

  @Test
  @Promise("states")
  void printsTheStates() {
    assertThat(run("states")).isEqualTo(Exit.OK);
    assertThat(out()).isEqualTo(io.holdfast.core.state.StateTables.print());
  }

  // What waits after a kexec.

  private void rescued(String... states) {
    handlers.put(
        "io.holdfast.Agent.Status",
        call ->
            call.reply(
                JsonObject.of(
                    "version", "1",
                    "pid", 812,
                    "uptime", 1,
                    "runDirectory", directory.toString(),
                    "keeper", "process 813",
                    "heldDescriptors", 1,
                    "vms", 1,
                    "recovering", 0,
                    "updates", 0,
                    "recovered", List.of(),
                    "refusedConnections", 0)));
    List<JsonObject> vms = new ArrayList<>();
    for (String state : states) {
      vms.add(
          Samples.RUNNING
              .with("name", state)
              .with("state", state)
              .with("reason", "the reason of " + state));
    }
    handlers.put("io.holdfast.Vm.List", call -> call.reply(JsonObject.of("vms", vms)));
  }

  @Test
  @Promise("kernel-arrival")
  void nothingWaitsWhereAnAgentHasAllVms() {
    rescued("running", "paused");
    assertThat(run("rescue", "--run", directory.toString())).isEqualTo(Exit.OK);
    assertThat(out())
        .startsWith("Nothing waits: an agent has all VMs.\n")
        .contains("running   1 GiB  the agent, process 812, has it: running");
    assertThat(err()).isEmpty();
  }

  @Test
  @Promise("kernel-arrival")
  void aVmThatTheAgentCannotBringBackWaits() {
    rescued("running", "stuck");
    assertThat(run("rescue", "--run", directory.toString(), "--json")).isEqualTo(Exit.REFUSED);
    JsonObject found = Json.parse(out());
    assertThat(found.bool("waits")).isTrue();
    assertThat(found.array("boxes").objects().getLast().string("where"))
        .endsWith("has it: stuck: the reason of stuck");
    assertThat(found.array("steps").strings())
        .anyMatch(step -> step.contains("holdfast update retry"));
  }

  @Test
  @Promise("kernel-arrival")
  void rescueNeedsNoAgentAndMakesNoRunDirectory() {
    Path missing = directory.resolve("missing");
    Exit exit = run(missing.resolve("agent.sock"), "rescue", "--run", missing.toString(), "--json");
    assertThat(exit).isIn(Exit.OK, Exit.REFUSED);
    JsonObject found = Json.parse(out());
    assertThat(found.string("runDirectory")).isEqualTo(missing.toString());
    assertThat(found.has("agent")).isFalse();
    assertThat(missing).doesNotExist();
    assertThat(err()).isEmpty();
  }

  @Test
  void rescueRefusesARootThatIsNoDirectory() {
    assertThat(run("rescue", "--run", directory.toString(), "--root", "/nowhere"))
        .isEqualTo(Exit.USAGE);
    assertThat(err()).contains("--root /nowhere is not a directory", "mount the root file system");
  }
}
