package io.holdfast.cli;

import io.holdfast.cli.Answers.Progress;
import io.holdfast.cli.Answers.Report;
import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Model.PositionalParamSpec;

/** {@code holdfast update …}. */
final class UpdateCommands {
  /** How long an interrupt waits to learn the id of an update that has only just been asked for. */
  private static final long ID_SECONDS = 10;

  /** For the names of all VMs, which are known only when they come. */
  private static final int NAME_COLUMNS = 12;

  private UpdateCommands() {}

  static CommandSpec group() {
    CommandSpec group =
        CommandLineInterface.group("update", "Replaces what runs a workload; shows past updates.");
    group.addSubcommand("vmm", vmm());
    group.addSubcommand("kernel", kernel());
    group.addSubcommand("cancel", cancel());
    group.addSubcommand("retry", retry());
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
        .addPositional(id("The update's id, from holdfast update list."));
  }

  private static PositionalParamSpec id(String description) {
    return PositionalParamSpec.builder()
        .index("0")
        .type(String.class)
        .paramLabel("ID")
        .required(true)
        .description(description)
        .build();
  }

  private static CommandSpec cancel() {
    return CommandLineInterface.command(
            "cancel",
            "Cancels an update that is under way, as Ctrl-C in its own command does: until its"
                + " commit everything is undone.",
            invocation -> {
              String update = invocation.argument();
              JsonObject reply =
                  invocation.call("io.holdfast.Update.Cancel", JsonObject.of("id", update));
              String name = Table.clean(update);
              invocation.print(
                  reply,
                  () ->
                      "The agent cancels update "
                          + name
                          + "; `holdfast update show "
                          + name
                          + "` shows how it ends\n");
              return Exit.OK;
            })
        .addPositional(
            id("The update's id, which holdfast vm list shows of a VM that is being updated."));
  }

  private static CommandSpec vmm() {
    CommandSpec spec =
        CommandLineInterface.command(
            "vmm",
            "Replaces the QEMU of running VMs; each guest pauses for milliseconds.",
            UpdateCommands::vmm);
    spec.usageMessage()
        .customSynopsis(
            "holdfast update vmm [OPTIONS] NAME…", "holdfast update vmm [OPTIONS] --all")
        .footer(
            "%nOf several VMs each is an update of its own, and one that fails does not stop the others: 0 if all"
                + " completed, 3 if all that did not were refused.%n"
                + "%nCtrl-C asks the agent to cancel; until its update is committed a guest stays on its old QEMU.");
    return spec.addPositional(
            PositionalParamSpec.builder()
                .index("0..*")
                .arity("0..*")
                .type(List.class)
                .auxiliaryTypes(String.class)
                .paramLabel("NAME")
                .description("The VMs' names.")
                .build())
        .addOption(
            OptionSpec.builder("--all").type(boolean.class).description("Update all VMs.").build())
        .addOption(
            VmCommands.qemu(
                "The QEMU to go to: a path, or a name to look for in PATH; if not given, the one each runs now."))
        .addOption(
            OptionSpec.builder("--clock")
                .type(String.class)
                .paramLabel("correct|lag")
                .converters(text -> VmCommands.converted(() -> clock(text)))
                .description(
                    "Whether the guest agent sets the guest's wall clock after the blackout; correct if not given.")
                .build())
        .addOption(
            OptionSpec.builder("--reversible")
                .type(boolean.class)
                .description(
                    "Refuse the update unless a machine like the VM's also crosses back to the QEMU of today.")
                .build())
        .addOption(
            OptionSpec.builder("--parallel")
                .type(Long.class)
                .paramLabel("N")
                .converters(text -> VmCommands.converted(() -> parallel(text)))
                .description(
                    "So many VMs at once; if not given, as many as the host has processors. One guest at a time"
                        + " stands still.")
                .build())
        .addOption(
            OptionSpec.builder("--dry-run")
                .type(boolean.class)
                .description("Print the plan; change nothing.")
                .build());
  }

  private static CommandSpec kernel() {
    CommandSpec spec =
        CommandLineInterface.command(
            "kernel",
            "Replaces the host's kernel by kexec; VMs and boxes stay in memory.",
            UpdateCommands::kernel);
    spec.usageMessage()
        .footer(
            "%nEverything else on the host is stopped, this command too; what became of it shows `holdfast update"
                + " list` in the new kernel. Until then Ctrl-C asks the agent to cancel.");
    return spec.addOption(
            OptionSpec.builder("--kernel")
                .type(String.class)
                .paramLabel("IMAGE")
                .required(true)
                .description("The kernel to go to: a bzImage.")
                .build())
        .addOption(
            OptionSpec.builder("--initrd")
                .type(String.class)
                .paramLabel("FILE")
                .description("Its initial RAM disk.")
                .build())
        .addOption(
            OptionSpec.builder("--append")
                .type(String.class)
                .paramLabel("ARGS")
                .description("Its command line, the whole of it.")
                .build())
        .addOption(
            OptionSpec.builder("--from")
                .type(String.class)
                .paramLabel("IMAGE")
                .description("The running kernel's image, where it is not among those in /boot.")
                .build())
        .addOption(
            OptionSpec.builder("--session")
                .type(List.class)
                .auxiliaryTypes(String.class)
                .arity("1")
                .paramLabel("NAME")
                .description(
                    "A live update session of another program, which is to go along; may be given more than once.")
                .build())
        .addOption(
            OptionSpec.builder("--reuse-cmdline")
                .type(boolean.class)
                .description("The running kernel's command line; so it is, too, without --append.")
                .build())
        .addOption(
            OptionSpec.builder("--clock")
                .type(String.class)
                .paramLabel("correct|lag")
                .converters(text -> VmCommands.converted(() -> clock(text)))
                .description(
                    "Whether guest agents set the guests' wall clocks after the blackout; correct if not given.")
                .build())
        .addOption(
            OptionSpec.builder("--dry-run")
                .type(boolean.class)
                .description("Print the plan; change nothing.")
                .build());
  }

