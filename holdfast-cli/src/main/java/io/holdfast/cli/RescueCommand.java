package io.holdfast.cli;

import io.holdfast.agent.AgentPaths;
import io.holdfast.agent.rescue.Rescue;
import io.holdfast.agent.rescue.RescueSurvey;
import io.holdfast.cli.Answers.AgentStatus;
import io.holdfast.cli.Answers.Vm;
import io.holdfast.linux.Linux;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/**
 * {@code holdfast rescue}: what waits after a kexec, where it is, and what to do. It needs no agent
 * and changes nothing.
 */
final class RescueCommand {
  /** An agent answers in milliseconds, and in two seconds where a QEMU does not. */
  private static final long PATIENCE_SECONDS = 10;

  private RescueCommand() {}

  static CommandSpec rescue() {
    CommandSpec spec =
        CommandLineInterface.command(
                "rescue",
                "Shows what waits for an agent after a kexec, and what to do. It needs no agent and changes nothing.",
                RescueCommand::run)
            .addOption(
                OptionSpec.builder("--run")
                    .type(String.class)
                    .paramLabel("DIR")
                    .description(
                        "The agent's run directory; else HOLDFAST_RUN, else /run/holdfast or the user's own.")
                    .build())
            .addOption(
                OptionSpec.builder("--root")
                    .type(String.class)
                    .paramLabel("DIR")
                    .description(
                        "Another root file system, mounted here, on which the VMs are to run: their QEMUs and images are"
                            + " searched for below it.")
                    .build());
    spec.usageMessage()
        .footer(
            "%nExits 0 if nothing waits or an agent has all of it, 3 if something waits or may wait, 1 if nothing waits"
                + " and something is lost.");
    return spec;
  }

  private static Exit run(Invocation invocation) {
    Path run =
        invocation
            .option("--run", String.class)
            .map(directory -> Path.of(invocation.shell().absolute(directory)))
            .orElseGet(AgentPaths::defaultRun);
    boolean elsewhere =
        invocation.option("--run", String.class).isPresent()
            && invocation.option("--socket", String.class).isEmpty();
    Path socket = elsewhere ? AgentPaths.defaultSocket(run) : invocation.socket();
    Path root =
        invocation
            .option("--root", String.class)
            .map(directory -> Path.of(invocation.shell().absolute(directory)).normalize())
            .orElse(Path.of("/"));
    if (!Files.isDirectory(root)) {
      throw new Failure(
          Exit.USAGE,
          "io.holdfast.cli.Usage",
          "--root " + root + " is not a directory; mount the root file system there first");
    }
    Rescue found =
        RescueSurvey.read(
            Linux.system(), new AgentPaths(run, socket), root, agent(invocation, socket));
    invocation.print(RescueRender.json(found), () -> RescueRender.text(found));
    return exit(found);
  }

  static Exit exit(Rescue found) {
    if (found.waits()) {
      return Exit.REFUSED;
    }
    return found.lost() ? Exit.FAILED : Exit.OK;
  }

  /** The agent that listens; one that does not answer in time is one all the same. */
  private static Optional<Rescue.Agent> agent(Invocation invocation, Path socket) {
    Link link;
    try {
      link = VarlinkLink.connect(socket, invocation.trying());
    } catch (Failure failure) {
      return Optional.empty();
    }
    CompletableFuture<Rescue.Agent> answer = new CompletableFuture<>();
    Thread.ofPlatform()
        .daemon()
        .name("asks the agent")
        .start(
            () -> {
              try {
                answer.complete(ask(invocation, link));
              } catch (RuntimeException e) {
                answer.completeExceptionally(e);
              }
            });
    try (link) {
      return Optional.of(answer.get(PATIENCE_SECONDS, TimeUnit.SECONDS));
    } catch (TimeoutException | ExecutionException e) {
      return Optional.of(new Rescue.Agent(OptionalInt.empty(), Optional.empty()));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return Optional.of(new Rescue.Agent(OptionalInt.empty(), Optional.empty()));
    }
  }

  private static Rescue.Agent ask(Invocation invocation, Link link) {
    AgentStatus status =
        invocation.read(link.call("io.holdfast.Agent.Status", JsonObject.empty()), AgentStatus::of);
    List<Vm> vms =
        invocation.read(
            link.call("io.holdfast.Vm.List", JsonObject.empty()),
            json -> Answers.each(json, "vms", Vm::of));
    return new Rescue.Agent(
        OptionalInt.of(Math.toIntExact(status.pid())),
        Optional.of(vms.stream().map(RescueCommand::seen).toList()));
  }

  private static Rescue.Seen seen(Vm vm) {
    return new Rescue.Seen(
        vm.name(),
        vm.memory() == 0 ? OptionalLong.empty() : OptionalLong.of(vm.memory()),
        vm.state(),
        vm.reason());
  }
}
