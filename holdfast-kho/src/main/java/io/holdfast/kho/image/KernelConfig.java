package io.holdfast.kho.image;

import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * A kernel's configuration, as {@code /proc/config.gz} has it.
 *
 * @param values what is set, by its name without {@code CONFIG_}: {@code y}, {@code m}, a number or
 *     a text without its quotes
 */
public record KernelConfig(Map<String, String> values) {
  private static final String PREFIX = "CONFIG_";

  public KernelConfig {
    values = Map.copyOf(values);
  }

  /** Reads the text of a configuration; lines that set nothing are left out. */
  public static KernelConfig parse(String text) {
    Map<String, String> values = new HashMap<>();
    for (String line : text.lines().toList()) {
      int equals = line.indexOf('=');
      if (!line.startsWith(PREFIX) || equals < 0) {
        continue;
      }
      String value = line.substring(equals + 1);
      if (value.length() > 1 && value.startsWith("\"") && value.endsWith("\"")) {
        value = value.substring(1, value.length() - 1).replaceAll("\\\\(.)", "$1");
      }
      values.put(line.substring(PREFIX.length(), equals), value);
    }
    return new KernelConfig(values);
  }

  /** Whether an option is built in. */
  public boolean has(String option) {
    return get(option).filter("y"::equals).isPresent();
  }

  /** An option's value; empty when it is not set. */
  public Optional<String> get(String option) {
    return Optional.ofNullable(values.get(option));
  }
}
