package io.holdfast.store;

import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Which VM something belongs to: its name, which another VM may have when this one has ended, and
 * its instance, which no other VM ever has.
 *
 * @param instance 16 hexadecimal digits; empty for a VM that version 0.1.0 started or adopted
 */
public record VmId(String name, Optional<String> instance) {
  /** What parts name and instance in the keeper's labels; the digit is the format. */
  private static final String INSTANCE = "~1.";

  private static final Pattern KEYS = Pattern.compile("(?<name>[^~]+)~1\\.(?<id>[0-9a-f]{16})");

  private static final class Ids {
    static final SecureRandom RANDOM = new SecureRandom();
  }

  /** Returns the id of a new VM. */
  public static VmId fresh(String name) {
    return new VmId(name, Optional.of(HexFormat.of().toHexDigits(Ids.RANDOM.nextLong())));
  }

  /**
   * Returns the id of the VM whose labels in the keeper begin so.
   *
   * @param keys what {@link #keys} returned
   */
  public static VmId ofKeys(String keys) {
    Matcher found = KEYS.matcher(keys);
    return found.matches()
        ? new VmId(found.group("name"), Optional.of(found.group("id")))
        : new VmId(keys, Optional.empty());
  }

  /** Returns what the VM's labels in the keeper begin with, before a slash. */
  public String keys() {
    return name + instance.map(id -> INSTANCE + id).orElse("");
  }

  @Override
  public String toString() {
    return keys();
  }
}
