package io.holdfast.cli;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LengthTest {
  @ParameterizedTest
  @CsvSource({
    "0, 0.0 ms",
    "11449999, 11.4 ms",
    "999000000, 999.0 ms",
    "1000000000, 1.00 s",
    "1354000000, 1.35 s",
    "61000000000, 61.00 s"
  })
  void showsNanoseconds(long nanoseconds, String text) {
    assertThat(DurationText.text(nanoseconds)).isEqualTo(text);
  }

  @ParameterizedTest
  @CsvSource({
    "0, 0 s",
    "59999, 59 s",
    "60000, 1 min 0 s",
    "3661000, 1 h 1 min",
    "273600000, 3 d 4 h"
  })
  void showsUptime(long milliseconds, String text) {
    assertThat(DurationText.uptime(milliseconds)).isEqualTo(text);
  }
}
