package io.holdfast.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.cli.Answers.Progress;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import org.junit.jupiter.api.Test;

class ProgressLinesTest {
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final PrintStream out = new PrintStream(bytes, true, UTF_8);

  private static final Progress STARTING =
      new Progress("u7", "web", "PREPARING", "vm:web", "starting QEMU 10.0.2", 1_000_000);
  private static final Progress MAPPED =
      new Progress("u7", "web", "", "vm:web", "memory mapped", 800_000_000);
  private static final Progress FROZEN = new Progress("u7", "web", "FROZEN", "", "", 1_209_340_000);

  @Test
  void printsLinesWhereNobodyWatches() {
    ProgressLines lines = new ProgressLines(out, false, 80);
    lines.show(STARTING);
    lines.show(MAPPED);
    lines.show(FROZEN);
    lines.end();
    assertThat(bytes.toString(UTF_8))
        .isEqualTo(
            """
                1.0 ms  PREPARING     vm:web: starting QEMU 10.0.2
              800.0 ms  PREPARING     vm:web: memory mapped
                1.21 s  FROZEN
            """);
  }

  @Test
  void rewritesTheLineOfAStateOnATerminal() {
    ProgressLines lines = new ProgressLines(out, true, 80);
    lines.show(STARTING);
    lines.show(MAPPED);
    lines.show(FROZEN);
    lines.say("Interrupted");
    lines.show(FROZEN);
    lines.end();
    lines.end();
    assertThat(bytes.toString(UTF_8))
        .isEqualTo(
            "    1.0 ms  PREPARING     vm:web: starting QEMU 10.0.2"
                + "\r\u001b[K  800.0 ms  PREPARING     vm:web: memory mapped\n"
                + "    1.21 s  FROZEN\n"
                + "Interrupted\n"
                + "    1.21 s  FROZEN\n");
  }

  @Test
  void cutsALiveLineSoThatItDoesNotWrap() {
    ProgressLines lines = new ProgressLines(out, true, 20);
    lines.show(STARTING);
    assertThat(bytes.toString(UTF_8)).isEqualTo("    1.0 ms  PREPARI").hasSize(19);
  }
}
