package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * Promises and tests name one another: each promise of SPECIFICATION.md has a test, each {@code
 * Promise} of a test is there, and the index docs/promises.md says which is which. {@code ./test
 * -pl holdfast-benchmarks -am -Dtest=PromisesTest -Dholdfast.promises.write=true
 * -Dsurefire.failIfNoSpecifiedTests=false} writes the index.
 */
class PromisesTest {
  private static final Path PROJECT = Path.of("..").toAbsolutePath().normalize();
  private static final Path INDEX = PROJECT.resolve("docs/promises.md");

  /** A promise: {@code - **`name`** text}. */
  private static final Pattern PROMISE = Pattern.compile("(?m)^- \\*\\*`([a-z-]+)`\\*\\*");

  /**
   * An annotation, and what it is on: the class of the file or a method. In a shell script it is a
   * comment.
   */
  private static final Pattern HELD =
      Pattern.compile(
          "@Promise\\(\\s*(\\{[^}]*}|\"[^\"]*\")\\s*\\)\\s+"
              + "(?:(?:@\\w+(?:\\([^)]*\\))?|public|private|protected|static|final|abstract|sealed|void"
              + "|Stream<\\w+>)\\s+)*+(?:(class|interface|record) )?(\\w+)");

  private static final Pattern NAME = Pattern.compile("\"([^\"]+)\"");

  /** A test that holds a promise; {@code method} is empty for all tests of a class. */
  private record Held(String module, String place, String method) {}

  @Test
  void eachPromiseHasATestAndEachTestItsPromise() throws IOException {
    assertThat(held().keySet()).containsExactlyInAnyOrderElementsOf(promises());
  }

  @Test
  void theIndexIsUpToDate() throws IOException {
    String index = index();
    if (Boolean.getBoolean("holdfast.promises.write")) {
      Files.writeString(INDEX, index);
    }
    assertThat(Files.readString(INDEX))
        .as("%s; the class says how to write it", INDEX)
        .isEqualTo(index);
  }

  private static Set<String> promises() throws IOException {
    Set<String> names = new LinkedHashSet<>();
    Matcher found = PROMISE.matcher(Files.readString(PROJECT.resolve("SPECIFICATION.md")));
    while (found.find()) {
      assertThat(names.add(found.group(1))).as("%s is there once", found.group(1)).isTrue();
    }
    assertThat(names).hasSizeGreaterThan(30);
    return names;
  }

  /** Who holds what, by promise. */
  private static Map<String, List<Held>> held() throws IOException {
    Map<String, List<Held>> held = new TreeMap<>();
    for (Path file : sources()) {
      Path path = PROJECT.relativize(file);
      String place = file.getFileName().toString().replaceFirst("\\.java$", "");
      Matcher found = HELD.matcher(Files.readString(file));
      while (found.find()) {
        boolean method = place.endsWith("Test") && found.group(2) == null;
        Held one = new Held(path.getName(0).toString(), place, method ? found.group(3) : "");
        Matcher name = NAME.matcher(found.group(1));
        while (name.find()) {
          held.computeIfAbsent(name.group(1), _ -> new ArrayList<>()).add(one);
        }
      }
    }
    return held;
  }

  private static List<Path> sources() throws IOException {
    List<Path> sources = new ArrayList<>();
    try (Stream<Path> modules = Files.list(PROJECT)) {
      for (Path module : modules.filter(each -> Files.exists(each.resolve("pom.xml"))).toList()) {
        try (Stream<Path> all = Files.walk(module.resolve("src"))) {
          all.filter(file -> file.toString().endsWith(".java")).forEach(sources::add);
        }
      }
    }
    try (Stream<Path> tools = Files.list(PROJECT.resolve("tools"))) {
      tools.filter(file -> !file.toString().contains(".")).forEach(sources::add);
    }
    sources.removeIf(file -> file.endsWith("PromisesTest.java") || file.endsWith("Promise.java"));
    return sources;
  }

  private static String index() throws IOException {
    StringBuilder text =
        new StringBuilder(
            """
            # Which tests hold which promise

            Made from the tests' annotations by `PromisesTest`, which fails if this page is not up to date. A class without a method: all of its
            tests, a scenario (module holdfast-testbed), or a benchmark. [SPECIFICATION.md](../SPECIFICATION.md) has the promises.
            """);
    Map<String, List<Held>> held = held();
    for (String promise : promises()) {
      text.append("\n## ").append(promise).append("\n\n");
      Map<String, Set<String>> byPlace = new TreeMap<>();
      for (Held one : held.getOrDefault(promise, List.of())) {
        Set<String> methods =
            byPlace.computeIfAbsent(one.module() + ": `" + one.place() + "`", _ -> new TreeSet<>());
        if (!one.method().isEmpty()) {
          methods.add("`" + one.method() + "`");
        }
      }
      byPlace.forEach(
          (place, methods) ->
              text.append("- ")
                  .append(place)
                  .append(methods.isEmpty() ? "" : ": " + String.join(", ", methods))
                  .append('\n'));
    }
    return text.toString();
  }
}
