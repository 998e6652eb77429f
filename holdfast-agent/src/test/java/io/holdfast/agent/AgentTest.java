package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** An agent in this process, with a run directory of its own. */
@Promise("unknown-is-not-absent")
class AgentTest {
  @TempDir private Path directory;

  private final Linux linux = Linux.system();

  private Agent agent(Path socket) throws IOException {
    return new Agent(linux, new AgentPaths(directory.resolve("run"), socket));
  }

  @Test
  void aFileWhereItsSocketShallBeStays() throws IOException {
    Path file = Files.writeString(directory.resolve("precious"), "data");
    assertThatThrownBy(() -> agent(file).close())
        .isInstanceOf(IOException.class)
        .hasMessageContaining("is no socket")
        .hasMessageContaining("--socket");
    assertThat(file).hasContent("data");
  }

  @Test
  void whatALinkNamesWhereItsSocketShallBeStays() throws IOException {
    Path file = Files.writeString(directory.resolve("precious"), "data");
    Path link = Files.createSymbolicLink(directory.resolve("link"), file);
    assertThatThrownBy(() -> agent(link).close()).hasMessageContaining("is no socket");
    assertThat(link).isSymbolicLink().hasContent("data");
  }

  @Test
  void aSocketThatIsLeftOverIsReplaced() throws IOException {
    Path socket = directory.resolve("agent.sock");
    linux.listen(socket, 1).close();
    assertThat(socket).exists();
    try (Agent _ = agent(socket);
        VarlinkClient client = VarlinkClient.connect(linux, socket)) {
      assertThat(reports(client)).isEmpty();
    }
  }

  @Test
  @Promise("unknown-is-not-absent")
  void aReportThatCanNotBeReadIsShownAsUnknownAmongTheOthers() throws IOException {
    Path updates = Files.createDirectories(directory.resolve("run/updates"));
    String good =
        """
        {"id": "1-good-1", "kind": "vmm", "target": "web", "outcome": "completed", "message": "",
         "started": 1, "brownout": 2, "blackout": 3, "obstacles": [], "losses": [], "spans": []}
        """;
    Files.writeString(updates.resolve("1-good-1.json"), good);
    Files.writeString(updates.resolve("2-torn-1.json"), good.substring(0, 60));
    Files.writeString(updates.resolve("3-empty-1.json"), "");
    Files.writeString(updates.resolve("4-other-1.json"), "{\"id\": 4}");
    Files.createDirectory(updates.resolve("5-directory-1.json"));
    Path socket = directory.resolve("agent.sock");
    try (Agent _ = agent(socket);
        VarlinkClient client = VarlinkClient.connect(linux, socket)) {
      List<JsonObject> all = reports(client);
      assertThat(all)
          .extracting(report -> report.string("id") + " " + report.string("outcome"))
          .containsExactly(
              "1-good-1 completed",
              "2-torn-1 unknown",
              "3-empty-1 unknown",
              "4-other-1 unknown",
              "5-directory-1 unknown");
      assertThat(all.get(1).string("message")).contains("2-torn-1.json", "can't be read");
      JsonObject shown =
          client.call("io.holdfast.Update.Show", JsonObject.of("id", "1-good-1")).object("report");
      assertThat(shown.number("blackout")).isEqualTo(3);
    }
  }

  private static List<JsonObject> reports(VarlinkClient client) {
    return client.call("io.holdfast.Update.List", JsonObject.empty()).array("reports").objects();
  }
}
