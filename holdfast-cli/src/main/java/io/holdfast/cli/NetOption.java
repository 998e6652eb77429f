package io.holdfast.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The value of {@code --net}: {@code tap,bridge=BRIDGE[,mac=MAC][,queues=N]}, or {@code
 * user[,mac=MAC][,hostfwd=tcp:[ADDRESS]:PORT-:GUESTPORT]…}, in QEMU's words.
 */
record NetOption(
    String kind,
    Optional<String> mac,
    Optional<String> bridge,
    OptionalLong queues,
    List<Forward> forwards) {
  static final String TAP = "tap,bridge=BRIDGE[,mac=MAC][,queues=N]";
  static final String USER = "user[,mac=MAC][,hostfwd=tcp:[ADDRESS]:PORT-:GUESTPORT]...";

  private static final Pattern FORWARD =
      Pattern.compile("tcp:([0-9.]*):([0-9]{1,5})-:([0-9]{1,5})");

  /** {@code hostfwd=}: without an address all of the host's are meant. */
  record Forward(Optional<String> address, long port, long guestPort) {}

  /**
   * @throws IllegalArgumentException if it is neither, lacks something, or has something that isn't
   *     known or comes twice
   */
  static NetOption parse(String text) {
    List<String> parts = List.of(text.split(",", -1));
    String kind = parts.getFirst();
    if (!kind.equals("tap") && !kind.equals("user")) {
      throw new IllegalArgumentException(
          "'" + text + "' is no network: write " + TAP + ", or " + USER);
    }
    Optional<String> mac = Optional.empty();
    Optional<String> bridge = Optional.empty();
    OptionalLong queues = OptionalLong.empty();
    List<Forward> forwards = new ArrayList<>();
    for (String part : parts.subList(1, parts.size())) {
      int equals = part.indexOf('=');
      String value = part.substring(equals + 1);
      switch (kind + " " + part.substring(0, Math.max(0, equals))) {
        case "tap mac", "user mac" -> mac = once(text, "mac", mac, value);
        case "tap bridge" -> bridge = once(text, "bridge", bridge, value);
        case "tap queues" -> {
          if (queues.isPresent()) {
            throw twice(text, "queues");
          }
          queues = OptionalLong.of(number(text, value));
        }
        case "user hostfwd" -> forwards.add(forward(text, value));
        default ->
            throw new IllegalArgumentException(
                "'"
                    + part
                    + "' in '"
                    + text
                    + "' is not known: write "
                    + (kind.equals("tap") ? TAP : USER));
      }
    }
    if (kind.equals("tap") && bridge.isEmpty()) {
      throw new IllegalArgumentException("'" + text + "' names no bridge: write " + TAP);
    }
    return new NetOption(kind, mac, bridge, queues, List.copyOf(forwards));
  }

  private static Optional<String> once(
      String text, String what, Optional<String> before, String value) {
    if (before.isPresent()) {
      throw twice(text, what);
    }
    if (value.isEmpty()) {
      throw new IllegalArgumentException("'" + text + "' gives no value to " + what);
    }
    return Optional.of(value);
  }

  private static IllegalArgumentException twice(String text, String what) {
    return new IllegalArgumentException("'" + text + "' says " + what + " twice");
  }

  private static long number(String text, String value) {
    if (!value.matches("[1-9][0-9]{0,4}")) {
      throw new IllegalArgumentException(
          "'"
              + value
              + "' in '"
              + text
              + "' is no number of queues: write a whole number from 1 on");
    }
    return Long.parseLong(value);
  }

  private static Forward forward(String text, String value) {
    if (value.startsWith("udp:")) {
      throw new IllegalArgumentException(
          "'"
              + text
              + "' forwards UDP, which Holdfast can't keep open through an update; only TCP, or a bridge (--net tap)");
    }
    Matcher found = FORWARD.matcher(value);
    if (!found.matches()) {
      throw new IllegalArgumentException(
          "'"
              + value
              + "' in '"
              + text
              + "' is no forward: write hostfwd=tcp:[ADDRESS]:PORT-:GUESTPORT, such as hostfwd=tcp:127.0.0.1:2222-:22");
    }
    return new Forward(
        Optional.of(found.group(1)).filter(address -> !address.isEmpty()),
        Long.parseLong(found.group(2)),
        Long.parseLong(found.group(3)));
  }
}