  private static Exit kernel(Invocation invocation) {
    Optional<String> append = invocation.option("--append", String.class);
    if (append.isPresent() && invocation.flag("--reuse-cmdline")) {
      throw CommandLineInterface.usage(
          invocation.own().commandSpec(), "give --append or --reuse-cmdline, not both");
    }
    Shell shell = invocation.shell();
    JsonObject parameters =
        JsonObject.of(
            "kernel",
            shell.absolute(invocation.option("--kernel", String.class).orElseThrow()),
            "initrd",
            invocation.option("--initrd", String.class).map(shell::absolute),
            "commandLine",
            append,
            "from",
            invocation.option("--from", String.class).map(shell::absolute),
            "sessions",
            JsonArray.of(invocation.<String>options("--session").toArray()),
            "clock",
            clock(invocation),
            "dryRun",
            invocation.flag("--dry-run"));
    return follow(invocation, "io.holdfast.Update.Kernel", parameters);
  }

  private static CommandSpec retry() {
    return CommandLineInterface.command(
        "retry",
        "Tries again to bring back VMs that did not come over an update of the kernel.",
        invocation -> {
          JsonObject reply = invocation.call("io.holdfast.Update.Retry", JsonObject.empty());
          List<Report> reports =
              invocation.read(reply, json -> Answers.each(json, "reports", Report::of));
          invocation.print(
              reply,
              () ->
                  reports.stream()
                      .map(report -> Render.report(report, invocation.shell().zone()))
                      .collect(Collectors.joining("\n")));
          return reports.stream().allMatch(report -> Exit.of(report.outcome()) == Exit.OK)
              ? Exit.OK
              : Exit.FAILED;
        });
  }

  private static String clock(String text) {
    if (!text.equals("correct") && !text.equals("lag")) {
      throw new IllegalArgumentException("'" + text + "' is not known: write correct or lag");
    }
    return text;
  }

  private static long parallel(String text) {
    if (!text.matches("[1-9][0-9]{0,5}")) {
      throw new IllegalArgumentException(
          "'" + text + "' is no number of VMs: write a whole number from 1 on");
    }
    return Long.parseLong(text);
  }

  private static Exit vmm(Invocation invocation) {
    List<String> names = invocation.arguments();
    boolean all = invocation.flag("--all");
    if (all && !names.isEmpty()) {
      throw CommandLineInterface.usage(
          invocation.own().commandSpec(), "give --all or names of VMs, not both");
    }
    if (!all && names.isEmpty()) {
      throw CommandLineInterface.usage(
          invocation.own().commandSpec(), "Missing required parameter: 'NAME', or --all");
    }
    return all || names.size() > 1 ? many(invocation, names) : one(invocation, names.getFirst());
  }

  private static Exit one(Invocation invocation, String name) {
    boolean dryRun = invocation.flag("--dry-run");
    return follow(
        invocation,
        "io.holdfast.Update.Vmm",
        JsonObject.of(
            "name",
            name,
            "qemu",
            qemu(invocation),
            "clock",
            clock(invocation),
            "reversible",
            invocation.flag("--reversible"),
            "dryRun",
            dryRun));
  }

  /** Has one update run, and shows what becomes of it. */
  private static Exit follow(Invocation invocation, String method, JsonObject parameters) {
    boolean dryRun = invocation.flag("--dry-run");
    Shell shell = invocation.shell();
    ProgressLines lines =
        new ProgressLines(
            invocation.json() ? shell.err() : shell.out(),
            !invocation.json() && shell.terminal(),
            shell.width());
    JsonObject reply = new Running(invocation, "update", lines).follow(method, parameters);
    Report report = report(invocation, reply);
    Exit exit = Exit.of(report.outcome());
    if (dryRun || exit == Exit.OK || invocation.json()) {
      invocation.print(
          reply, () -> dryRun ? Render.plan(report) : Render.report(report, shell.zone()));
      return exit;
    }
    if (exit == Exit.FAILED) {
      // What it came to is the error; how far it got is what was asked for.
      shell.out().print(Render.report(report.withoutMessage(), shell.zone()));
      shell.out().flush();
    }
    complain(shell, invocation.trying(), report, exit);
    return exit;
  }

