package io.holdfast.varlink;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;

/** Reads one interface definition by recursive descent; an instance reads once. */
final class InterfaceParser {
  private static final Predicate<String> INTERFACE_NAME =
      Pattern.compile("[A-Za-z](-*[A-Za-z0-9])*(\\.[A-Za-z0-9](-*[A-Za-z0-9])*)+")
          .asMatchPredicate();
  private static final Predicate<String> MEMBER_NAME =
      Pattern.compile("[A-Z][A-Za-z0-9]*").asMatchPredicate();
  private static final Predicate<String> FIELD_NAME =
      Pattern.compile("[A-Za-z](_?[A-Za-z0-9])*").asMatchPredicate();

  /** How deep types may nest; the parser and the checks recurse. */
  private static final int MAX_DEPTH = 64;

  private final String source;
  private int at;
  private int depth;

  /** References found so far, with where they are, to be resolved at the end. */
  private final Map<Integer, String> references = new LinkedHashMap<>();

  InterfaceParser(String source) {
    this.source = source;
  }

  VarlinkInterface parse() {
    keyword("interface");
    String name = word("an interface's name, such as org.example.Thing", INTERFACE_NAME);
    Map<String, VarlinkInterface.Method> methods = new LinkedHashMap<>();
    Map<String, Type> types = new LinkedHashMap<>();
    Map<String, Type.Struct> errors = new LinkedHashMap<>();
    Set<String> names = new HashSet<>();
    while (!atEnd()) {
      int start = at;
      String keyword = word("method, type or error", w -> true);
      switch (keyword) {
        case "method" -> {
          String method = memberName(names);
          Type.Struct in = struct();
          symbol("->");
          methods.put(method, new VarlinkInterface.Method(in, struct()));
        }
        case "type" -> types.put(memberName(names), structOrEnumeration());
        case "error" ->
            errors.put(
                memberName(names),
                !atEnd() && peek() == '(' ? struct() : new Type.Struct(Map.of()));
        default -> throw error(start, "expected method, type or error, found " + keyword);
      }
    }
    references.forEach(
        (where, type) -> {
          if (!types.containsKey(type)) {
            throw error(where, "the type " + type + " is not defined");
          }
        });
    return new VarlinkInterface(name, source, methods, types, errors);
  }

  private String memberName(Set<String> names) {
    skipSpace();
    int start = at;
    String name = word("a name that starts with an uppercase letter", MEMBER_NAME);
    if (!names.add(name)) {
      throw error(start, "the name " + name + " comes twice");
    }
    return name;
  }

  private Type type() {
    if (++depth > MAX_DEPTH) {
      throw error(at, "types nest deeper than " + MAX_DEPTH);
    }
    try {
      char next = peek();
      if (next == '?') {
        at++;
        if (peek() == '?') {
          throw error(at, "?? is no type");
        }
        return new Type.Nullable(type());
      }
      if (next == '[') {
        at++;
        boolean dictionary = peek() != ']';
        if (dictionary) {
          keyword("string");
        }
        symbol("]");
        Type of = type();
        return dictionary ? new Type.Dictionary(of) : new Type.Array(of);
      }
      if (next == '(') {
        return structOrEnumeration();
      }
      int start = at;
      String name = word("a type", w -> true);
      return switch (name) {
        case "bool" -> Type.Basic.BOOL;
        case "int" -> Type.Basic.INT;
        case "float" -> Type.Basic.FLOAT;
        case "string" -> Type.Basic.STRING;
        case "object" -> Type.Basic.OBJECT;
        default -> {
          if (!MEMBER_NAME.test(name)) {
            throw error(
                start,
                "expected a type (bool, int, float, string, object or the name of one), found "
                    + name);
          }
          references.put(start, name);
          yield new Type.Reference(name);
        }
      };
    } finally {
      depth--;
    }
  }

  private Type.Struct struct() {
    skipSpace();
    int start = at;
    if (structOrEnumeration() instanceof Type.Struct struct) {
      return struct;
    }
    throw error(start, "expected fields with types, found an enumeration");
  }

  private Type structOrEnumeration() {
    symbol("(");
    Map<String, Type> fields = new LinkedHashMap<>();
    List<String> values = new ArrayList<>();
    if (peek() == ')') {
      at++;
      return new Type.Struct(fields);
    }
    while (true) {
      skipSpace();
      int start = at;
      String name = word("the name of a field", FIELD_NAME);
      boolean typed = peek() == ':';
      if (typed ? !values.isEmpty() : !fields.isEmpty()) {
        throw error(start, "either every name has a type, or none has");
      }
      if (fields.containsKey(name) || values.contains(name)) {
        throw error(start, "the name " + name + " comes twice");
      }
      if (typed) {
        at++;
        fields.put(name, type());
      } else {
        values.add(name);
      }
      char next = peek();
      if (next != ',' && next != ')') {
        throw error(at, "expected , or ) after " + name + ", found " + next);
      }
      at++;
      if (next == ')') {
        return fields.isEmpty()
            ? new Type.Enumeration(List.copyOf(values))
            : new Type.Struct(fields);
      }
    }
  }

  private void keyword(String keyword) {
    word("the keyword " + keyword, keyword::equals);
  }

  private String word(String expected, Predicate<String> valid) {
    peek();
    int start = at;
    while (at < source.length() && isWordCharacter(source.charAt(at))) {
      // The arrow of a method may follow a name at once.
      if (source.startsWith("->", at)) {
        break;
      }
      at++;
    }
    String word = source.substring(start, at);
    if (word.isEmpty() || !valid.test(word)) {
      throw error(
          start,
          "expected " + expected + ", found " + (word.isEmpty() ? source.charAt(start) : word));
    }
    return word;
  }

  private static boolean isWordCharacter(char c) {
    return (c >= 'a' && c <= 'z')
        || (c >= 'A' && c <= 'Z')
        || (c >= '0' && c <= '9')
        || c == '_'
        || c == '-'
        || c == '.';
  }

  private void symbol(String symbol) {
    char found = peek();
    if (!source.startsWith(symbol, at)) {
      throw error(at, "expected " + symbol + ", found " + found);
    }
    at += symbol.length();
  }

  /** The next character that is neither space nor comment, and goes there. */
  private char peek() {
    if (atEnd()) {
      throw error(source.length(), "the definition ends too early");
    }
    return source.charAt(at);
  }

  private boolean atEnd() {
    skipSpace();
    return at == source.length();
  }

  private void skipSpace() {
    while (at < source.length()) {
      char c = source.charAt(at);
      if (c == '#') {
        int end = source.indexOf('\n', at);
        at = end < 0 ? source.length() : end;
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        at++;
      } else {
        return;
      }
    }
  }

  private InterfaceSyntaxException error(int where, String message) {
    int line = 1;
    int lineStart = 0;
    for (int i = 0; i < where; i++) {
      if (source.charAt(i) == '\n') {
        line++;
        lineStart = i + 1;
      }
    }
    return new InterfaceSyntaxException(line, where - lineStart + 1, message);
  }
}
