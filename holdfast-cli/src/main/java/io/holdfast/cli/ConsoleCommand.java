package io.holdfast.cli;

import io.holdfast.cli.Answers.Vm;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Linux;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.Terminal;
import io.holdfast.varlink.Reply;
import io.holdfast.varlink.json.JsonObject;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalLong;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;

/** {@code holdfast vm console}: connects this terminal, or what stands in for it, with a guest. */
final class ConsoleCommand {
  private static final long TAIL = 4096;
  private static final int STDIN = 0;
  private static final int STDOUT = 1;

  private ConsoleCommand() {}

  static CommandSpec console() {
    CommandSpec spec =
        CommandLineInterface.command(
            "console",
            "Connects with a VM's console, or with another channel.",
            ConsoleCommand::run);
    spec.addPositional(VmCommands.name());
    spec.addOption(
        OptionSpec.builder("--no-input")
            .type(boolean.class)
            .description("Only watch; standard input is left alone.")
            .build());
    spec.addOption(
        OptionSpec.builder("--tail")
            .type(Long.class)
            .paramLabel("SIZE")
            .converters(
                text -> VmCommands.converted(() -> text.equals("0") ? 0L : Size.parse(text)))
            .description(
                "Show so much of the log first, from the next line on; 4K if not given, 0 for nothing.")
            .build());
    spec.addOption(
        OptionSpec.builder("--channel")
            .type(String.class)
            .paramLabel("NAME")
            .description("A named port of the VM in place of its console.")
            .build());
    spec.usageMessage()
        .footer(
            "%nOn a terminal, every key goes to the guest, Ctrl-C included; Ctrl-] ends this command. It stays connected"
                + " while the VM is updated and while the agent is replaced. At the end of an input that is no"
                + " terminal it goes on watching. It ends with the VM.");
    return spec;
  }

  private static Exit run(Invocation invocation) {
    Linux linux = Linux.system();
    // The process's own: never closed here.
    Fd stdin = Fd.own(linux.kernel(), STDIN, "standard input");
    Fd stdout = Fd.own(linux.kernel(), STDOUT, "standard output");
    boolean typing = !invocation.flag("--no-input");
    Optional<Terminal> terminal = typing ? linux.terminal(stdin) : Optional.empty();
    try (Conversation conversation =
        new Conversation(
            linux,
            typing ? Optional.of(stdin) : Optional.empty(),
            stdout,
            terminal.isPresent(),
            invocation.shell().err(),
            end(invocation, linux))) {
      if (terminal.isEmpty()) {
        conversation.run();
      } else {
        String what =
            invocation
                .option("--channel", String.class)
                .map(channel -> "channel " + channel)
                .orElse("the console");
        invocation
            .shell()
            .err()
            .println(
                "Connected with " + what + " of VM " + invocation.argument() + "; Ctrl-] ends it.");
        raw(terminal.get(), conversation::run);
      }
      return Exit.OK;
    } finally {
      int _ = stdin.release();
      int _ = stdout.release();
    }
  }

  /** Runs something with a raw terminal, which is itself again however this process ends. */
  private static void raw(Terminal terminal, Runnable body) {
    Thread atExit = new Thread(() -> restore(terminal), "restore the terminal");
    Runtime.getRuntime().addShutdownHook(atExit);
    try {
      terminal.raw();
      body.run();
    } finally {
      restore(terminal);
      try {
        boolean _ = Runtime.getRuntime().removeShutdownHook(atExit);
      } catch (IllegalStateException _) {
        // It runs already.
      }
    }
  }

  private static void restore(Terminal terminal) {
    try {
      terminal.restore();
    } catch (SystemCallException | IllegalStateException e) {
      // The terminal is gone, and with it whoever would see how it was left.
      System.getLogger(ConsoleCommand.class.getName())
          .log(System.Logger.Level.DEBUG, "restoring the terminal", e);
    }
  }

  private static Conversation.Attaching end(Invocation invocation, Linux linux) {
    Optional<String> channel = invocation.option("--channel", String.class);
    if (channel.isPresent()) {
      return from -> from.isPresent() ? Optional.empty() : Optional.of(channel(invocation, linux));
    }
    long tail = invocation.option("--tail", Long.class).orElse(TAIL);
    return from -> attach(invocation, from, tail);
  }

  private static Conversation.Attached channel(Invocation invocation, Linux linux) {
    String name = invocation.option("--channel", String.class).orElseThrow();
    JsonObject reply =
        invocation.call("io.holdfast.Vm.Show", JsonObject.of("name", invocation.argument()));
    Vm vm = invocation.read(reply, json -> Vm.of(json.object("vm")));
    String socket =
        vm.channels().stream()
            .filter(each -> each.name().equals(name))
            .map(Vm.Channel::socket)
            .findFirst()
            .orElseThrow(
                () ->
                    new Failure(
                        Exit.FAILED,
                        "io.holdfast.cli.NoSuchChannel",
                        invocation.trying()
                            + ": it has no channel "
                            + name
                            + ", but "
                            + vm.channels().stream().map(Vm.Channel::name).toList()
                            + ". A VM gets its channels at its start: holdfast vm run --channel"));
    try {
      Fd both = linux.connect(Path.of(socket)).fd();
      linux.nonblocking(both);
      return new Conversation.Attached(both, both.duplicate(), 0);
    } catch (SystemCallException e) {
      throw new Failure(
          Exit.FAILED,
          "io.holdfast.cli.NotConnected",
          invocation.trying() + ": " + String.valueOf(e.getMessage()));
    }
  }

  /** Empty if the VM has ended. */
  private static Optional<Conversation.Attached> attach(
      Invocation invocation, OptionalLong from, long tail) {
    JsonObject asked =
        from.isPresent()
            ? JsonObject.of("name", invocation.argument(), "from", from.getAsLong())
            : JsonObject.of("name", invocation.argument(), "tail", tail);
    try (Link link = invocation.connect();
        Reply reply = link.request("io.holdfast.Vm.Console", asked)) {
      return invocation.read(
          reply.parameters(),
          json ->
              Optional.of(
                  new Conversation.Attached(
                      reply.descriptors().take(Math.toIntExact(json.number("output"))),
                      reply.descriptors().take(Math.toIntExact(json.number("input"))),
                      json.number("from"))));
    } catch (Failure failure) {
      if (from.isPresent() && failure.error().equals("io.holdfast.Vm.NoSuchVm")) {
        return Optional.empty();
      }
      throw failure;
    }
  }
}
