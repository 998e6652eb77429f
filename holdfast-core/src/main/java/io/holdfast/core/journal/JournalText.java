package io.holdfast.core.journal;

import io.holdfast.core.state.Action;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.UpdateState;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.zip.CRC32C;

/**
 * The journal as text: one line per record, fields parted by one space, and last the CRC-32C of
 * what stands before it.
 *
 * <pre>{@code
 * began.1 u1 EXEC 1795432800000 disk,vm1 -,4fe29c1077ab03d1 5d0c1f22
 * entered u1 PREPARING 81203388123 0a8b7c11
 * fact u1 vm1 successor.pid 4711 99f1e0c3
 * called u1 vm1 FREEZE 81203388123 81204412331 5f1c0aa2
 * }</pre>
 *
 * <p>In a value, bytes of UTF-8 other than printable ASCII, spaces and {@code %} are written as
 * {@code %} and two hexadecimal digits; an empty value is {@code %}. A line counts once its newline
 * is there.
 *
 * <p>The number in the first line is the journal's format, this one's is 1. Format 0, without the
 * number and without the participants' instances, is read too; others are refused.
 */
public final class JournalText {
  private static final String BEGAN = "began";

  /** The format that is written. */
  private static final int FORMAT = 1;

  private static final String NONE = "-";

  private JournalText() {}

  /**
   * What could be read.
   *
   * @param records the sound records, oldest first
   * @param soundBytes how far the sound lines reach: an implementation truncates the journal here
   *     before it appends again
   * @param damage what is wrong behind that, if anything: a record whose writing was cut off, and
   *     that therefore never took effect
   */
  public record Contents(List<JournalRecord> records, int soundBytes, Optional<String> damage) {
    /** Copies the list. */
    public Contents {
      records = List.copyOf(records);
    }
  }

  /** The record as a line of ASCII, its newline included. */
  // No switch over types: the first run of one makes a class, and guests may be waiting.
  @SuppressWarnings("IfChainToSwitch")
  public static byte[] encode(JournalRecord record) {
    StringBuilder line = new StringBuilder(96);
    if (record instanceof JournalRecord.Began began) {
      line.append(BEGAN).append('.').append(FORMAT).append(' ').append(began.update());
      line.append(' ').append(began.carrier()).append(' ');
      line.append(began.at().toEpochMilli()).append(' ');
      List<String> names = began.participants();
      line.append(names.isEmpty() ? NONE : String.join(",", names)).append(' ');
      line.append(names.isEmpty() ? NONE : began.instances().getOrDefault(names.getFirst(), NONE));
      for (int i = 1; i < names.size(); i++) {
        line.append(',').append(began.instances().getOrDefault(names.get(i), NONE));
      }
    } else if (record instanceof JournalRecord.Entered entered) {
      line.append("entered ")
          .append(entered.update())
          .append(' ')
          .append(entered.state())
          .append(' ');
      line.append(entered.nanoTime());
    } else if (record instanceof JournalRecord.Called called) {
      line.append("called ")
          .append(called.update())
          .append(' ')
          .append(called.participant())
          .append(' ');
      line.append(called.action()).append(' ');
      line.append(called.began()).append(' ').append(called.ended());
    } else if (record instanceof JournalRecord.Fact fact) {
      line.append("fact ").append(fact.update()).append(' ').append(fact.participant()).append(' ');
      line.append(fact.key()).append(' ');
      escape(fact.value(), line);
    } else {
      throw new IllegalStateException("a record that has no line: " + record);
    }
    byte[] body = line.toString().getBytes(StandardCharsets.US_ASCII);
    line.append(' ').append(checksum(body, body.length)).append('\n');
    return line.toString().getBytes(StandardCharsets.US_ASCII);
  }

  /**
   * Reads a journal. A last line without its newline was cut off by a crash: its append never
   * returned, so it took no effect; it is left out, and said.
   *
   * @throws JournalException if a whole line is corrupt, the last one too: it may have been the
   *     commit, and leaving that out could let a guest run twice; or if the journal is of another
   *     format
   */
  public static Contents decode(byte[] journal) {
    List<JournalRecord> records = new ArrayList<>();
    int start = 0;
    for (int number = 1; start < journal.length; number++) {
      int end = start;
      while (end < journal.length && journal[end] != '\n') {
        end++;
      }
      if (end == journal.length) {
        return new Contents(
            records,
            start,
            Optional.of(
                "line " + number + " was cut off after " + (end - start) + " bytes; left out"));
      }
      try {
        records.add(line(Arrays.copyOfRange(journal, start, end)));
      } catch (IllegalArgumentException e) {
        throw new JournalException(
            "line "
                + number
                + " of the journal is whole but corrupt ("
                + e.getMessage()
                + "): no crash does that, and what the update did is not certain. Find out which"
                + " process runs each guest before removing the journal",
            e);
      }
      start = end + 1;
    }
    return new Contents(records, start, Optional.empty());
  }

