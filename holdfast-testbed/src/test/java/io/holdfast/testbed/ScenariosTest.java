package io.holdfast.testbed;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.nio.file.Path;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every scenario, as {@code testbed/run} runs it: {@code mvn verify -Ptestbed}, with
 * HOLDFAST_KERNEL and HOLDFAST_KERNEL_DEBUG naming the kernels. {@code
 * -Dholdfast.testbed.scenarios} takes a regular expression for the names, as {@code tools/parts}
 * gives it.
 */
@Tag("testbed")
class ScenariosTest {
  private static final Path RUNS = Path.of("target/testbed");

  /** The emulated KVM loses a guest now and then. */
  private static final int ATTEMPTS = 3;

  /** What scenarios say then. */
  private static final List<String> LOST =
      List.of(
          "it did not boot again",
          "its heart beats",
          "has no heartbeat page",
          "the machine stopped before it was done",
          "nothing was heard",
          "rcu_sched detected stalls");

  static Stream<String> scenarios() {
    return wanted(Scenarios.all());
  }

  static Stream<String> nightlyScenarios() {
    return wanted(Scenarios.onRequest());
  }

  private static Stream<String> wanted(List<Scenario> scenarios) {
    Pattern names = Pattern.compile(System.getProperty("holdfast.testbed.scenarios", ".*"));
    return scenarios.stream().map(Scenario::name).filter(names.asMatchPredicate());
  }

  @ParameterizedTest(name = "{0}", allowZeroInvocations = true)
  @MethodSource("scenarios")
  void scenario(String name) {
    passes(name, Scenarios.all());
  }

  @Tag("nightly")
  @ParameterizedTest(name = "{0}", allowZeroInvocations = true)
  @MethodSource("nightlyScenarios")
  void nightlyScenario(String name) {
    passes(name, Scenarios.onRequest());
  }

  private static void passes(String name, List<Scenario> among) {
    Scenario scenario = among.stream().filter(s -> s.name().equals(name)).findFirst().orElseThrow();
    Result result = run(scenario, RUNS);
    for (int more = 1; more < ATTEMPTS && lost(scenario, result); more++) {
      // tools/TestSummary.java tells it.
      System.out.println("# run again: " + name + ": " + Ktap.why(result).orElse(""));
      result = run(scenario, RUNS.resolve("more-" + more));
    }
    String why = Ktap.why(result).orElse("");
    assumeFalse(result.outcome() instanceof Result.Outcome.Skipped, why);
    assertThat(result.passed()).as("%s", why).isTrue();
  }

  /**
   * Whether the guest, or the machine with it, is gone or stands, which may be the emulator's
   * doing. What else does not hold, such as a wrong page of a guest that is there, never is.
   */
  private static boolean lost(Scenario scenario, Result result) {
    if (!scenario.onEmulatedKvm() || !(result.outcome() instanceof Result.Outcome.Failed failed)) {
      return false;
    }
    List<String> failing =
        result.checks().stream().filter(check -> !check.ok()).map(Result.Check::name).toList();
    return failing.stream().noneMatch(name -> name.contains("found wrong"))
        && (LOST.stream().anyMatch(failed.why()::contains)
            || failing.stream().anyMatch(name -> LOST.stream().anyMatch(name::contains)));
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
