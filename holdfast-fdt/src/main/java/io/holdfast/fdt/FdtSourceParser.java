package io.holdfast.fdt;

import java.io.ByteArrayOutputStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** Reads source by recursive descent. What a word is depends on where it stands. */
final class FdtSourceParser {
  private final String source;
  private int at;

  FdtSourceParser(String source) {
    this.source = source;
  }

  FdtTree parse() {
    expect("/dts-v1/");
    expect(";");
    while (accept("/dts-v1/")) {
      expect(";");
    }
    List<FdtReservation> reservations = new ArrayList<>();
    label();
    while (accept("/memreserve/")) {
      space();
      int start = at;
      FdtReservation reservation =
          new FdtReservation(number(64).longValue(), number(64).longValue());
      if (reservation.address() == 0 && reservation.size() == 0) {
        at = start; // Else it would be read, and no blob could have it.
        throw wrong("a memory reservation of nothing at 0 would end a blob's block of them");
      }
      reservations.add(reservation);
      expect(";");
      label();
    }
    expect("/");
    FdtNode root = new FdtNode("");
    body(root, 1);
    space();
    if (at < source.length()) {
      throw wrong("something behind the root");
    }
    return new FdtTree(0, reservations, root);
  }

  private void body(FdtNode node, int depth) {
    if (depth > FdtBlob.MAX_DEPTH) {
      throw wrong("nodes are more than " + FdtBlob.MAX_DEPTH + " deep");
    }
    expect("{");
    while (!accept("}")) {
      label();
      space();
      int start = at;
      String name = word();
      if (accept("{", false)) {
        try {
          body(node.add(name), depth + 1);
        } catch (FdtException e) {
          throw placed(e, start);
        }
      } else {
        if (!node.children().isEmpty()) {
          at = start;
          throw wrong("property " + name + " behind a child of its node");
        }
        if (node.property(name).isPresent()) {
          at = start;
          throw wrong("a second property " + name);
        }
        byte[] value = accept("=") ? value() : new byte[0];
        expect(";");
        try {
          var _ = node.set(name, value);
        } catch (FdtException e) {
          throw placed(e, start);
        }
      }
    }
    expect(";");
  }

  /** An exception of a tree's own, with its place in the source. */
  private FdtException placed(FdtException e, int start) {
    String said = String.valueOf(e.getMessage());
    if (said.startsWith("line ")) {
      return e;
    }
    at = start;
    return wrong(said);
  }

  private byte[] value() {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    do {
      label();
      space();
      int bits = 32;
      if (accept("/bits/")) {
        bits = number(8).intValue();
        if (bits != 8 && bits != 16 && bits != 32 && bits != 64) {
          throw wrong("/bits/ are 8, 16, 32 or 64, not " + bits);
        }
        expect("<");
        cells(bits, out);
      } else if (accept("<")) {
        cells(bits, out);
      } else if (accept("[")) {
        bytes(out);
      } else if (accept("\"")) {
        string(out);
      } else {
        throw wrong("a value is \"…\", <…> or […]");
      }
      label();
    } while (accept(","));
    return out.toByteArray();
  }

  private void cells(int bits, ByteArrayOutputStream out) {
    label();
    while (!accept(">")) {
      long cell = number(bits).longValue();
      for (int shift = bits - 8; shift >= 0; shift -= 8) {
        out.write((int) (cell >> shift));
      }
      label();
    }
  }

  private void bytes(ByteArrayOutputStream out) {
    label();
    while (!accept("]")) {
      if (at + 2 > source.length() || digit(at, 16) < 0 || digit(at + 1, 16) < 0) {
        throw wrong("a byte is two hexadecimal digits");
      }
      out.write(digit(at, 16) << 4 | digit(at + 1, 16));
      at += 2;
      label();
    }
  }

  private void string(ByteArrayOutputStream out) {
    StringBuilder plain = new StringBuilder();
    while (true) {
      char each = next("a string");
      if (each == '"') {
        flush(plain, out);
        out.write(0);
        return;
      }
      if (each == '\\') {
        flush(plain, out);
        out.write(escaped());
      } else {
        plain.append(each);
      }
    }
  }

  private static void flush(StringBuilder plain, ByteArrayOutputStream out) {
    out.writeBytes(plain.toString().getBytes(StandardCharsets.UTF_8));
    plain.setLength(0);
  }

