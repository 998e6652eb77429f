package io.holdfast.testbed;

import io.holdfast.agent.Agent;
import io.holdfast.agent.AgentPaths;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Mapping;
import io.holdfast.linux.Protection;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * The run from which the AOT cache of {@link InsideJava} is made, outside: it uses once what
 * scenarios use.
 */
final class InsideTraining {
  private static final long PAGE = 4096;

  private InsideTraining() {}

  /** Leaves nothing behind. */
  public static void main(String[] arguments) throws IOException {
    Scenarios.named()
        .forEach(scenario -> say(new Report.Note(scenario.name() + scenario.setup().words())));
    say(new Report.Checked(new Result.Check(true, "it is checked", Optional.of("1"))));
    say(new Report.Boot(0, "7.3.4"));
    Linux linux = Linux.system();
    Path run = Files.createTempDirectory("holdfast-training");
    try {
      try (Agent _ = new Agent(linux, new AgentPaths(run, AgentPaths.defaultSocket(run)));
          VarlinkClient client = VarlinkClient.connect(linux, AgentPaths.defaultSocket(run));
          Fd memfd = linux.memfd("entry", PAGE);
          Mapping _ = linux.map(memfd, 0, PAGE, Protection.READ, Protection.WRITE)) {
        JsonObject entry = JsonObject.of("box", "box", "label", "entry");
        client.call("io.holdfast.Box.Put", entry.with("descriptor", 0), List.of(memfd)).close();
        System.out.println(client.call("io.holdfast.Box.List", JsonObject.empty()));
        try (Reply reply = client.call("io.holdfast.Box.Get", entry, List.of());
            Fd _ = reply.descriptors().take(0)) {
          System.out.println(client.call("io.holdfast.Vm.List", JsonObject.empty()));
        }
      }
    } finally {
      Testbed.remove(run);
    }
  }

  private static void say(Report report) {
    System.out.println(Report.parse(report.line()));
  }
}