  private static JournalRecord line(byte[] bytes) {
    int body = bytes.length - 9;
    if (body < 0 || bytes[body] != ' ') {
      throw new IllegalArgumentException("no checksum");
    }
    String text = new String(bytes, StandardCharsets.ISO_8859_1);
    if (!text.substring(body + 1).equals(checksum(bytes, body))) {
      throw new IllegalArgumentException("wrong checksum");
    }
    List<String> fields = new ArrayList<>();
    int start = 0;
    for (int space = body; start <= space; ) {
      int end = text.indexOf(' ', start);
      fields.add(text.substring(start, end));
      start = end + 1;
    }
    String kind = fields.getFirst();
    int format = format(kind);
    int expected =
        switch (kind) {
          case "entered" -> 4;
          case "called", BEGAN + "." + FORMAT -> 6;
          default -> 5;
        };
    if (fields.size() != expected) {
      throw new IllegalArgumentException(fields.size() + " fields where " + expected + " belong");
    }
    UpdateId update = new UpdateId(fields.get(1));
    return switch (kind) {
      case BEGAN, BEGAN + "." + FORMAT -> {
        List<String> names = list(fields.get(4));
        yield new JournalRecord.Began(
            update,
            CarrierKind.valueOf(fields.get(2)),
            Instant.ofEpochMilli(Long.parseLong(fields.get(3))),
            names,
            format == 0 ? Map.of() : instances(names, list(fields.get(5))));
      }
      case "entered" ->
          new JournalRecord.Entered(
              update, UpdateState.valueOf(fields.get(2)), Long.parseLong(fields.get(3)));
      case "called" ->
          new JournalRecord.Called(
              update,
              fields.get(2),
              Action.valueOf(fields.get(3)),
              Long.parseLong(fields.get(4)),
              Long.parseLong(fields.get(5)));
      case "fact" ->
          new JournalRecord.Fact(update, fields.get(2), fields.get(3), unescape(fields.get(4)));
      default -> throw new IllegalArgumentException("unknown record: " + fields.getFirst());
    };
  }

  /** Refuses what another version of Holdfast wrote. */
  private static int format(String kind) {
    if (!kind.startsWith(BEGAN + ".")) {
      return 0;
    }
    if (!kind.equals(BEGAN + "." + FORMAT)) {
      throw new JournalException(
          "the journal is of format "
              + kind.substring(BEGAN.length() + 1)
              + ", and this Holdfast reads formats 0 and "
              + FORMAT
              + ": start the version that wrote it");
    }
    return FORMAT;
  }

  private static List<String> list(String field) {
    return field.equals(NONE) ? List.of() : Arrays.asList(field.split(",", -1));
  }

  private static Map<String, String> instances(List<String> names, List<String> ids) {
    if (ids.size() > names.size()) {
      throw new IllegalArgumentException("more instances than participants");
    }
    Map<String, String> instances = new HashMap<>();
    for (int i = 0; i < ids.size(); i++) {
      if (!ids.get(i).equals(NONE)) {
        instances.put(names.get(i), ids.get(i));
      }
    }
    return instances;
  }

  private static String checksum(byte[] bytes, int length) {
    CRC32C crc = new CRC32C();
    crc.update(bytes, 0, length);
    return HexFormat.of().toHexDigits((int) crc.getValue());
  }

  private static void escape(String value, StringBuilder into) {
    if (value.isEmpty()) {
      into.append('%');
    }
    for (byte b : value.getBytes(StandardCharsets.UTF_8)) {
      if (b > ' ' && b < 127 && b != '%') {
        into.append((char) b);
      } else {
        into.append('%').append(HexFormat.of().toHexDigits(b));
      }
    }
  }

  private static String unescape(String field) {
    if (field.equals("%")) {
      return "";
    }
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (int i = 0; i < field.length(); i++) {
      char c = field.charAt(i);
      if (c == '%') {
        if (i + 3 > field.length()) {
          throw new IllegalArgumentException("half an escape");
        }
        bytes.write(HexFormat.fromHexDigits(field, i + 1, i + 3));
        i += 2;
      } else {
        bytes.write(c);
      }
    }
    return bytes.toString(StandardCharsets.UTF_8);
  }
}
