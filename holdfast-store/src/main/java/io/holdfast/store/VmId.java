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
public record VmId(String name, Optional<String> instance) implements BoxId {
  /** What parts name and instance in the text; the digit is the format. */
  private static final String INSTANCE = "~1.";

  private static final Pattern TEXT = Pattern.compile("(?<name>[^~]+)~1\\.(?<id>[0-9a-f]{16})");

  private static final class Ids {
    static final SecureRandom RANDOM = new SecureRandom();
  }

  /** Returns the id of a new VM. */
  public static VmId fresh(String name) {
    return new VmId(name, Optional.of(HexFormat.of().toHexDigits(Ids.RANDOM.nextLong())));
  }

  /** Returns the id of whichever VM has a name. */
  public static VmId named(String name) {
    return new VmId(name, Optional.empty());
  }

  /**
   * Returns the id that a text is of.
   *
   * @param text what {@link #text} returned
   */
  public static VmId of(String text) {
    Matcher found = TEXT.matcher(text);
    return found.matches()
        ? new VmId(found.group("name"), Optional.of(found.group("id")))
        : named(text);
  }

  @Override
  public String text() {
    return name + instance.map(id -> INSTANCE + id).orElse("");
  }

  @Override
  public VmId named() {
    return named(name);
  }

  @Override
  public StoreKey.OfVm key(String label) {
    return StoreKey.of(this, label);
  }

  @Override
  public String toString() {
    return text();
  }
}
