package io.holdfast.cli;

import io.holdfast.agent.Agent;
import io.holdfast.agent.AgentPaths;
import java.io.Console;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.ZoneId;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * The {@code holdfast} command. Its exit codes: 0 done, 1 failed or cancelled, 2 usage, 3 refused,
 * 4 no agent.
 */
public final class Holdfast {
  private Holdfast() {}

  /** Runs the command line and ends the JVM with its exit code. */
  public static void main(String[] arguments) {
    // JSON is UTF-8 whatever the locale says.
    PrintStream out =
        new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
    PrintStream err =
        new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8);
    Shell shell =
        new Shell(
            out,
            err,
            Optional.ofNullable(System.console()).filter(Console::isTerminal).isPresent(),
            columns(System.getenv("COLUMNS")),
            System.getenv(),
            Path.of("").toAbsolutePath(),
            ZoneId.systemDefault(),
            () -> AgentPaths.defaultSocket(AgentPaths.defaultRun()),
            Holdfast::agent);
    Interrupts interrupts = new Interrupts();
    CompletableFuture<Exit> finished = new CompletableFuture<>();
    interrupts.listen(finished);
    Exit exit = new CommandLineInterface(shell, interrupts).run(arguments);
    out.flush();
    finished.complete(exit);
    if (exit != Exit.OK) {
      // Not otherwise: an agent that was told to end waits for this thread, and exit() in turn for
      // the agent.
      System.exit(exit.code());
    }
  }

  private static void agent(List<String> arguments) {
    try {
      Agent.main(arguments.toArray(String[]::new));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** The terminal's width as the shell exports it, which few do: 80 is what every terminal has. */
  private static int columns(@Nullable String exported) {
    return exported != null && exported.matches("[1-9][0-9]{1,3}")
        ? Integer.parseInt(exported)
        : 80;
  }
}
