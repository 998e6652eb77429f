package io.holdfast.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SizeTest {
  @ParameterizedTest
  @CsvSource({
    "1, 1",
    "4096, 4096",
    "1K, 1024",
    "512M, 536870912",
    "512m, 536870912",
    "1G, 1073741824",
    "1GiB, 1073741824",
    "1gb, 1073741824",
    "3T, 3298534883328",
    "9223372036854775807, 9223372036854775807",
    "8388607T, 9223370937343148032"
  })
  void readsExactly(String text, long bytes) {
    assertThat(Size.parse(text)).isEqualTo(bytes);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "", " ", "G", "1.5G", "-1", "+1", "1 G", "1GG", "0x10", "1P", "one", "1G ", "\u0661G", "1e3"
      })
  void refusesRubbish(String text) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Size.parse(text))
        .withMessage(
            "'"
                + text
                + "' is not a size: write a whole number and K, M, G or T, such as 512M or 4G");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"9223372036854775808", "8388608T", "99999999999999999999", "9007199254740992K"})
  void refusesWhatOverflows(String text) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Size.parse(text))
        .withMessageContaining("more than 2^63-1 bytes");
  }

  @ParameterizedTest
  @ValueSource(strings = {"0", "0G", "000"})
  void refusesNothing(String text) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Size.parse(text))
        .withMessageContaining("is nothing");
  }

  @ParameterizedTest
  @CsvSource({
    "1, 1 B",
    "1023, 1023 B",
    "1024, 1 KiB",
    "1536, 1.5 KiB",
    "1073741824, 1 GiB",
    "1610612736, 1.5 GiB",
    "1073741825, 1.0 GiB",
    "5497558138880, 5 TiB",
    "9223372036854775807, 8388608.0 TiB"
  })
  void writesInTheLargestUnit(long bytes, String text) {
    assertThat(Size.text(bytes)).isEqualTo(text);
  }

  @Test
  void whatIsWrittenWholeReadsBack() {
    Random random = new Random(2);
    for (int i = 0; i < 10_000; i++) {
      long bytes = (1L + random.nextInt(1 << 20)) << (10 * random.nextInt(5));
      String text = Size.text(bytes);
      if (!text.contains(".")) {
        assertThat(Size.parse(text.replace(" ", ""))).as(text).isEqualTo(bytes);
      }
    }
  }
}
