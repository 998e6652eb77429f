package io.holdfast.vm.option;

import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonObject;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.UnaryOperator;

/**
 * The value of a QEMU option that has properties, in either of QEMU's two forms: {@code
 * file,id=a,path=b} (a comma that belongs to a value is doubled, the first property's key may be
 * left out) or JSON. Changing a property keeps the form and everything else as it was written.
 */
public sealed interface OptionText {
  /**
   * Reads a value.
   *
   * @param implied the key of a first property that has none, such as {@code driver}
   * @throws IllegalArgumentException if it is JSON and damaged
   */
  static OptionText parse(String text, String implied) {
    if (text.startsWith("{")) {
      try {
        return new OfJson(Json.parse(text));
      } catch (JsonException e) {
        throw new IllegalArgumentException("option value " + text + ": " + e.getMessage(), e);
      }
    }
    List<Pair> pairs = new ArrayList<>();
    int at = 0;
    while (at < text.length()) {
      StringBuilder part = new StringBuilder();
      at = part(text, at, part);
      pairs.add(pair(part.toString(), pairs.isEmpty(), implied));
    }
    return new OfPairs(implied, pairs);
  }

  /**
   * Appends what stands before the next comma that parts two properties; returns where the next
   * begins.
   */
  private static int part(String text, int from, StringBuilder into) {
    int at = from;
    while (at < text.length()) {
      char c = text.charAt(at++);
      if (c == ',') {
        if (at == text.length() || text.charAt(at) != ',') {
          return at;
        }
        at++;
      }
      into.append(c);
    }
    return at;
  }

  private static Pair pair(String part, boolean first, String implied) {
    int equals = part.indexOf('=');
    if (equals >= 0) {
      return new Pair(part.substring(0, equals), Optional.of(part.substring(equals + 1)));
    }
    return first && !implied.isEmpty()
        ? new Pair(implied, Optional.of(part))
        : new Pair(part, Optional.empty());
  }

  /**
   * A property's value as text ({@code on} and {@code off} for truth values); nested ones of JSON
   * by dots.
   */
  Optional<String> get(String key);

  /** The same with a property set, at the end if it is new. */
  OptionText with(String key, String value);

  /** The same with a property set to a number, which JSON writes without quotes. */
  OptionText with(String key, int value);

  /** The same without a property. */
  OptionText without(String key);

  /**
   * The same with every value changed whose key is {@code key}, or ends with it after a dot or
   * deeper in JSON.
   */
  OptionText mapEach(String key, UnaryOperator<String> change);

  /** The properties as they were written; of JSON those that are no objects or arrays. */
  List<Pair> pairs();

  /** Whether a property is on. */
  default boolean isOn(String key) {
    return get(key).filter(v -> v.equals("on") || v.equals("yes") || v.equals("true")).isPresent();
  }

  /** A property's value, or {@code otherwise}. */
  default String get(String key, String otherwise) {
    return get(key).orElse(otherwise);
  }

  /**
   * One property as it was written; without a value it is a flag that is on, or off after {@code
   * no}.
   */
  record Pair(String key, Optional<String> value) {}

  /** Text. */
  record OfPairs(String implied, List<Pair> pairs) implements OptionText {
    public OfPairs {
      pairs = List.copyOf(pairs);
    }

    @Override
    public Optional<String> get(String key) {
      Optional<String> found = Optional.empty();
      for (Pair pair : pairs) {
        // The last one counts.
        if (pair.key().equals(key)) {
          found = Optional.of(pair.value().orElse("on"));
        } else if (pair.value().isEmpty() && pair.key().equals("no" + key)) {
          found = Optional.of("off");
        }
      }
      return found;
    }

