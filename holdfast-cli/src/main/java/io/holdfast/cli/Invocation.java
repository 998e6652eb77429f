package io.holdfast.cli;

import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import java.util.function.Supplier;
import picocli.CommandLine.ParseResult;

/**
 * One run of one command: its command line, and where it runs.
 *
 * @param parsed the whole command line, from {@code holdfast} on
 * @param own the part of the command itself
 */
record Invocation(Shell shell, Interrupts interrupts, ParseResult parsed, ParseResult own) {

  /** What a command does. */
  interface Action {
    Exit run(Invocation invocation);
  }

  /** The command as it was called, for messages: {@code vm show}. */
  String command() {
    return own.commandSpec().qualifiedName().replaceFirst("^holdfast ?", "");
  }

  boolean json() {
    return flag("--json");
  }

  Path socket() {
    return option("--socket", String.class)
        .map(path -> Path.of(shell.absolute(path)))
        .orElseGet(() -> shell.socket().get());
  }

  boolean flag(String name) {
    return option(name, Boolean.class).orElse(false);
  }

  /**
   * The option's value, wherever on the command line it stands: global options may come before the
   * command or after.
   */
  <T> Optional<T> option(String name, Class<T> type) {
    for (Optional<ParseResult> at = Optional.of(parsed); at.isPresent(); at = next(at.get())) {
      if (at.get().hasMatchedOption(name)) {
        return Optional.of(type.cast(at.get().matchedOptionValue(name, null)));
      }
    }
    return Optional.empty();
  }

  private static Optional<ParseResult> next(ParseResult result) {
    return result.hasSubcommand() ? Optional.of(result.subcommand()) : Optional.empty();
  }

  /** The values of an option that may come more than once, in their order. */
  <T> List<T> options(String name) {
    return own.hasMatchedOption(name) ? own.matchedOptionValue(name, List.<T>of()) : List.of();
  }

  /** The command's first argument, which the parser has made sure of. */
  String argument() {
    return own.matchedPositional(0).getValue();
  }

  /** All of the command's arguments, for one that takes any number of them. */
  List<String> arguments() {
    return own.hasMatchedPositional(0) ? own.matchedPositionalValue(0, List.of()) : List.of();
  }

  Link connect() {
    return VarlinkLink.connect(socket(), trying());
  }

  /** Calls the agent on a connection of its own. */
  JsonObject call(String method, JsonObject parameters) {
    try (Link link = connect()) {
      return link.call(method, parameters);
    }
  }

  /** Prints the reply for programs, or the text for people; exactly one of the two. */
  void print(JsonObject reply, Supplier<String> text) {
    if (json()) {
      shell.out().println(reply);
    } else {
      shell.out().print(text.get());
    }
    shell.out().flush();
  }

  /** Reads a part of a reply. */
  <T> T read(JsonObject reply, Function<JsonObject, T> reader) {
    try {
      return reader.apply(reply);
    } catch (JsonException e) {
      throw new Failure(
          Exit.FAILED,
          "io.holdfast.cli.BadReply",
          trying()
              + ": the agent's reply is not what its interface promises: "
              + e.getMessage()
              + ". Are the agent and this command of the same version? See: holdfast status and holdfast --version");
    }
  }

  /** What this invocation tries, and on what, as messages begin: {@code vm show web}. */
  String trying() {
    if (!own.hasMatchedPositional(0)) {
      return command();
    }
    Object first = own.matchedPositional(0).getValue();
    return command() + " " + (first instanceof List<?> ? String.join(" ", arguments()) : first);
  }
}
