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
  private final Testbed testbed =
      new Testbed(Testbed.find(), Path.of("target/testbed"), Kernels.fromEnvironment());

  static Stream<String> scenarios() {
    return Scenarios.all().stream().map(Scenario::name);
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("scenarios")
  void scenario(String name) {
    Scenario scenario =
        Scenarios.all().stream().filter(s -> s.name().equals(name)).findFirst().orElseThrow();
    Ktap ktap = new Ktap(System.out);
    Result result =
        testbed.run(
            scenario,
            UnaryOperator.identity(),
            new Testbed.Watcher() {
              @Override
              public void progress(String text) {
                System.out.println("# " + name + ": " + Ktap.printable(text));
              }
            });
    ktap.result(result);
    assumeFalse(
        result.outcome() instanceof Result.Outcome.Skipped, () -> Ktap.why(result).orElseThrow());
    assertThat(result.passed()).as("%s", Ktap.why(result).orElse("")).isTrue();
  }
}
