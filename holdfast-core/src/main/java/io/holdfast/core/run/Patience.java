package io.holdfast.core.run;

import java.time.Duration;
import java.util.Optional;

/**
 * Multiplies the deadlines of updates and the time that a QEMU has to answer by the environment
 * variable {@value #VARIABLE}, for hosts that are slower than others.
 */
public final class Patience {
  /** The variable: a whole number from 1, which is the default, to {@value #MOST}. */
  public static final String VARIABLE = "HOLDFAST_PATIENCE";

  static final int MOST = 100;

  private static final String TEXT = System.getenv().getOrDefault(VARIABLE, "1");
  private static final int FACTOR = factor(TEXT).orElse(1);

  private Patience() {}

  /** Returns what is wrong with the variable, and what it may be; empty if nothing is wrong. */
  public static Optional<String> mistake() {
    return mistake(TEXT);
  }

  static Optional<String> mistake(String text) {
    return factor(text).isPresent()
        ? Optional.empty()
        : Optional.of(
            VARIABLE
                + "='"
                + text
                + "' is not a whole number from 1 to "
                + MOST
                + "; it multiplies all deadlines");
  }

  /** Returns what the variable multiplies by; 1 if it is not set, or wrong. */
  public static int factor() {
    return FACTOR;
  }

  /** Returns the time that something may take here which usually may take {@code usual}. */
  public static Duration of(Duration usual) {
    return usual.multipliedBy(FACTOR);
  }

  static Optional<Integer> factor(String text) {
    try {
      int factor = Integer.parseInt(text);
      return factor >= 1 && factor <= MOST ? Optional.of(factor) : Optional.empty();
    } catch (NumberFormatException e) {
      return Optional.empty();
    }
  }
}
