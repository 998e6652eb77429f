package io.holdfast.benchmarks;

import java.util.ArrayList;
import java.util.List;

/** Commands that run another main class with what this JVM runs with. */
final class Jvm {
  private Jvm() {}

  /**
   * This JVM's java, with its module path or class path, its permission for native access and the
   * collector of the installed command.
   *
   * @param module the module of {@code main}
   * @param main the main class's name
   */
  static List<String> command(
      String module, String main, List<String> options, List<String> arguments) {
    List<String> all = new ArrayList<>(List.of("-XX:+UseSerialGC"));
    all.addAll(options);
    return plain(module, main, all, arguments);
  }

  /** The same with nothing but these options. */
  static List<String> plain(
      String module, String main, List<String> options, List<String> arguments) {
    List<String> command = new ArrayList<>();
    command.add(System.getProperty("java.home") + "/bin/java");
    command.addAll(options);
    String modules = System.getProperty("jdk.module.path", "");
    String classes = System.getProperty("java.class.path", "");
    if (Jvm.class.getModule().isNamed() && !modules.isEmpty()) {
      command.addAll(List.of("--enable-native-access=io.holdfast.linux", "-p", modules));
      command.addAll(List.of("-m", module + "/" + main));
    } else {
      command.addAll(List.of("--enable-native-access=ALL-UNNAMED", "-cp", classes, main));
    }
    command.addAll(arguments);
    return command;
  }
}
