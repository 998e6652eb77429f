package io.holdfast.fdt;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.promise.Promise;
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
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Looks for blobs and sources that end in anything but a tree or an {@link FdtException}: Jazzer
 * makes new ones from those of the corpus, {@code src/test/resources/io/holdfast/fdt/corpus}, and
 * keeps what reaches code that none has reached yet. A JVM of its own, since Jazzer ends its JVM;
 * in each run {@value #INPUTS} inputs, always from the same seed.
 *
 * <p>The nightly search takes {@value #NIGHTLY_SECONDS} seconds, or {@code
 * -Dholdfast.fuzz.seconds=N}, from another seed each time. What it finds is in {@code
 * target/fuzz/NAME}; {@code -merge=1} of libFuzzer takes the fewest of it that reach as much.
 */
@Timeout(value = 4, unit = TimeUnit.HOURS)
@Promise("device-trees")
class FdtFuzzTest {
  private static final int INPUTS = 3000;
  private static final int NIGHTLY_SECONDS = 180;
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
    fuzz("blob", FuzzBlob.class, 4096, false);
  }

  @Test
  @Tag("nightly")
  void noBlobIsFoundInALongSearchThatEndsInAnythingElse() throws IOException, InterruptedException {
    fuzz("blob", FuzzBlob.class, 4096, true);
  }

  @Test
  void noSourceIsFoundThatEndsInAnythingElse() throws IOException, InterruptedException {
    fuzz("source", FuzzSource.class, 1024, false);
  }

  @Test
  @Tag("nightly")
  void noSourceIsFoundInALongSearchThatEndsInAnythingElse()
      throws IOException, InterruptedException {
    fuzz("source", FuzzSource.class, 1024, true);
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

  private void fuzz(String name, Class<?> target, int maxSize, boolean nightly)
      throws IOException, InterruptedException {
    assumeTrue(System.getProperty("os.arch").equals("amd64"), "Jazzer's native part is for x86-64");
    Path found = nightly ? Path.of("target/fuzz", name).toAbsolutePath() : folder.resolve("found");
    int seconds = Integer.getInteger("holdfast.fuzz.seconds", NIGHTLY_SECONDS);
    // libFuzzer takes 32 bits, and 0 for a seed of its own.
    long seed = nightly ? 1 + (Long.getLong("holdfast.seed", System.nanoTime()) & 0x7fff_ffff) : 1;
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
                nightly ? "-max_total_time=" + seconds : "-runs=" + INPUTS,
                "-seed=" + seed,
                found.toString(),
                folderOf(name).toString()));
    Process process =
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    try {
      assertThat(process.waitFor()).as(() -> "Jazzer: " + read(log)).isZero();
    } finally {
      process.destroyForcibly();
    }
    String text = read(log);
    // Otherwise it would have looked for nothing: without instrumentation it is blind.
    assertThat(last(DONE, text)).as(text).isGreaterThanOrEqualTo(INPUTS);
    assertThat(last(COVERED, text)).as(text).isGreaterThan(100);
    System.out.printf(
        Locale.ROOT,
        "%s: %d inputs from seed %d, coverage %d%n",
        name,
        last(DONE, text),
        seed,
        last(COVERED, text));
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
