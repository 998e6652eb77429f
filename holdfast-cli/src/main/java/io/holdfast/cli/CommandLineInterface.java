package io.holdfast.cli;

import io.holdfast.agent.Agent;
import io.holdfast.varlink.json.JsonObject;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.Collectors;
import picocli.CommandLine;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.UnmatchedArgumentException;

/**
 * The command line as a whole: parses it, runs the command that it names, and turns what goes wrong
 * into a message and an exit code. The commands are described in code, not by annotations: nothing
 * is reflected upon at the start.
 */
final class CommandLineInterface {
  private final Shell shell;
  private final Interrupts interrupts;
  private final CommandLine commandLine;

  CommandLineInterface(Shell shell, Interrupts interrupts) {
    this.shell = shell;
    this.interrupts = interrupts;
    this.commandLine = new CommandLine(root());
    commandLine.setExpandAtFiles(false);
  }

  private static CommandSpec root() {
    CommandSpec root =
        group("holdfast", "Replaces what runs under virtual machines while they stay up.")
            .addOption(
                OptionSpec.builder("--json")
                    .type(boolean.class)
                    .scopeType(ScopeType.INHERIT)
                    .description(
                        "Print one JSON object, the agent's reply; errors as {\"error\":…,\"message\":…}.")
                    .build())
            .addOption(
                OptionSpec.builder("--socket")
                    .type(String.class)
                    .paramLabel("PATH")
                    .scopeType(ScopeType.INHERIT)
                    .description(
                        "The agent's socket; else HOLDFAST_SOCKET, else the one in the run directory.")
                    .build())
            .addOption(
                OptionSpec.builder("-h", "--help")
                    .type(boolean.class)
                    .usageHelp(true)
                    .scopeType(ScopeType.INHERIT)
                    .description("Show how to use the command.")
                    .build())
            .addOption(
                OptionSpec.builder("--version")
                    .type(boolean.class)
                    .versionHelp(true)
                    .description("Show the version of this command.")
                    .build());
    root.addSubcommand("agent", AgentCommands.agent());
    root.addSubcommand("status", AgentCommands.status());
    root.addSubcommand("vm", VmCommands.group());
    root.addSubcommand("update", UpdateCommands.group());
    root.addSubcommand("rescue", RescueCommand.rescue());
    root.addSubcommand("box", BoxCommands.group());
    root.addSubcommand("kho", KhoCommands.group());
    root.addSubcommand("debugfs", DebugfsCommand.debugfs());
    root.addSubcommand("states", StatesCommand.states());
    root.usageMessage()
        .exitCodeListHeading("%nExit codes:%n")
        .exitCodeList(
            Arrays.stream(Exit.values())
                .collect(
                    Collectors.toMap(
                        exit -> Integer.toString(exit.code()),
                        Exit::meaning,
                        (a, _) -> a,
                        LinkedHashMap::new)));
    return root;
  }

  /** A command that only holds others: by itself it is a mistake. */
  static CommandSpec group(String name, String description) {
    return command(name, description, CommandLineInterface::missingCommand);
  }

  /** A command without options of its own yet. */
  static CommandSpec command(String name, String description, Invocation.Action action) {
    CommandSpec spec = CommandSpec.wrapWithoutInspection(action).name(name);
    spec.usageMessage().description(description).sortOptions(false);
    return spec;
  }

  private static Exit missingCommand(Invocation invocation) {
    Map<String, CommandLine> commands = invocation.own().commandSpec().subcommands();
    throw usage(
        invocation.own().commandSpec(),
        "a command is missing, one of " + String.join(", ", commands.keySet()));
  }

  /**
   * Runs the command line. Nothing is thrown that the user could have caused; all output is written
   * and flushed.
   */
  Exit run(String... arguments) {
    try {
      ParseResult parsed = parse(arguments);
      ParseResult own = parsed;
      while (own.hasSubcommand()) {
        own = own.subcommand();
      }
      Invocation invocation = new Invocation(shell, interrupts, parsed, own);
      if (invocation.flag("--help")) {
        String help = own.commandSpec().commandLine().getUsageMessage(CommandLine.Help.Ansi.OFF);
        invocation.print(JsonObject.of("help", help), () -> help);
        return Exit.OK;
      }
      if (invocation.flag("--version")) {
        invocation.print(JsonObject.of("version", version()), () -> "holdfast " + version() + "\n");
        return Exit.OK;
      }
      return ((Invocation.Action) own.commandSpec().userObject()).run(invocation);
    } catch (Failure failure) {
      if (jsonWanted(arguments)) {
        shell.out().println(JsonObject.of("error", failure.error(), "message", failure.text()));
      } else {
        shell.err().println("holdfast: " + Table.clean(failure.text()));
      }
      return failure.exit();
    } finally {
      shell.out().flush();
      shell.err().flush();
    }
  }

  private ParseResult parse(String... arguments) {
    try {
      return commandLine.parseArgs(arguments);
    } catch (UnmatchedArgumentException e) {
      CommandSpec spec = e.getCommandLine().getCommandSpec();
      String word = e.getUnmatched().getFirst();
      Collection<String> known =
          word.startsWith("-") ? spec.optionsMap().keySet() : spec.subcommands().keySet();
      String meant =
          Typos.meant(word, known).map(other -> ". Did you mean " + other + "?").orElse("");
      throw usage(spec, "'" + word + "' is not known here" + meant);
    } catch (ParameterException e) {
      throw usage(e.getCommandLine().getCommandSpec(), String.valueOf(e.getMessage()));
    }
  }

  /** A mistake on the command line of this command. */
  static Failure usage(CommandSpec spec, String message) {
    String name = spec.qualifiedName();
    String tried = name.replaceFirst("^holdfast ?", "");
    String end = message.endsWith("?") || message.endsWith(".") ? " " : ". ";
    return new Failure(
        Exit.USAGE,
        "io.holdfast.cli.Usage",
        (tried.isEmpty() ? "" : tried + ": ")
            + message
            + end
            + "How it is used: "
            + name
            + " --help");
  }

  /**
   * Whether errors are for programs. Asked of the bare words, since they may be what can't be
   * parsed.
   */
  private static boolean jsonWanted(String... arguments) {
    for (String argument : arguments) {
      if (argument.equals("--")) {
        return false;
      }
      if (argument.equals("--json")) {
        return true;
      }
    }
    return false;
  }

  /** The command and the agent are one distribution. */
  private static String version() {
    return Agent.VERSION;
  }
}