    @Override
    public OptionText with(String key, String value) {
      List<Pair> changed = new ArrayList<>();
      boolean there = false;
      for (Pair pair : pairs) {
        if (!names(pair, key)) {
          changed.add(pair);
        } else if (!there) {
          changed.add(new Pair(key, Optional.of(value)));
          there = true;
        }
      }
      if (!there) {
        changed.add(new Pair(key, Optional.of(value)));
      }
      return new OfPairs(implied, changed);
    }

    @Override
    public OptionText with(String key, int value) {
      return with(key, Integer.toString(value));
    }

    @Override
    public OptionText without(String key) {
      return new OfPairs(implied, pairs.stream().filter(p -> !names(p, key)).toList());
    }

    @Override
    public OptionText mapEach(String key, UnaryOperator<String> change) {
      return new OfPairs(
          implied,
          pairs.stream()
              .map(
                  p ->
                      p.key().equals(key) || p.key().endsWith("." + key)
                          ? new Pair(p.key(), p.value().map(change))
                          : p)
              .toList());
    }

    private static boolean names(Pair pair, String key) {
      return pair.key().equals(key) || (pair.value().isEmpty() && pair.key().equals("no" + key));
    }

    @Override
    public String toString() {
      StringBuilder text = new StringBuilder();
      for (Pair pair : pairs) {
        boolean bare =
            text.isEmpty() && pair.key().equals(implied) && value(pair).matches("[^={]+");
        text.append(text.isEmpty() ? "" : ",")
            .append(bare || pair.value().isEmpty() ? "" : pair.key() + "=")
            .append(pair.value().isEmpty() ? pair.key() : value(pair).replace(",", ",,"));
      }
      return text.toString();
    }

    private static String value(Pair pair) {
      return pair.value().orElse("");
    }
  }

  /** JSON. */
  record OfJson(JsonObject json) implements OptionText {
    @Override
    public Optional<String> get(String key) {
      Optional<Object> whole = json.get(key);
      if (whole.isPresent()) {
        return whole.flatMap(OfJson::text);
      }
      int dot = key.indexOf('.');
      return dot > 0 && json.get(key.substring(0, dot)).orElse("") instanceof JsonObject inner
          ? new OfJson(inner).get(key.substring(dot + 1))
          : Optional.empty();
    }

    @Override
    public List<Pair> pairs() {
      List<Pair> pairs = new ArrayList<>();
      for (String key : json.keys()) {
        json.get(key)
            .flatMap(OfJson::text)
            .ifPresent(value -> pairs.add(new Pair(key, Optional.of(value))));
      }
      return pairs;
    }

    private static Optional<String> text(Object value) {
      return switch (value) {
        case Boolean b -> Optional.of(b ? "on" : "off");
        case String s -> Optional.of(s);
        case Number n -> Optional.of(n.toString());
        default -> Optional.empty();
      };
    }

    @Override
    public OptionText with(String key, String value) {
      Object typed =
          switch (value) {
            case "on" -> true;
            case "off" -> false;
            default -> value;
          };
      return new OfJson(json.with(key, typed));
    }

    @Override
    public OptionText with(String key, int value) {
      return new OfJson(json.with(key, value));
    }

    @Override
    public OptionText without(String key) {
      JsonObject rest = JsonObject.empty();
      for (var member : json.members().entrySet()) {
        if (!member.getKey().equals(key)) {
          rest = rest.with(member.getKey(), member.getValue());
        }
      }
      return new OfJson(rest);
    }

    @Override
    public OptionText mapEach(String key, UnaryOperator<String> change) {
      JsonObject changed = JsonObject.empty();
      for (var member : json.members().entrySet()) {
        Object value =
            switch (member.getValue()) {
              case String s when member.getKey().equals(key) -> change.apply(s);
              case JsonObject inner -> ((OfJson) new OfJson(inner).mapEach(key, change)).json();
              default -> member.getValue();
            };
        changed = changed.with(member.getKey(), value);
      }
      return new OfJson(changed);
    }

    @Override
    public String toString() {
      return json.toString();
    }
  }
}
