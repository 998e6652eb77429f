package io.holdfast.testbed;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** {@code tools/parts}: what {@code testbed/test --all} runs is every scenario, once. */
class PartsTest {
  private static final Pattern SCENARIOS =
      Pattern.compile("testbed +(\\S+) .* -Dholdfast\\.testbed\\.scenarios=(\\S+) +# .+");

  @Test
  void everyScenarioIsInExactlyOnePart() throws IOException {
    Map<String, Pattern> parts = new HashMap<>();
    for (String line : Files.readAllLines(Path.of("../tools/parts"))) {
      if (line.startsWith("testbed ")) {
        Matcher part = SCENARIOS.matcher(line);
        assertThat(part.matches()).as("%s", line).isTrue();
        assertThat(parts.put(part.group(1), Pattern.compile(part.group(2)))).isNull();
      }
    }
    List<Scenario> scenarios =
        Stream.concat(Scenarios.all().stream(), Scenarios.onRequest().stream()).toList();
    for (Scenario scenario : scenarios) {
      assertThat(parts.entrySet().stream().filter(p -> matches(p.getValue(), scenario)))
          .as("parts with %s", scenario.name())
          .hasSize(1);
    }
    assertThat(parts)
        .as("parts that have a scenario")
        .allSatisfy((_, names) -> assertThat(scenarios).anyMatch(s -> matches(names, s)));
  }

  private static boolean matches(Pattern names, Scenario scenario) {
    return names.matcher(scenario.name()).matches();
  }
}
