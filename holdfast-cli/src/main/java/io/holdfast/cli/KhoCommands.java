package io.holdfast.cli;

import picocli.CommandLine.Model.CommandSpec;

/** {@code holdfast kho}: what kernels hand over to one another. These commands need no agent. */
final class KhoCommands {
  private KhoCommands() {}

  static CommandSpec group() {
    CommandSpec group =
        CommandLineInterface.group(
            "kho", "Looks at what one kernel hands over to the next. Needs no agent.");
    group.addSubcommand("check", KhoCheckCommand.check());
    return group;
  }
}
