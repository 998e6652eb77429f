package io.holdfast.testbed;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.spi.ToolProvider;
import java.util.stream.Stream;

/**
 * What a JVM inside is started with: the classes that run this, and an AOT cache of them (JEP 514),
 * as an emulated processor is slow to read and to link classes.
 *
 * @param classPath its class path: jars, as the cache wants no folders of classes
 * @param cache empty if none could be made
 */
record InsideJava(String classPath, Optional<Path> cache) {
  /** By this property a JVM inside knows how it was started, to start another one likewise. */
  static final String CACHE = "holdfast.testbed.aot";

  /** What the training run said, for people. */
  static final String LOG = "training.log";

  private static final String NAME = "inside.aot";
  private static final String KEY = "classes";
  private static final long TRAINING_SECONDS = 120;

  /**
   * Makes it in a folder, or takes what is there if it was made of the same classes.
   *
   * @param folder its own; the JVMs inside read it
   */
  static InsideJava in(Path folder) throws IOException {
    List<Path> classes = classes();
    String key = key(classes);
    Path known = folder.resolve(KEY);
    List<String> path = new ArrayList<>();
    boolean made = Files.exists(known) && Files.readString(known).equals(key);
    if (!made) {
      Testbed.remove(folder);
      Files.createDirectories(folder);
    }
    for (Path each : classes) {
      Path jar = each;
      if (Files.isDirectory(each)) {
        jar = folder.resolve(path.size() + ".jar");
        if (!made) {
          pack(each, jar);
        }
      }
      path.add(jar.toString());
    }
    String classPath = String.join(":", path);
    Path cache = folder.resolve(NAME);
    if (!made) {
      train(classPath, cache, folder.resolve(LOG));
      Files.writeString(known, key);
    }
    return new InsideJava(classPath, Files.exists(cache) ? Optional.of(cache) : Optional.empty());
  }

  /** Where the classes lie that the inside needs: where those are that run this. */
  private static List<Path> classes() {
    Set<Path> path = new LinkedHashSet<>();
    for (String property : List.of("java.class.path", "jdk.module.path")) {
      for (String each : System.getProperty(property, "").split(":", -1)) {
        Path entry = Path.of(each).toAbsolutePath().normalize();
        if (!each.isEmpty() && Files.exists(entry)) {
          path.add(entry);
        }
      }
    }
    return List.copyOf(path);
  }

  /** Differs if any of these files does. */
  private static String key(List<Path> classes) throws IOException {
    StringBuilder key = new StringBuilder(System.getProperty("java.home")).append('\n');
    for (Path each : classes) {
      try (Stream<Path> files = Files.walk(each)) {
        for (Path file : files.filter(Files::isRegularFile).sorted().toList()) {
          BasicFileAttributes is = Files.readAttributes(file, BasicFileAttributes.class);
          key.append(file + " " + is.size() + " " + is.lastModifiedTime() + "\n");
        }
      }
    }
    return key.toString();
  }

  private static void pack(Path classes, Path jar) throws IOException {
    int status =
        ToolProvider.findFirst("jar")
            .orElseThrow()
            .run(System.out, System.err, "-c", "-f", jar.toString(), "-C", classes.toString(), ".");
    if (status != 0) {
      throw new IOException("packing " + classes + " into " + jar + " failed, status " + status);
    }
  }

  private static void train(String classPath, Path cache, Path log) throws IOException {
    List<String> command = new ArrayList<>(List.of(System.getProperty("java.home") + "/bin/java"));
    command.add("-XX:AOTCacheOutput=" + cache);
    command.addAll(options());
    command.addAll(List.of("-cp", classPath, InsideTraining.class.getName()));
    Process training =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    boolean ended = false;
    try {
      ended = training.waitFor(TRAINING_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    if (!ended || training.exitValue() != 0) {
      training.destroyForcibly();
      Files.deleteIfExists(cache);
    }
  }

  /** Quick to start, and little: the machine is slow where it is emulated. */
  private static List<String> options() {
    return List.of(
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "--enable-native-access=ALL-UNNAMED");
  }

  /**
   * The command that starts it.
   *
   * @param heap as {@code -Xmx} takes it
   * @param main the class
   */
  List<String> command(String heap, String main, List<String> arguments) {
    List<String> command = new ArrayList<>(List.of(System.getProperty("java.home") + "/bin/java"));
    command.addAll(options());
    command.add("-Xmx" + heap);
    command.add("-Djava.io.tmpdir=/run/tmp");
    cache.ifPresent(
        file -> command.addAll(List.of("-XX:AOTCache=" + file, "-D" + CACHE + "=" + file)));
    command.addAll(List.of("-cp", classPath, main));
    command.addAll(arguments);
    return command;
  }

  /** How this JVM, which is inside, was started. */
  static InsideJava own() {
    return new InsideJava(
        System.getProperty("java.class.path"),
        Optional.ofNullable(System.getProperty(CACHE)).map(Path::of));
  }
}