  private int escaped() {
    char each = next("a string");
    return switch (each) {
      case 'a' -> 7;
      case 'b' -> '\b';
      case 't' -> '\t';
      case 'n' -> '\n';
      case 'v' -> 11;
      case 'f' -> '\f';
      case 'r' -> '\r';
      case 'x' -> digits(16, 2);
      case '0', '1', '2', '3', '4', '5', '6', '7' -> {
        at--;
        yield digits(8, 3);
      }
      default -> {
        if (each > '~') {
          throw wrong("a character above ASCII is not escaped");
        }
        yield each;
      }
    };
  }

  private int digits(int radix, int most) {
    int value = 0;
    int count = 0;
    while (count < most && digit(at, radix) >= 0) {
      value = value * radix + digit(at, radix);
      at++;
      count++;
    }
    if (count == 0 || value > 255) {
      throw wrong("an escape is no byte");
    }
    return value;
  }

  private int digit(int index, int radix) {
    return index < source.length() ? Character.digit(source.charAt(index), radix) : -1;
  }

  private char next(String within) {
    if (at >= source.length()) {
      throw wrong(within + " has no end");
    }
    return source.charAt(at++);
  }

  /** A number of at most so many bits: decimal, or with 0x, or octal with 0, as in C. */
  private BigInteger number(int bits) {
    space();
    int start = at;
    while (at < source.length() && Character.isLetterOrDigit(source.charAt(at))) {
      at++;
    }
    String text = source.substring(start, at);
    at = start;
    String plain = text.toLowerCase(java.util.Locale.ROOT).replaceFirst("u?l{0,2}$", "");
    try {
      BigInteger value =
          plain.startsWith("0x")
              ? new BigInteger(plain.substring(2), 16)
              : new BigInteger(plain, plain.length() > 1 && plain.startsWith("0") ? 8 : 10);
      if (value.bitLength() > bits) {
        throw wrong(text + " has more than " + bits + " bits");
      }
      at += text.length();
      return value;
    } catch (NumberFormatException e) {
      throw wrong(
          "a number is decimal, or 0x and hexadecimal; references and expressions can't be read");
    }
  }

  /** A name. */
  private String word() {
    int start = at;
    while (at < source.length()
        && source.charAt(at) > ' '
        && source.charAt(at) < 0x7f
        && "{}=;<>[]\"&/:".indexOf(source.charAt(at)) < 0) {
      at++;
    }
    if (at == start) {
      throw wrong("a name, or }");
    }
    String name = source.substring(start, at);
    if (!FdtSource.NAME.matcher(name).matches()) {
      at = start; // Else it would be read, and could not be printed.
      throw wrong("a name has letters, digits and any of ,._+*#?@- and nothing else");
    }
    return name;
  }

  /** Leaves out labels. */
  private void label() {
    while (true) {
      space();
      int end = at;
      while (end < source.length()
          && (Character.isLetterOrDigit(source.charAt(end)) || source.charAt(end) == '_')) {
        end++;
      }
      if (end == at || end >= source.length() || source.charAt(end) != ':') {
        return;
      }
      at = end + 1;
    }
  }

  private void space() {
    while (at < source.length()) {
      if (Character.isWhitespace(source.charAt(at))) {
        at++;
      } else if (source.startsWith("//", at)) {
        int end = source.indexOf('\n', at);
        at = end < 0 ? source.length() : end;
      } else if (source.startsWith("/*", at)) {
        int end = source.indexOf("*/", at + 2);
        if (end < 0) {
          throw wrong("a comment has no end");
        }
        at = end + 2;
      } else {
        return;
      }
    }
  }

  private boolean accept(String text) {
    return accept(text, true);
  }

  private boolean accept(String text, boolean take) {
    space();
    if (!source.startsWith(text, at)) {
      return false;
    }
    at += take ? text.length() : 0;
    return true;
  }

  private void expect(String text) {
    if (!accept(text)) {
      throw wrong("expected " + text);
    }
  }

  private FdtException wrong(String what) {
    int line = (int) source.substring(0, at).chars().filter(each -> each == '\n').count() + 1;
    int column = at - source.lastIndexOf('\n', at - 1);
    String found =
        at >= source.length()
            ? "the end"
            : "\""
                + source.substring(at, Math.min(at + 20, source.length())).split("\n", 2)[0]
                + "\"";
    return new FdtException("line %d, column %d, at %s: %s".formatted(line, column, found, what));
  }
}
