package io.holdfast.cli;

import io.holdfast.cli.Answers.Progress;
import io.holdfast.cli.Answers.Report;
import io.holdfast.varlink.json.JsonObject;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.PositionalParamSpec;

/** {@code holdfast update …}. */
final class UpdateCommands {
  /** How long an interrupt waits to learn the id of an update that has only just been asked for. */
  private static final long ID_SECONDS = 10;

  private UpdateCommands() {}

  static CommandSpec group() {
    CommandSpec group =
        CommandLineInterface.group("update", "Replaces what runs a workload; shows past updates.");
    group.addSubcommand("vmm", vmm());
    group.addSubcommand("list", list());
    group.addSubcommand("show", show());
    return group;
  }

  private static CommandSpec list() {
    return CommandLineInterface.command(
        "list",
        "Lists the updates that the agent knows of.",
        invocation -> {
          JsonObject reply = invocation.call("io.holdfast.Update.List", JsonObject.empty());
          invocation.print(
              reply,
              () ->
                  Render.reports(
                      invocation.read(reply, json -> Answers.each(json, "reports", Report::of)),
                      invocation.shell().zone()));
          return Exit.OK;
        });
  }

  private static CommandSpec show() {
    return CommandLineInterface.command(
            "show",
            "Shows an update and its phases.",
            invocation -> {
              JsonObject reply =
                  invocation.call(
                      "io.holdfast.Update.Show", JsonObject.of("id", invocation.argument()));
              invocation.print(
                  reply, () -> Render.report(report(invocation, reply), invocation.shell().zone()));
              return Exit.OK;
            })
        .addPositional(
            PositionalParamSpec.builder()
                .index("0")
                .type(String.class)
                .paramLabel("ID")
                .required(true)
                .description("The update's id, from holdfast update list.")
                .build());
  }

  private static CommandSpec vmm() {
    CommandSpec spec =
        CommandLineInterface.command(
            "vmm",
            "Replaces the QEMU of a running VM; the guest pauses for milliseconds.",
            UpdateCommands::vmm);
    spec.usageMessage()
        .footer(
            "%nCtrl-C asks the agent to cancel; until the update is committed the guest stays on its old QEMU.");
    return spec.addPositional(VmCommands.name())
        .addOption(
            VmCommands.qemu(
                "The QEMU to go to: a path, or a name to look for in PATH; if not given, the one it runs now."))
        .addOption(
            OptionSpec.builder("--dry-run")
                .type(boolean.class)
                .description("Print the plan; change nothing.")
                .build());
  }

  private static Exit vmm(Invocation invocation) {
    boolean dryRun = invocation.flag("--dry-run");
    JsonObject parameters =
        JsonObject.of(
            "name",
            invocation.argument(),
            "qemu",
            invocation.option("--qemu", String.class).map(invocation.shell()::program),
            "dryRun",
            dryRun);
    JsonObject reply = new Running(invocation).follow(parameters);
    Report report = report(invocation, reply);
    Exit exit = exit(report.outcome());
    if (dryRun || exit == Exit.OK || invocation.json()) {
      invocation.print(
          reply,
          () -> dryRun ? Render.plan(report) : Render.report(report, invocation.shell().zone()));
      return exit;
    }
    Shell shell = invocation.shell();
    if (exit == Exit.FAILED) {
      // What it came to is the error; how far it got is what was asked for.
      shell.out().print(Render.report(report.withoutMessage(), shell.zone()));
      shell.out().flush();
    }
    shell
        .err()
        .println(
            "holdfast: "
                + Table.clean(
                    invocation.trying() + ": " + report.outcome() + ": " + report.message()));
    if (exit == Exit.REFUSED) {
      shell.err().print(Render.obstacles(report.obstacles()));
    }
    return exit;
  }

  private static Exit exit(String outcome) {
    return switch (outcome) {
      case "completed", "recovered", "planned" -> Exit.OK;
      case "refused" -> Exit.REFUSED;
      default -> Exit.FAILED;
    };
  }

  private static Report report(Invocation invocation, JsonObject reply) {
    return invocation.read(reply, json -> Report.of(json.object("report")));
  }

  /** An update that is being watched, and may be interrupted. */
  private static final class Running {
    private final Invocation invocation;
    private final ProgressLines lines;
    private final CompletableFuture<String> id = new CompletableFuture<>();

    Running(Invocation invocation) {
      this.invocation = invocation;
      Shell shell = invocation.shell();
      this.lines =
          invocation.json()
              ? new ProgressLines(shell.err(), false, shell.width())
              : new ProgressLines(shell.out(), shell.terminal(), shell.width());
    }

    /** Has the update run, showing its progress, and returns the reply that carries the report. */
    JsonObject follow(JsonObject parameters) {
      AtomicReference<Optional<JsonObject>> last = new AtomicReference<>(Optional.empty());
      try (Link link = invocation.connect();
          Interrupts.Scope _ = invocation.interrupts().handle(this::cancel)) {
        link.stream(
            "io.holdfast.Update.Vmm",
            parameters,
            reply -> {
              if (reply.optionalObject("report").isPresent()) {
                last.set(Optional.of(reply));
              }
              invocation
                  .read(reply, json -> json.optionalObject("progress").map(Progress::of))
                  .ifPresent(this::show);
            });
      } finally {
        id.completeExceptionally(new IllegalStateException("the update has ended"));
        lines.end();
      }
      return last.get()
          .orElseThrow(
              () ->
                  new Failure(
                      Exit.FAILED,
                      "io.holdfast.cli.BadReply",
                      invocation.trying()
                          + ": the agent ended its reply without a report. See what became of it:"
                          + " holdfast update list"));
    }

    private void show(Progress progress) {
      id.complete(progress.id());
      if (!invocation.json()) {
        lines.show(progress);
      }
    }

    /**
     * Runs on the interrupt's thread while {@link #follow} goes on: the report says what became of
     * the update.
     */
    private void cancel() {
      String update;
      try {
        update = id.get(ID_SECONDS, TimeUnit.SECONDS);
      } catch (ExecutionException e) {
        return;
      } catch (TimeoutException e) {
        lines.say(
            "Interrupted, but the agent has not begun the update yet: nothing to cancel. Waiting for its answer");
        return;
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        return;
      }
      lines.say("Interrupted: asking the agent to cancel update " + update);
      try {
        JsonObject unusedReply =
            invocation.call("io.holdfast.Update.Cancel", JsonObject.of("id", update));
        lines.say("The agent cancels update " + update + "; waiting for its end");
      } catch (Failure failure) {
        lines.say(
            "Update " + update + " is not cancelled: " + failure.text() + ". Waiting for its end");
      }
    }
  }
}
