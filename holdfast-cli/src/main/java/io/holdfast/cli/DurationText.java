package io.holdfast.cli;

import java.util.Locale;

/** Stretches of time as people read them. */
final class DurationText {
  private DurationText() {}

  /** Nanoseconds as milliseconds to one decimal, without a unit, for a table's column. */
  static String milliseconds(long nanoseconds) {
    return String.format(Locale.ROOT, "%.1f", nanoseconds / 1e6);
  }

  /** Nanoseconds as {@code 11.4 ms} below a second, else as {@code 1.35 s}. */
  static String text(long nanoseconds) {
    return nanoseconds < 1_000_000_000L
        ? milliseconds(nanoseconds) + " ms"
        : String.format(Locale.ROOT, "%.2f s", nanoseconds / 1e9);
  }

  /** Milliseconds of uptime, in its two largest units: {@code 3 d 4 h}. */
  static String uptime(long milliseconds) {
    long seconds = milliseconds / 1000;
    if (seconds < 60) {
      return seconds + " s";
    }
    if (seconds < 3600) {
      return seconds / 60 + " min " + seconds % 60 + " s";
    }
    if (seconds < 86_400) {
      return seconds / 3600 + " h " + seconds % 3600 / 60 + " min";
    }
    return seconds / 86_400 + " d " + seconds % 86_400 / 3600 + " h";
  }
}
