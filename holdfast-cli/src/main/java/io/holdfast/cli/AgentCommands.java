package io.holdfast.cli;

import io.holdfast.cli.Answers.AgentStatus;
import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/** {@code holdfast agent} and {@code holdfast status}. */
final class AgentCommands {
  private AgentCommands() {}

  static CommandSpec agent() {
    CommandSpec spec =
        CommandLineInterface.command(
            "agent",
            "Runs the agent, which holds the VMs' memory, until it is stopped.",
            AgentCommands::agent);
    return spec.addOption(
        OptionSpec.builder("--run")
            .type(String.class)
            .paramLabel("DIR")
            .description(
                "Its run directory; else HOLDFAST_RUN, else /run/holdfast or the user's own.")
            .build());
  }

  static CommandSpec status() {
    return CommandLineInterface.command(
        "status",
        "Shows the agent and what it holds.",
        invocation -> {
          JsonObject reply = invocation.call("io.holdfast.Agent.Status", JsonObject.empty());
          invocation.print(reply, () -> Render.status(invocation.read(reply, AgentStatus::of)));
          return Exit.OK;
        });
  }

  private static Exit agent(Invocation invocation) {
    List<String> arguments = new ArrayList<>();
    for (String option : List.of("--socket", "--run")) {
      invocation
          .option(option, String.class)
          .ifPresent(path -> arguments.addAll(List.of(option, invocation.shell().absolute(path))));
    }
    invocation.shell().agent().accept(arguments);
    return Exit.OK;
  }
}
