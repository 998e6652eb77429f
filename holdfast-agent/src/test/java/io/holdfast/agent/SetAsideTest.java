package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.kexec.depart.Departure;
import io.holdfast.linux.Errno;
import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.store.ProcessStore;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.VarlinkException;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** An agent after a kexec from which one VM or box cannot be restored. */
@Promise("kernel-arrival")
class SetAsideTest {
  @TempDir private Path directory;
  private final FakeSessions kernel = new FakeSessions();
  private final Linux linux = new Linux(kernel);
  private Path run;
  private Path socket;

  @BeforeEach
  void arrive() throws IOException {
    run = directory.resolve("run");
    socket = run.resolve("agent.sock");
    // Whom the agent serves.
    kernel.user(Linux.system().effectiveUser());
    new AgentPaths(run, socket).create();
    Map<String, Map<String, String>> boxes = new LinkedHashMap<>();
    boxes.put("web", Map.of("ram", "memory", "record", record()));
    boxes.put("@box/cache", Map.of("index", "the index"));
    boxes.put("@box/other", Map.of("index", "another index"));
    kernel.arrive(boxes, List.of("web", Departure.NAME));
    ProcessStore store = ProcessStore.open(Linux.system(), run.resolve("keeper"));
    kernel.keep(store);
    store.close();
  }

  @AfterEach
  void end() throws IOException {
    ProcessStore.open(Linux.system(), run.resolve("keeper")).end();
  }

  private static String record() {
    JsonObject spec =
        JsonObject.of(
            "name", "web",
            "memory", 4096,
            "cpus", 1,
            "machine", "q35",
            "cpu", "max",
            "accelerator", "tcg",
            "acceleratorReason", "",
            "devices", List.of(),
            "arguments", List.of());
    JsonObject binary =
        JsonObject.of(
            "path",
            "/nowhere/qemu",
            "version",
            "1",
            "package",
            "",
            "machines",
            List.of(),
            "aliases",
            JsonObject.empty(),
            "capabilities",
            List.of());
    return JsonObject.of("promise", spec, "generation", 1, "binary", binary, "process", "0@0")
        .pretty();
  }

  /** One that has taken up the update: what is given up before needs no retry. */
  private Agent agent() throws IOException {
    Agent agent = new Agent(linux, new AgentPaths(run, socket));
    var _ = agent.recovered();
    return agent;
  }

  private static JsonObject call(VarlinkClient client, String method, JsonObject parameters) {
    return client.call("io.holdfast." + method, parameters);
  }

  private static List<JsonObject> vms(VarlinkClient client) {
    return call(client, "Vm.List", JsonObject.empty()).array("vms").objects();
  }

  private static List<String> retry(VarlinkClient client) {
    return call(client, "Update.Retry", JsonObject.empty()).array("reports").objects().stream()
        .map(report -> report.string("outcome"))
        .toList();
  }

  private static void assertUnknown(VarlinkClient client) {
    assertThat(vms(client)).hasSize(1);
    JsonObject web = vms(client).getFirst();
    assertThat(web.string("state")).as("%s", web).isEqualTo("unknown");
    assertThat(web.string("reason")).contains("EIO", "holdfast update retry", "vm stop web");
  }

  @Test
  void aVmThatCannotBeRestoredIsUnknownUntilARetryBringsIt() throws IOException {
    kernel.refuse("holdfast/web 2", Errno.EIO);
    try (Agent agent = agent();
        VarlinkClient client = VarlinkClient.connect(linux, socket)) {
      assertThat(agent.recovered()).anyMatch(line -> line.contains("EIO"));
      assertUnknown(client);
      assertThat(call(client, "Box.List", JsonObject.empty()).array("boxes").objects())
          .as("the others are there")
          .hasSize(2);
      JsonObject web = JsonObject.of("name", "web", "qmp", "/nowhere", "dryRun", true);
      assertThatThrownBy(() -> call(client, "Vm.Adopt", web))
          .as("its name is taken")
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("VM web is unknown");
      assertThat(retry(client)).containsExactly("stuck");
      assertUnknown(client);
      kernel.allow();
      assertThat(retry(client)).containsExactly("stuck");
      JsonObject back = vms(client).getFirst();
      assertThat(back.string("state")).as("no QEMU runs here: %s", back).isEqualTo("stuck");
      assertThat(back.string("reason")).contains("came from the previous kernel");
    }
    assertThat(kernel.finished()).isEmpty();
  }

