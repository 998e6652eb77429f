package io.holdfast.testbed;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.nio.file.Path;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every scenario, as {@code testbed/run} runs it: {@code mvn verify -Ptestbed}, with
 * HOLDFAST_KERNEL and HOLDFAST_KERNEL_DEBUG naming the kernels.
 */
@Tag("testbed")
class ScenariosTest {
  private static final Path RUNS = Path.of("target/testbed");

  static Stream<String> scenarios() {
    return Scenarios.all().stream().map(Scenario::name);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("scenarios")
  void scenario(String name) {
    Scenario scenario =
        Scenarios.all().stream().filter(s -> s.name().equals(name)).findFirst().orElseThrow();
    Result result = run(scenario, RUNS);
    if (scenario.onEmulatedKvm() && result.outcome() instanceof Result.Outcome.Failed) {
      System.out.println(
          "# " + name + ": once more, as its guest runs on the emulated KVM (docs/testbed.md)");
      result = run(scenario, RUNS.resolve("once-more"));
    }
    String why = Ktap.why(result).orElse("");
    assumeFalse(result.outcome() instanceof Result.Outcome.Skipped, why);
    assertThat(result.passed()).as("%s", why).isTrue();
  }

  private static Result run(Scenario scenario, Path runs) {
    Result result =
        new Testbed(Testbed.find(), runs, Kernels.fromEnvironment())
            .run(
                scenario,
                UnaryOperator.identity(),
                new Testbed.Watcher() {
                  @Override
                  public void progress(String text) {
                    System.out.println("# " + scenario.name() + ": " + Ktap.printable(text));
                  }
                });
    new Ktap(System.out).result(result);
    return result;
  }
}
