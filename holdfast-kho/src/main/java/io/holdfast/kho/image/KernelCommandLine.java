package io.holdfast.kho.image;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * A kernel's command line, parted and understood as the kernel does it (lib/cmdline.c,
 * kernel/params.c, lib/kstrtox.c of its source).
 *
 * @param words its parameters, in their order, up to {@code --}: what stands behind that is for
 *     init
 */
record KernelCommandLine(List<Parameter> words) {

  /** What x86 keeps of a command line (COMMAND_LINE_SIZE), in bytes, its final zero included. */
  static final int SIZE = 2048;

  /** One parameter; the value is empty where there is no {@code =}. */
  record Parameter(String name, Optional<String> value) {}

  static KernelCommandLine parse(String given) {
    // The kernel sees bytes: 0xa0 parts words for it, also as a part of some other character.
    String line = new String(given.getBytes(StandardCharsets.UTF_8), StandardCharsets.ISO_8859_1);
    List<Parameter> words = new ArrayList<>();
    int at = 0;
    while (true) {
      while (at < line.length() && isSpace(line.charAt(at))) {
        at++;
      }
      if (at == line.length()) {
        return new KernelCommandLine(List.copyOf(words));
      }
      int start = at;
      boolean inQuotes = false;
      while (at < line.length() && (inQuotes || !isSpace(line.charAt(at)))) {
        if (line.charAt(at) == '"') {
          inQuotes = !inQuotes;
        }
        at++;
      }
      Parameter word = parameter(line.substring(start, at));
      if (word.value().isEmpty() && word.name().equals("--")) {
        return new KernelCommandLine(List.copyOf(words));
      }
      words.add(word);
    }
  }

  /** Quotes around a value, or around all of it, are not part of it. */
  private static Parameter parameter(String word) {
    boolean quoted = word.startsWith("\"");
    String rest = quoted ? word.substring(1) : word;
    int equals = rest.indexOf('=', 1);
    if (equals < 0) {
      return new Parameter(quoted ? withoutLast(rest) : rest, Optional.empty());
    }
    String value = rest.substring(equals + 1);
    if (value.startsWith("\"")) {
      value = withoutLast(value.substring(1));
    } else if (quoted) {
      value = withoutLast(value);
    }
    return new Parameter(rest.substring(0, equals), Optional.of(value));
  }

  private static String withoutLast(String text) {
    return text.endsWith("\"") ? text.substring(0, text.length() - 1) : text;
  }

  private static boolean isSpace(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == '\u00a0';
  }

  /**
   * What a parameter that switches something comes to: the last of its words that makes sense
   * counts; the kernel warns of the others and goes on. Empty if there is none.
   */
  Optional<Boolean> flag(String name) {
    Optional<Boolean> flag = Optional.empty();
    for (Parameter word : words) {
      if (word.name().replace('-', '_').equals(name)) {
        Optional<Boolean> meant = word.value().flatMap(KernelCommandLine::bool);
        flag = meant.isPresent() ? meant : flag;
      }
    }
    return flag;
  }

  /** kstrtobool: the first letter tells, of "on" and "off" the second. */
  private static Optional<Boolean> bool(String value) {
    String start = value.length() < 2 ? value + "  " : value;
    return switch (Character.toLowerCase(start.charAt(0))) {
      case 'e', 'y', 't', '1' -> Optional.of(true);
      case 'd', 'n', 'f', '0' -> Optional.of(false);
      case 'o' ->
          switch (Character.toLowerCase(start.charAt(1))) {
            case 'n' -> Optional.of(true);
            case 'f' -> Optional.of(false);
            default -> Optional.empty();
          };
      default -> Optional.empty();
    };
  }
}
