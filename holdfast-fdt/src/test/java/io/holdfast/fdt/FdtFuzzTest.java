package io.holdfast.fdt;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Looks for blobs and sources that end in anything but a tree or an {@link FdtException}: Jazzer
 * makes new ones from those of the corpus, {@code src/test/resources/io/holdfast/fdt/corpus}, and
 * keeps what reaches code that none has reached yet. A JVM of its own, since Jazzer ends its JVM;
 * always from the same seed, for {@value #SECONDS} seconds.
 *
 * <p>With {@code -Dholdfast.fuzz.seconds=N} it looks for longer and from another seed each time.
 * What it finds then is in {@code target/fuzz/NAME}; {@code -merge=1} of libFuzzer takes the fewest
 * of it that reach as much.
 */
@Timeout(value = 4, unit = TimeUnit.HOURS)
class FdtFuzzTest {
  private static final int SECONDS = 10;
  private static final Pattern DONE = Pattern.compile("Done (\\d+) runs in");
  private static final Pattern COVERED = Pattern.compile("cov: (\\d+)");

  @TempDir private Path folder;

  @Test
  void everyBlobOfTheCorpusIsReadOrRefused() throws IOException {
    replay("blob", FuzzBlob::fuzzerTestOneInput);
  }

  @Test
  void everySourceOfTheCorpusIsReadOrRefused() throws IOException {
    replay("source", FuzzSource::fuzzerTestOneInput);
  }

  @Test
  void noBlobIsFoundThatEndsInAnythingElse() throws IOException, InterruptedException {
    fuzz("blob", FuzzBlob.class, 4096);
  }

  @Test
  void noSourceIsFoundThatEndsInAnythingElse() throws IOException, InterruptedException {
    fuzz("source", FuzzSource.class, 1024);
  }

  private static void replay(String name, Consumer<byte[]> target) throws IOException {
    List<Path> files = corpus(name);
    assertThat(files).hasSizeGreaterThan(20);
    for (Path file : files) {
      target.accept(Files.readAllBytes(file));
    }
  }

  private static List<Path> corpus(String name) throws IOException {
    try (Stream<Path> files = Files.list(folderOf(name))) {
      return files.sorted().toList();
    }
  }

  private static Path folderOf(String name) {
    return Path.of("src/test/resources/io/holdfast/fdt/corpus", name).toAbsolutePath();
  }

  private void fuzz(String name, Class<?> target, int maxSize)
      throws IOException, InterruptedException {
    assumeTrue(System.getProperty("os.arch").equals("amd64"), "Jazzer's native part is for x86-64");
    String longer = System.getProperty("holdfast.fuzz.seconds", "");
    Path found = folder.resolve("found");
    if (!longer.isEmpty()) {
      found = Path.of("target/fuzz", name).toAbsolutePath();
    }
    Files.createDirectories(found);
    Path crashes = Files.createDirectories(Path.of("target/fuzz-failures").toAbsolutePath());
    Path log = folder.resolve("log");
    List<String> command =
        new ArrayList<>(
            List.of(
                Path.of(System.getProperty("java.home"), "bin/java").toString(),
                "-Xmx512m",
                "--enable-native-access=ALL-UNNAMED",
                "-XX:+EnableDynamicAgentLoading",
                "--sun-misc-unsafe-memory-access=allow",
                "-cp",
                classPath(),
                "com.code_intelligence.jazzer.Jazzer",
                "--target_class=" + target.getName(),
                "--instrumentation_includes=io.holdfast.fdt.**",
                // Its detectors of injections and the like have nothing to look for here.
                "--disabled_hooks=com.code_intelligence.jazzer.sanitizers.*",
                "--reproducer_path=" + crashes,
                "-artifact_prefix=" + crashes + "/" + name + "-",
                "-max_len=" + maxSize,
                "-timeout=10",
                "-max_total_time=" + (longer.isEmpty() ? SECONDS : longer)));
    if (longer.isEmpty()) {
      command.add("-seed=1");
    }
    command.add(found.toString());
    command.add(folderOf(name).toString());
    Process process =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    try {
      assertThat(process.waitFor()).as(() -> "Jazzer: " + read(log)).isZero();
    } finally {
      process.destroyForcibly();
    }
    String text = read(log);
    // Otherwise it would have looked for nothing: without instrumentation it is blind.
    assertThat(last(DONE, text)).as(text).isGreaterThan(1000);
    assertThat(last(COVERED, text)).as(text).isGreaterThan(100);
    System.out.printf(
        Locale.ROOT, "%s: %d inputs, coverage %d%n", name, last(DONE, text), last(COVERED, text));
  }

  private static String read(Path log) {
    try {
      return Files.readString(log);
    } catch (IOException e) {
      return e.toString();
    }
  }

  private static long last(Pattern pattern, String text) {
    long last = -1;
    for (Matcher matcher = pattern.matcher(text); matcher.find(); ) {
      last = Long.parseLong(matcher.group(1));
    }
    return last;
  }

  /** Jazzer's own and ours, without what else the tests have: it would be looked at for hooks. */
  private static String classPath() {
    return String.join(
        File.pathSeparator,
        Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(entry -> entry.contains("jazzer") || entry.contains("classes"))
            .toList());
  }
}
