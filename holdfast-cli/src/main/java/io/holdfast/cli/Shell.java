package io.holdfast.cli;

import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.ZoneId;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * Where the command runs.
 *
 * @param out for what was asked for
 * @param err for errors
 * @param terminal whether a person watches {@code out}
 * @param width columns of that terminal
 * @param environment the environment variables
 * @param directory the working directory, absolute: what relative paths start from
 * @param zone the zone in which points in time are shown
 * @param socket where the agent listens unless told otherwise
 * @param agent runs the agent with these arguments, until it ends
 */
record Shell(
    PrintStream out,
    PrintStream err,
    boolean terminal,
    int width,
    Map<String, String> environment,
    Path directory,
    ZoneId zone,
    Supplier<Path> socket,
    Consumer<List<String>> agent) {

  /**
   * The file as an absolute path: the agent has another working directory. Links and {@code ..}
   * stay as they are.
   */
  String absolute(String path) {
    String rest = path;
    while (rest.startsWith("./")) {
      rest = rest.substring(2);
    }
    return directory.resolve(rest).toString();
  }

  /**
   * A program, as a shell finds it: what has no slash in it is looked for in PATH, and if it isn't
   * there, taken for a file of the working directory.
   */
  String program(String name) {
    if (!name.contains("/")) {
      for (String folder : environment.getOrDefault("PATH", "").split(":", -1)) {
        Path candidate = directory.resolve(folder).resolve(name);
        if (!folder.isEmpty() && Files.isRegularFile(candidate) && Files.isExecutable(candidate)) {
          return candidate.toString();
        }
      }
    }
    return absolute(name);
  }
}