  @Test
  void theNextAgentTriesAgain() throws IOException {
    kernel.refuse("holdfast/web 1", Errno.EIO);
    for (int i = 0; i < 2; i++) {
      try (Agent _ = agent();
          VarlinkClient client = VarlinkClient.connect(linux, socket)) {
        assertUnknown(client);
      }
    }
    kernel.allow();
    try (Agent _ = agent();
        VarlinkClient client = VarlinkClient.connect(linux, socket)) {
      assertThat(vms(client).getFirst().string("state")).isEqualTo("stuck");
    }
    assertThat(kernel.finished()).isEmpty();
  }

  @Test
  void aVmThatCannotBeRestoredCanBeGivenUp() throws IOException {
    kernel.refuse("holdfast/web 2", Errno.EIO);
    try (Agent _ = agent();
        VarlinkClient client = VarlinkClient.connect(linux, socket)) {
      assertUnknown(client);
      var _ = call(client, "Vm.Stop", JsonObject.of("name", "web"));
      assertThat(vms(client)).isEmpty();
      assertThat(run.resolve("vms/web")).doesNotExist();
      assertThat(retry(client)).containsExactly("completed");
    }
    assertThat(kernel.finished()).hasSize(4).endsWith("holdfast");
    try (var files = Files.list(run.resolve("updates"))) {
      assertThat(files.map(Path::toString))
          .noneMatch(name -> name.endsWith(FakeSessions.UPDATE + ".journal"));
    }
  }

  @Test
  void aBoxThatCannotBeRestoredIsUnknownNotAbsent() throws IOException {
    kernel.refuse("holdfast/@box/cache 1", Errno.EIO);
    try (Agent _ = agent();
        VarlinkClient client = VarlinkClient.connect(linux, socket)) {
      assertThatThrownBy(
              () -> call(client, "Box.Get", JsonObject.of("box", "cache", "label", "index")))
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("box cache is unknown")
          .hasMessageContaining("EIO");
      assertThat(unknown(client)).containsExactly("cache");
      kernel.allow();
      assertThat(retry(client)).as("web has no QEMU here").containsExactly("stuck");
      assertThat(call(client, "Box.List", JsonObject.empty()).array("boxes").objects()).hasSize(2);
      assertThat(unknown(client)).isEmpty();
    }
  }

  private static List<String> unknown(VarlinkClient client) {
    return call(client, "Box.List", JsonObject.empty()).array("boxes").objects().stream()
        .filter(box -> box.optionalString("unknown").isPresent())
        .map(box -> box.string("name"))
        .toList();
  }

  @Test
  void aBoxThatCannotBeRestoredCanBeGivenUp() throws IOException {
    kernel.refuse("holdfast/@box/cache 1", Errno.EIO);
    try (Agent _ = agent();
        VarlinkClient client = VarlinkClient.connect(linux, socket)) {
      assertThat(unknown(client)).containsExactly("cache");
      assertThatThrownBy(() -> call(client, "Box.GiveUp", JsonObject.of("box", "other")))
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("box other is not unknown");
      var _ = call(client, "Box.GiveUp", JsonObject.of("box", "cache"));
      assertThat(unknown(client)).isEmpty();
      assertThatThrownBy(
              () -> call(client, "Box.Get", JsonObject.of("box", "cache", "label", "index")))
          .isInstanceOf(VarlinkException.class)
          .hasMessageContaining("has no entry index");
      var _ = call(client, "Vm.Stop", JsonObject.of("name", "web"));
      assertThat(retry(client)).containsExactly("completed");
    }
    assertThat(kernel.finished()).hasSize(4).endsWith("holdfast");
  }
}
