package io.holdfast.cli;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Amounts of memory as people write them; every unit is binary, as in QEMU's own options. */
final class Size {
  private static final Pattern WRITTEN =
      Pattern.compile("([0-9]+)([KMGT]?)(?:i?B)?", Pattern.CASE_INSENSITIVE);
  private static final String UNITS = "KMGT";

  private Size() {}

  /**
   * Reads {@code 512M}, {@code 1G}, {@code 1GiB} or a plain number of bytes, exactly.
   *
   * @return bytes, above 0
   * @throws IllegalArgumentException if the text is no size, is 0 or exceeds 2^63-1 bytes; the
   *     message says which
   */
  static long parse(String text) {
    Matcher matcher = WRITTEN.matcher(text);
    if (!matcher.matches()) {
      throw new IllegalArgumentException(
          "'"
              + text
              + "' is not a size: write a whole number and K, M, G or T, such as 512M or 4G");
    }
    String unit = matcher.group(2).toUpperCase(Locale.ROOT);
    long factor = unit.isEmpty() ? 1 : 1L << (10 * (UNITS.indexOf(unit) + 1));
    long bytes;
    try {
      bytes = Math.multiplyExact(Long.parseLong(matcher.group(1)), factor);
    } catch (ArithmeticException | NumberFormatException _) {
      throw new IllegalArgumentException(
          "'" + text + "' is more than 2^63-1 bytes: no machine has that much memory");
    }
    if (bytes == 0) {
      throw new IllegalArgumentException("'" + text + "' is nothing: give at least one byte");
    }
    return bytes;
  }

  /**
   * The size in the largest unit that it fills, to one decimal where it isn't whole: {@code 1.5
   * GiB}.
   */
  static String text(long bytes) {
    if (bytes < 1024) {
      return bytes + " B";
    }
    int unit = 1;
    while (unit < UNITS.length() && bytes >> (10 * (unit + 1)) > 0) {
      unit++;
    }
    long factor = 1L << (10 * unit);
    String number =
        bytes % factor == 0
            ? Long.toString(bytes / factor)
            : String.format(Locale.ROOT, "%.1f", (double) bytes / factor);
    return number + " " + UNITS.charAt(unit - 1) + "iB";
  }
}
