package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Result;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the demo shows of a scenario that ended, by what one run of it told. */
class KernelDemoTest {
  private static final Map<String, String> FACTS =
      Map.ofEntries(
          Map.entry("kernel.0.release", "7.3.4-holdfast"),
          Map.entry("kernel.0.version", "#1 SMP PREEMPT_DYNAMIC Sat Nov 28 10:00:00 UTC 2026"),
          Map.entry("kernel.0.boot-id", "5a1f8d3c-5ac5-4d5e-9a34-6fd1d3b8a001"),
          Map.entry("kernel.1.release", "7.3.4-holdfast"),
          Map.entry("kernel.1.version", "#1 SMP PREEMPT_DYNAMIC Sat Nov 28 10:00:00 UTC 2026"),
          Map.entry("kernel.1.boot-id", "c0ffee00-5ac5-4d5e-9a34-6fd1d3b8a002"),
          Map.entry("part.stop", "12"),
          Map.entry("part.save", "310"),
          Map.entry("part.reboot-call-to-init", "9100"),
          Map.entry("part.init-to-unpacking", "4200"),
          Map.entry("part.unpacking", "90"),
          Map.entry("part.unpacked-to-QEMU", "2400"),
          Map.entry("part.QEMU-up", "4100"),
          Map.entry("part.load", "1300"),
          Map.entry("part.resume", "200"),
          Map.entry("part.blackout", "21712"),
          Map.entry("part.floor", "8700"),
          Map.entry("silence", "23104"));

  private static Result.Check check(String name, boolean ok) {
    return new Result.Check(ok, name, Optional.of("figures"));
  }

  private static List<Result.Check> checks() {
    return KernelDemo.TICKS.stream().map(tick -> check(tick, true)).toList();
  }

  private static Result result(
      Result.Outcome outcome, List<Result.Check> checks, Map<String, String> facts) {
    return new Result(
        "kernel-update-shown",
        "it is shown",
        outcome,
        List.of(),
        checks,
        List.of("a note\u001b[31m"),
        facts,
        Optional.empty(),
        Duration.ofMinutes(4),
        Optional.empty());
  }

  private record Shown(boolean good, String text) {}

  private static Shown show(Result result) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (PrintStream out = new PrintStream(bytes, true, StandardCharsets.UTF_8)) {
      boolean good = KernelDemo.show(new Screen(out, false), result);
      return new Shown(good, bytes.toString(StandardCharsets.UTF_8));
    }
  }

  @Test
  void showsKernelsPartsAndTicks() {
    Shown shown = show(result(new Result.Outcome.Passed(), checks(), FACTS));
    assertThat(shown.good()).isTrue();
    assertThat(shown.text())
        .startsWith(
            """

              kernel    before: Linux 7.3.4-holdfast #1 SMP PREEMPT_DYNAMIC Sat Nov 28 10:00:00 UTC 2026, boot id 5a1f8d3c
                        after:  Linux 7.3.4-holdfast #1 SMP PREEMPT_DYNAMIC Sat Nov 28 10:00:00 UTC 2026, boot id c0ffee00

            """)
        .containsPattern("kexec, from the reboot call to the first program +9.10 s +8.70 s\n")
        .containsPattern("together +21.71 s +8.70 s\n")
        .contains("23.10 s for its TCP peer")
        .doesNotContain("✗", "unknown", "a note");
    assertThat(shown.text().lines().filter(line -> line.contains("✓")))
        .hasSameSizeAs(KernelDemo.TICKS);
  }

  static List<String> ticks() {
    return KernelDemo.TICKS;
  }

  @ParameterizedTest
  @MethodSource("ticks")
  @Promise("kernel-update")
  void failsWithoutEachTick(String tick) {
    List<Result.Check> checks = new ArrayList<>(checks());
    checks.removeIf(check -> check.name().equals(tick));
    Shown shown = show(result(new Result.Outcome.Passed(), checks, FACTS));
    assertThat(shown.good()).isFalse();
    assertThat(shown.text()).containsPattern("✗ " + tick + " +was not checked");
  }

  @ParameterizedTest
  @MethodSource("ticks")
  @Promise("kernel-update")
  void failsWhenATickDoesNotHold(String tick) {
    List<Result.Check> checks = new ArrayList<>(checks());
    checks.replaceAll(check -> check.name().equals(tick) ? check(tick, false) : check);
    Shown shown = show(result(new Result.Outcome.Passed(), checks, FACTS));
    assertThat(shown.good()).isFalse();
    assertThat(shown.text()).containsPattern("✗ " + tick + " +figures").contains("Not everything");
  }

  @ParameterizedTest
  @ValueSource(strings = {"part.load", "part.blackout", "part.floor", "silence"})
  void failsWithoutAFigure(String fact) {
    Map<String, String> facts = new HashMap<>(FACTS);
    facts.remove(fact);
    assertThat(show(result(new Result.Outcome.Passed(), checks(), facts)).good()).isFalse();
  }

  @Test
  void saysWhyItFailedWithoutEscapeCodes() {
    Shown shown = show(result(new Result.Outcome.Failed("PANIC: it gave up"), List.of(), Map.of()));
    assertThat(shown.good()).isFalse();
    assertThat(shown.text())
        .contains("a note", "Not everything holds: PANIC: it gave up")
        .doesNotContain("\u001b", "✗", "part of the blackout");
  }

  @Test
  void tellsTheCourseWithTimes() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    AtomicLong now = new AtomicLong();
    try (PrintStream out = new PrintStream(bytes, true, StandardCharsets.UTF_8)) {
      KernelDemoProgress progress = new KernelDemoProgress(new Screen(out, false), now::get);
      progress.progress("booting 7.3.4-holdfast, standard");
      progress.console("[    0.000000] Linux version 7.3.4-holdfast (holdfast@testbed)");
      progress.fact("step", "a Linux guest boots");
      seconds(now, 1);
      progress.fact("stream", "nothing yet");
      seconds(now, 30);
      progress.fact("stream", "nothing yet");
      progress.fact("stream", "16 KiB, last heard 0.1 s ago");
      seconds(now, 1);
      progress.fact("stream", "32 KiB, last heard 0.1 s ago");
      progress.fact("update", "  12.0 ms  PREPARING");
      progress.console("[    0.000000] Linux version 7.3.4-holdfast (holdfast@testbed)");
      progress.console("[    0.000000] KHO: exec from: 7.3.4-holdfast (count 1)");
      seconds(now, 5);
      progress.fact("stream", "48 KiB, last heard 6.0 s ago");
      progress.fact("step", "the floor: a plain kexec");
      progress.fact("part.stop", "12");
      progress.interrupt();
      progress.fact("step", "never");
      assertThat(progress.end()).isFalse();
    }
    assertThat(bytes.toString(StandardCharsets.UTF_8))
        .isEqualTo(
            """
                 0.0 s  the machine boots Linux 7.3.4-holdfast, standard
                 0.0 s  its console: Linux version 7.3.4-holdfast
                 0.0 s  a Linux guest boots
                31.0 s  … a Linux guest boots
                31.0 s  observer: 16 KiB, last heard 0.1 s ago
                32.0 s      12.0 ms  PREPARING
                32.0 s  the old kernel is gone; the next one's console: Linux version 7.3.4-holdfast
                32.0 s  its console: KHO: exec from: 7.3.4-holdfast (count 1)
                37.0 s  observer: 48 KiB, last heard 6.0 s ago
                37.0 s  the floor: a plain kexec
            Interrupted.
            """);
  }

  private static void seconds(AtomicLong clock, int more) {
    long _ = clock.addAndGet(more * 1_000_000_000L);
  }
}