  private static Exit many(Invocation invocation, List<String> names) {
    boolean dryRun = invocation.flag("--dry-run");
    JsonObject parameters =
        JsonObject.of(
            "names",
            names.isEmpty() ? Optional.empty() : Optional.of(JsonArray.of(names.toArray())),
            "qemu",
            qemu(invocation),
            "clock",
            clock(invocation),
            "parallel",
            invocation.option("--parallel", Long.class),
            "reversible",
            invocation.flag("--reversible"),
            "dryRun",
            dryRun);
    Shell shell = invocation.shell();
    int width = names.stream().mapToInt(String::length).max().orElse(NAME_COLUMNS);
    ProgressLines lines =
        ProgressLines.ofMany(invocation.json() ? shell.err() : shell.out(), width);
    JsonObject reply =
        new Running(invocation, "updates", lines).follow("io.holdfast.Update.Vmms", parameters);
    List<Report> reports =
        invocation.read(reply, json -> Answers.each(json, "reports", Report::of));
    invocation.print(
        reply,
        () ->
            dryRun
                ? reports.stream().map(Render::plan).collect(Collectors.joining("\n"))
                : "\n" + Render.ends(reports));
    Exit exit = Exit.OK;
    for (Report report : reports) {
      Exit each = Exit.of(report.outcome());
      if (each != Exit.OK) {
        exit = exit == Exit.FAILED ? exit : each;
        if (!invocation.json() && !dryRun) {
          complain(shell, invocation.command() + " " + report.target(), report, each);
        }
      }
    }
    return exit;
  }

  private static Optional<String> clock(Invocation invocation) {
    return invocation.option("--clock", String.class);
  }

  private static Optional<String> qemu(Invocation invocation) {
    return invocation.option("--qemu", String.class).map(invocation.shell()::program);
  }

  private static void complain(Shell shell, String trying, Report report, Exit exit) {
    shell
        .err()
        .println(
            "holdfast: " + Table.clean(trying + ": " + report.outcome() + ": " + report.message()));
    if (exit == Exit.REFUSED) {
      shell.err().print(Render.obstacles(report.obstacles()));
    }
  }

  private static Report report(Invocation invocation, JsonObject reply) {
    return invocation.read(reply, json -> Report.of(json.object("report")));
  }

  /** An update that is being watched, or several together, and may be interrupted. */
  private static final class Running {
    private final Invocation invocation;
    private final String what;
    private final ProgressLines lines;
    private final CompletableFuture<String> id = new CompletableFuture<>();
    private volatile boolean leaving;

    Running(Invocation invocation, String what, ProgressLines lines) {
      this.invocation = invocation;
      this.what = what;
      this.lines = lines;
    }

    /** Has it run, showing its progress, and returns the reply that carries what became of it. */
    JsonObject follow(String method, JsonObject parameters) {
      AtomicReference<Optional<JsonObject>> last = new AtomicReference<>(Optional.empty());
      try (Link link = invocation.connect();
          Interrupts.Scope _ = invocation.interrupts().handle(this::cancel)) {
        link.stream(
            method,
            parameters,
            reply -> {
              if (reply.has("report") || reply.has("reports")) {
                last.set(Optional.of(reply));
              }
              reply.optionalString("batch").ifPresent(id::complete);
              invocation
                  .read(reply, json -> json.optionalObject("progress").map(Progress::of))
                  .ifPresent(this::show);
            });
      } finally {
        id.completeExceptionally(new IllegalStateException("it has ended"));
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
      // From here on it is being stopped like everything else on the host.
      leaving = leaving || progress.state().equals("SHUTTING_DOWN");
      if (!invocation.json()) {
        lines.show(progress);
      }
    }

    /**
     * Runs on the interrupt's thread while {@link #follow} goes on: the report says what became of
     * the update.
     *
     * @return whether to wait for it
     */
    private boolean cancel() {
      String update;
      try {
        update = id.get(ID_SECONDS, TimeUnit.SECONDS);
      } catch (ExecutionException e) {
        return true;
      } catch (TimeoutException e) {
        lines.say(
            "Interrupted, but the agent has not begun yet: nothing to cancel. Waiting for its answer");
        return true;
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        return true;
      }
      boolean kernel = invocation.command().equals("update kernel");
      if (kernel && leaving) {
        lines.say(
            "Interrupted, as the host goes to its next kernel: there `holdfast update list` shows what became of it");
        return false;
      }
      lines.say("Interrupted: asking the agent to cancel " + what + " " + update);
      try {
        JsonObject unusedReply =
            invocation.call("io.holdfast.Update.Cancel", JsonObject.of("id", update));
        lines.say("The agent cancels " + what + " " + update + "; waiting for its end");
      } catch (Failure failure) {
        lines.say(
            "The agent does not cancel "
                + what
                + " "
                + update
                + ": "
                + failure.text()
                + (kernel ? "" : ". Waiting for its end"));
        // The host's shutdown waits for this process; nobody is left to hear of the end.
        return !kernel;
      }
      return true;
    }
  }
}
