package io.holdfast.linux;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.TreeMap;

/**
 * A program to start.
 *
 * @param command the program (a path, or a name looked up in PATH) and its arguments
 * @param environment its whole environment
 * @param inherited the descriptors it gets: the number in the child, from 0 to 1023, to a
 *     descriptor that is borrowed until the spawn has returned. Any of them may have any number
 *     here, also one that another gets there
 * @param output where its standard output and error go, borrowed likewise; nowhere ({@code
 *     /dev/null}) without
 */
public record SpawnRequest(
    List<String> command,
    Map<String, String> environment,
    Map<Integer, Fd> inherited,
    Optional<Fd> output) {
  private static final int HIGHEST_NUMBER = 1023;

  /**
   * Copies the collections.
   *
   * @throws IllegalArgumentException if the command is empty or a number is out of range
   */
  public SpawnRequest {
    command = List.copyOf(command);
    environment = Map.copyOf(environment);
    inherited = Map.copyOf(inherited);
    if (command.isEmpty()) {
      throw new IllegalArgumentException("a command without a program");
    }
    for (int number : inherited.keySet()) {
      if (number < 0 || number > HIGHEST_NUMBER) {
        throw new IllegalArgumentException(
            "a child's descriptor " + number + ": give it one from 0 to " + HIGHEST_NUMBER);
      }
    }
  }

  /**
   * A command with this process's environment, no descriptor inherited, its output going nowhere.
   */
  public static SpawnRequest of(List<String> command) {
    return new SpawnRequest(command, System.getenv(), Map.of(), Optional.empty());
  }

  /** The same with another environment. */
  public SpawnRequest withEnvironment(Map<String, String> whole) {
    return new SpawnRequest(command, whole, inherited, output);
  }

  /** The same with these descriptors in place of those so far. */
  public SpawnRequest withInherited(Map<Integer, Fd> descriptors) {
    return new SpawnRequest(command, environment, descriptors, output);
  }

  /** The same with its standard output and error going there. */
  public SpawnRequest withOutput(Fd to) {
    return new SpawnRequest(command, environment, inherited, Optional.of(to));
  }

  /**
   * The same, but killed when the thread that starts it ends, also when that is killed (prctl(2),
   * PR_SET_PDEATHSIG, through util-linux's setpriv). For children that are of no use without it.
   */
  public SpawnRequest endingWithParent() {
    List<String> whole = new ArrayList<>(List.of("setpriv", "--pdeathsig", "KILL", "--"));
    // A parent that was gone before the signal was asked for sends none.
    whole.addAll(List.of("sh", "-c", "[ $PPID = $0 ] && exec \"$@\""));
    whole.add(Long.toString(ProcessHandle.current().pid()));
    whole.addAll(command);
    return new SpawnRequest(whole, environment, inherited, output);
  }

  /**
   * What the child gets at which number, its output included; a number that is inherited explicitly
   * comes first.
   */
  NavigableMap<Integer, Fd> numbered() {
    TreeMap<Integer, Fd> all = new TreeMap<>(inherited);
    output.ifPresent(
        o -> {
          all.putIfAbsent(1, o);
          all.putIfAbsent(2, o);
        });
    return all;
  }
}
