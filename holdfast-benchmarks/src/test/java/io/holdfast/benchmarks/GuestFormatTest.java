package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Random;
import org.junit.jupiter.api.Test;

/** Against the numbers that {@code guest/README.md} gives. */
class GuestFormatTest {
  @Test
  void arithmeticIsTheGuests() {
    assertThat(GuestFormat.mix(1)).isEqualTo(0x5692161d100b05e5L);
    assertThat(GuestFormat.word(GuestFormat.pageSeed(1, 2, 3), 4)).isEqualTo(0xdc833403145d70ddL);
    assertThat(GuestFormat.chain(1, 1, 2)).isEqualTo(0xdbd238973a2b148aL);
    assertThat(GuestFormat.magic(GuestFormat.HEARTBEAT)).isEqualTo(0x76f702921746a22fL);
    assertThat(GuestFormat.magic(GuestFormat.HEARTBEAT + 3)).isEqualTo(0xcce4e36bce332f6fL);
    assertThat(GuestFormat.magic(GuestFormat.PATTERN)).isEqualTo(0x5fafe0cb3313a6e6L);
    assertThat(GuestFormat.magic(GuestFormat.DISK)).isEqualTo(0xb031ac4ab8d08175L);
  }

  @Test
  void mixingIsUndone() {
    Random random = new Random(1);
    for (int i = 0; i < 10_000; i++) {
      long z = random.nextLong();
      assertThat(GuestFormat.unmix(GuestFormat.mix(z))).isEqualTo(z);
      long before = random.nextLong();
      long tsc = random.nextLong();
      assertThat(GuestFormat.tsc(before, i, GuestFormat.chain(before, i, tsc))).isEqualTo(tsc);
    }
  }
}
