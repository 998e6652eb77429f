package io.holdfast.fdt;

import java.util.HexFormat;
import java.util.regex.Pattern;

/**
 * Device trees as source, version 1 of it ({@code /dts-v1/}), as the Devicetree Specification,
 * release v0.4, chapter 6, defines it and {@code dtc} reads it.
 */
public final class FdtSource {
  /** What dtc takes for a name. */
  static final Pattern NAME = Pattern.compile("[a-zA-Z0-9,._+*#?@-]+");

  private FdtSource() {}

  /**
   * The tree as source. What a property's bytes mean is nowhere said, so it is guessed as {@code
   * dtc} does: printable strings if they can be some, else cells if four bytes make one, else
   * bytes. Whatever is guessed, the source makes the same bytes again.
   *
   * @throws FdtException if a name has a character that a blob may have, and source may not
   */
  public static String print(FdtTree tree) {
    StringBuilder out = new StringBuilder("/dts-v1/;\n");
    for (FdtReservation each : tree.reservations()) {
      out.append("/memreserve/ 0x%x 0x%x;\n".formatted(each.address(), each.size()));
    }
    print(tree.root(), "/", "", out.append('\n'));
    return out.toString();
  }

  /**
   * The tree that a source describes. Understood is what {@link #print} and {@code dtc -O dts}
   * write, and what people write by hand without it: comments, labels (which are left out),
   * strings, cells, {@code /bits/}, bytes. References, expressions, includes and plug-ins are not.
   *
   * @throws FdtException whatever can't be understood, with its line and column
   */
  public static FdtTree parse(String source) {
    return new FdtSourceParser(source).parse();
  }

  private static void print(FdtNode node, String name, String indent, StringBuilder out) {
    out.append(indent).append(indent.isEmpty() ? name : checked(name)).append(" {\n");
    for (FdtProperty each : node.properties()) {
      out.append(indent).append('\t').append(checked(each.name()));
      value(each.bytes(), out);
      out.append(";\n");
    }
    boolean first = node.properties().isEmpty();
    for (FdtNode each : node.children()) {
      if (!first) {
        out.append('\n');
      }
      first = false;
      print(each, each.name(), indent + "\t", out);
    }
    out.append(indent).append("};\n");
  }

  /** Otherwise a blob could write into the source whatever it likes. */
  private static String checked(String name) {
    if (!NAME.matcher(name).matches()) {
      throw new FdtException("\"" + name + "\" can't be a name in source");
    }
    return name;
  }

  private static void value(byte[] bytes, StringBuilder out) {
    if (bytes.length == 0) {
      return;
    }
    out.append(" = ");
    if (areStrings(bytes)) {
      strings(bytes, out);
    } else if (bytes.length % 4 == 0) {
      HexFormat hex = HexFormat.of();
      for (int i = 0; i < bytes.length; i += 4) {
        out.append(i == 0 ? "<0x" : " 0x").append(hex.formatHex(bytes, i, i + 4));
      }
      out.append('>');
    } else {
      out.append('[').append(HexFormat.ofDelimiter(" ").formatHex(bytes)).append(']');
    }
  }

  /** Whether they are one or more strings that are printable, none of them empty. */
  private static boolean areStrings(byte[] bytes) {
    byte before = 0;
    for (byte each : bytes) {
      if (each == 0 ? before == 0 : each < ' ' || each > '~') {
        return false;
      }
      before = each;
    }
    return before == 0;
  }

  private static void strings(byte[] bytes, StringBuilder out) {
    out.append('"');
    for (int i = 0; i < bytes.length - 1; i++) {
      switch (bytes[i]) {
        case 0 -> out.append("\", \"");
        case '"', '\\' -> out.append('\\').append((char) bytes[i]);
        default -> out.append((char) bytes[i]);
      }
    }
    out.append('"');
  }
}
