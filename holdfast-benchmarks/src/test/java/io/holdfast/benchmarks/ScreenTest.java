package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;

class ScreenTest {
  private static String shown(boolean terminal, Consumer<Screen> writes) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (PrintStream out = new PrintStream(bytes, true, StandardCharsets.UTF_8)) {
      writes.accept(new Screen(out, terminal));
    }
    return bytes.toString(StandardCharsets.UTF_8);
  }

  private static void everything(Screen screen) {
    screen.title("A title");
    screen.fact("guest", "Linux");
    screen.passing("the guest boots");
    screen.row("%-8s %6s", "one", "1");
    screen.verdict(new Verdict("it holds", true, "1 of 1"));
    screen.verdict(new Verdict("it does not", false, "0 of 1"));
    screen.good("Good.");
    screen.failed("Not good.");
  }

  @Test
  void logHasNoEscapeCodesAndNoPassingLine() {
    assertThat(shown(false, ScreenTest::everything))
        .isEqualTo(
            """

            A title

              guest     Linux
              one           1
              ✓ it holds                                       1 of 1
              ✗ it does not                                    0 of 1
            Good.
            Not good.
            """);
  }

  @Test
  void terminalReplacesThePassingLine() {
    assertThat(
            shown(
                true,
                screen -> {
                  screen.passing("boots");
                  screen.passing("runs");
                  screen.line("done");
                  screen.line("after");
                }))
        .isEqualTo(
            "\r\033[K  \033[2mboots\033[0m\r\033[K  \033[2mruns\033[0m\r\033[Kdone\nafter\n");
  }

  @Test
  void passingLineFitsInATerminal() {
    assertThat(shown(true, screen -> screen.passing("x".repeat(200)))).hasSizeLessThan(100);
  }
}
