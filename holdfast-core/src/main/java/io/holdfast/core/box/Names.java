package io.holdfast.core.box;

/** The one rule for names: of boxes, labels, participants, updates. */
public final class Names {
  /** The rule in words. */
  public static final String RULE =
      "1 to 63 characters out of a-z, A-Z, 0-9, '.', '_' and '-', the first a letter or a digit";

  private static final int LONGEST = 63;

  private Names() {}

  /** Whether {@code name} keeps to {@link #RULE}. */
  public static boolean valid(String name) {
    if (name.isEmpty() || name.length() > LONGEST || !letterOrDigit(name.charAt(0))) {
      return false;
    }
    for (int i = 1; i < name.length(); i++) {
      char c = name.charAt(i);
      if (!letterOrDigit(c) && c != '.' && c != '_' && c != '-') {
        return false;
      }
    }
    return true;
  }

  /**
   * Returns {@code name}.
   *
   * @param what it names, for the message, such as {@code label}
   * @throws IllegalArgumentException if it breaks the rule, which the message says
   */
  public static String check(String what, String name) {
    if (!valid(name)) {
      throw new IllegalArgumentException(
          "not a valid " + what + ": \"" + name + "\"; a " + what + " is " + RULE);
    }
    return name;
  }

  private static boolean letterOrDigit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  }
}
