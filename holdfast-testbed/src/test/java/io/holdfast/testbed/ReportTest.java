package io.holdfast.testbed;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the inside says is what the outside hears, and what people and programs read of it. */
class ReportTest {
  @Test
  void whatIsSaidIsHeard() {
    for (Report report :
        List.of(
            new Report.Boot(2, "7.3.4-holdfast"),
            new Report.Checked(new Result.Check(true, "it is there", Optional.empty())),
            new Report.Checked(
                new Result.Check(false, "its size", Optional.of("expected 1, got 2"))),
            new Report.Note("worth telling"),
            new Report.Fact("part.stop", "12"),
            new Report.Alive(),
            new Report.Skip("no KVM"),
            new Report.Fail("on kernel 0: java.io.IOException: gone"),
            new Report.Kexec(),
            new Report.Done(),
            new Report.Ended("1"))) {
      assertThat(Report.parse(report.line())).isEqualTo(report);
    }
  }

  @Test
  void aShellCanSayIt() {
    assertThat(Report.parse("ok it came back"))
        .isEqualTo(new Report.Checked(new Result.Check(true, "it came back", Optional.empty())));
    assertThat(Report.parse("not ok it came back # it did not"))
        .isEqualTo(
            new Report.Checked(new Result.Check(false, "it came back", Optional.of("it did not"))));
    assertThat(Report.parse("anything else")).isEqualTo(new Report.Note("anything else"));
  }

  @Test
  void severalLinesBecomeOne() {
    assertThat(new Report.Fail("a\n  b\r\nc").line()).isEqualTo("fail a | b | c");
    assertThat(
            Report.parse(
                new Report.Checked(new Result.Check(true, "a # b\nc", Optional.of("d\ne"))).line()))
        .isEqualTo(new Report.Checked(new Result.Check(true, "a - b | c", Optional.of("d | e"))));
  }

  private static String ktap(Result... results) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    Ktap ktap = new Ktap(new PrintStream(bytes, true, StandardCharsets.UTF_8));
    ktap.begin(results.length);
    for (Result result : results) {
      ktap.result(result);
    }
    return bytes.toString(StandardCharsets.UTF_8);
  }

  private static Result result(Result.Outcome outcome, Optional<Path> run, Result.Check... checks) {
    return new Result(
        "it-crosses",
        "it crosses",
        outcome,
        List.of("kernel 0: Linux 7.3.4, 3.0 s after the start"),
        List.of(checks),
        List.of(),
        Map.of(),
        Optional.empty(),
        Duration.ofMillis(12_340),
        run);
  }

  @Test
  void resultsAreKtap() {
    assertThat(
            ktap(
                result(
                    new Result.Outcome.Passed(),
                    Optional.empty(),
                    new Result.Check(true, "its size", Optional.of("4096"))),
                result(new Result.Outcome.Skipped("no kernel"), Optional.empty())))
        .isEqualTo(
            """
            KTAP version 1
            1..2
                KTAP version 1
                # Subtest: it-crosses
                1..1
                # it crosses
                # kernel 0: Linux 7.3.4, 3.0 s after the start
                ok 1 its size: 4096
            ok 1 it-crosses # 12.3 s
                # it crosses
                # kernel 0: Linux 7.3.4, 3.0 s after the start
            ok 2 it-crosses # SKIP no kernel
            """);
  }

  @Test
  void aFailureShowsTheConsolesEnd(@TempDir Path run) throws IOException {
    StringBuilder console = new StringBuilder();
    for (int i = 0; i < 100; i++) {
      console.append("line ").append(i).append("\u001b[31m\r\n");
    }
    Files.writeString(run.resolve(Machine.CONSOLE), console);
    String text = ktap(result(new Result.Outcome.Failed("PANIC: it gave up"), Optional.of(run)));
    assertThat(text)
        .contains("    # PANIC: it gave up\n", "not ok 1 it-crosses # 12.3 s\n", "# | line 99")
        .contains(run.resolve(Machine.CONSOLE).toString())
        .doesNotContain("line 59", "\u001b");
  }

  @Test
  void scenariosHaveNamesOfTheirOwn() {
    List<String> names = Scenarios.all().stream().map(Scenario::name).toList();
    assertThat(names).doesNotHaveDuplicates().allMatch(n -> n.matches("[a-z0-9-]+"));
    assertThat(names).contains("memfd-crosses", "provoked-panic", "kselftest-liveupdate");
  }

  @Test
  void scenariosAreMadeAgainInside() throws ReflectiveOperationException {
    for (Scenario scenario : Scenarios.all()) {
      assertThat(Scenarios.load(scenario.getClass().getName())).hasSameClassAs(scenario);
    }
  }
}
