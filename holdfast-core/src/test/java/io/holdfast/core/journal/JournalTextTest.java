package io.holdfast.core.journal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import io.holdfast.promise.Promise;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.Test;

/**
 * The journal's text: what was written is read, and a torn or corrupt last line is left out and
 * said.
 */
final class JournalTextTest {
  private static final UpdateId ID = new UpdateId("u1");
  private static final List<JournalRecord> RECORDS =
      List.of(
          new JournalRecord.Began(
              ID,
              CarrierKind.EXEC,
              Instant.ofEpochMilli(1_790_000_000_123L),
              List.of("disk", "vm-1"),
              Map.of("vm-1", "4fe29c1077ab03d1")),
          new JournalRecord.Entered(ID, UpdateState.PREPARING, 12_345_678_901L),
          new JournalRecord.Called(ID, "vm1", Action.PREPARE, 12_345_678_902L, 12_345_678_999L),
          new JournalRecord.Fact(ID, "vm-1", "successor.pid", "4711"),
          new JournalRecord.Fact(ID, "vm-1", "odd", "100 % of\nlines, äöü 😀\u0000\\"),
          new JournalRecord.Fact(ID, "vm-1", "empty", ""),
          new JournalRecord.Entered(ID, UpdateState.COMMITTED, -5));

  private static byte[] encode(List<JournalRecord> records) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    records.forEach(each -> out.writeBytes(JournalText.encode(each)));
    return out.toByteArray();
  }

  @Test
  @Promise("formats")
  void whatIsWrittenIsRead() {
    JournalText.Contents contents = JournalText.decode(encode(RECORDS));
    assertThat(contents.records()).isEqualTo(RECORDS);
    assertThat(contents.damage()).isEmpty();
    assertThat(contents.soundBytes()).isEqualTo(encode(RECORDS).length);
    assertThat(JournalText.decode(new byte[0]).records()).isEmpty();
  }

  /**
   * Pinned: a journal written by one version must be read by the next. The checksum is from an
   * independent CRC-32C.
   */
  @Test
  @Promise("formats")
  void theFormatIsWhatItWas() {
    assertThat(new String(JournalText.encode(RECORDS.get(1)), StandardCharsets.US_ASCII))
        .isEqualTo("entered u1 PREPARING 12345678901 d8121792\n");
    assertThat(new String(JournalText.encode(RECORDS.getFirst()), StandardCharsets.US_ASCII))
        .startsWith("began.1 u1 EXEC 1790000000123 disk,vm-1 -,4fe29c1077ab03d1 ");
  }

  /** As version 0.1.0 wrote it. */
  @Test
  @Promise("formats")
  void formatZeroIsRead() {
    byte[] old = line("began u1 EXEC 1790000000123 disk,vm-1");
    assertThat(JournalText.decode(old).records())
        .containsExactly(
            new JournalRecord.Began(
                ID,
                CarrierKind.EXEC,
                Instant.ofEpochMilli(1_790_000_000_123L),
                List.of("disk", "vm-1"),
                Map.of()));
  }

  @Test
  @Promise("formats")
  void anotherFormatIsRefusedByItsNumber() {
    assertThatThrownBy(() -> JournalText.decode(line("began.2 u1 EXEC 1 - - more")))
        .isInstanceOf(JournalException.class)
        .hasMessageContaining("format 2")
        .hasMessageContaining("start the version that wrote it");
  }

  private static byte[] line(String body) {
    CRC32C crc = new CRC32C();
    crc.update(body.getBytes(StandardCharsets.US_ASCII));
    String line = body + " " + HexFormat.of().toHexDigits((int) crc.getValue()) + "\n";
    return line.getBytes(StandardCharsets.US_ASCII);
  }

  @Test
  @Promise("formats")
  void anUpdateIsOfItsInstanceOnly() {
    JournalRecord.Began began = (JournalRecord.Began) RECORDS.getFirst();
    assertThat(began.of("vm-1", Optional.of("4fe29c1077ab03d1"))).isTrue();
    assertThat(began.of("vm-1", Optional.of("0000000000000000"))).isFalse();
    assertThat(began.of("vm-1", Optional.empty())).as("of format 0").isTrue();
    assertThat(began.of("disk", Optional.of("0000000000000000"))).as("recorded none").isTrue();
    assertThat(began.of("other", Optional.empty())).isFalse();
  }

  @Test
  @Promise("formats")
  void aWriteCutOffAnywhereLosesOnlyTheLastRecord() {
    byte[] all = encode(RECORDS);
    int sound = 0;
    int records = 0;
    for (int length = 0; length <= all.length; length++) {
      if (length > 0 && all[length - 1] == '\n') {
        sound = length;
        records++;
      }
      JournalText.Contents contents = JournalText.decode(Arrays.copyOf(all, length));
      assertThat(contents.records()).isEqualTo(RECORDS.subList(0, records));
      assertThat(contents.soundBytes()).isEqualTo(sound);
      assertThat(contents.damage().isPresent()).isEqualTo(length != sound);
    }
  }

  /**
   * A whole line that is corrupt may have been the commit: it is not taken for one that a crash cut
   * off.
   */
  @Test
  @Promise("formats")
  void aFlippedBitIsRefused() {
    byte[] all = encode(RECORDS);
    for (int at = 0; at < all.length - 1; at++) {
      for (int bit = 0; bit < 8; bit++) {
        byte[] damaged = all.clone();
        damaged[at] ^= (byte) (1 << bit);
        int place = at;
        assertThatThrownBy(() -> JournalText.decode(damaged))
            .as("byte %d", place)
            .isInstanceOf(JournalException.class)
            .hasMessageContaining("not certain");
      }
    }
  }

  @Test
  void anyValueSurvives() {
    long seed = Long.getLong("holdfast.seed", 20261123);
    Random random = new Random(seed);
    List<JournalRecord> records = new ArrayList<>();
    for (int i = 0; i < 500; i++) {
      StringBuilder value = new StringBuilder();
      for (int n = random.nextInt(40); n > 0; n--) {
        int codePoint = random.nextInt(Character.MAX_CODE_POINT + 1);
        value.appendCodePoint(codePoint >= 0xD800 && codePoint < 0xE000 ? '%' : codePoint);
      }
      records.add(new JournalRecord.Fact(ID, "p", "k", value.toString()));
    }
    assertThat(JournalText.decode(encode(records)).records())
        .as("seed %d", seed)
        .isEqualTo(records);
  }

  @Test
  void longValuesBelongInABox() {
    assertThatThrownBy(() -> new JournalRecord.Fact(ID, "p", "k", "x".repeat(1025)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("1024");
  }
}
