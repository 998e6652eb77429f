package io.holdfast.varlink;

import io.holdfast.varlink.json.JsonArray;
import io.holdfast.varlink.json.JsonNull;
import io.holdfast.varlink.json.JsonObject;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** A type of an interface definition, and whether a value is of it. */
sealed interface Type {
  /** The types with a keyword of their own. */
  enum Basic implements Type {
    BOOL,
    INT,
    FLOAT,
    STRING,
    OBJECT
  }

  /** {@code ?type}: may be null or missing. */
  record Nullable(Type type) implements Type {}

  /** {@code []type}. */
  record Array(Type type) implements Type {}

  /** {@code [string]type}. */
  record Dictionary(Type type) implements Type {}

  /** {@code (name: type, ...)}. */
  record Struct(Map<String, Type> fields) implements Type {}

  /** {@code (one, two, ...)}. */
  record Enumeration(List<String> values) implements Type {}

  /** A type of the interface by its name. */
  record Reference(String name) implements Type {}

  /**
   * What in a value is not of a type: empty if nothing is, else the path of the first such place,
   * like {@code disks[2].path}.
   *
   * @param path the value's own path, which the answer starts with
   * @param types what references refer to
   */
  static Optional<String> misfit(Type type, Object value, String path, Map<String, Type> types) {
    return switch (type) {
      case Basic basic -> isBasic(basic, value) ? Optional.empty() : Optional.of(path);
      case Nullable nullable ->
          value == JsonNull.NULL ? Optional.empty() : misfit(nullable.type(), value, path, types);
      case Reference reference -> {
        Type referred = types.get(reference.name());
        if (referred == null) {
          throw new IllegalStateException(
              "the parser let through a reference to " + reference.name());
        }
        yield misfit(referred, value, path, types);
      }
      case Enumeration enumeration ->
          value instanceof String s && enumeration.values().contains(s)
              ? Optional.empty()
              : Optional.of(path);
      case Array array -> {
        if (!(value instanceof JsonArray elements)) {
          yield Optional.of(path);
        }
        int index = 0;
        for (Object element : elements) {
          Optional<String> misfit = misfit(array.type(), element, path + "[" + index + "]", types);
          if (misfit.isPresent()) {
            yield misfit;
          }
          index++;
        }
        yield Optional.empty();
      }
      case Dictionary dictionary -> {
        if (!(value instanceof JsonObject object)) {
          yield Optional.of(path);
        }
        for (Map.Entry<String, Object> member : object.members().entrySet()) {
          Optional<String> misfit =
              misfit(
                  dictionary.type(), member.getValue(), path + "[" + member.getKey() + "]", types);
          if (misfit.isPresent()) {
            yield misfit;
          }
        }
        yield Optional.empty();
      }
      case Struct struct ->
          value instanceof JsonObject object
              ? misfit(struct, object, path, types)
              : Optional.of(path);
    };
  }

  private static Optional<String> misfit(
      Struct struct, JsonObject object, String path, Map<String, Type> types) {
    String prefix = path.isEmpty() ? "" : path + ".";
    for (String key : object.keys()) {
      if (!struct.fields().containsKey(key)) {
        return Optional.of(prefix + key);
      }
    }
    for (Map.Entry<String, Type> field : struct.fields().entrySet()) {
      Object member = object.get(field.getKey()).orElse(JsonNull.NULL);
      Optional<String> misfit = misfit(field.getValue(), member, prefix + field.getKey(), types);
      if (misfit.isPresent()) {
        return misfit;
      }
    }
    return Optional.empty();
  }

  private static boolean isBasic(Basic basic, Object value) {
    return switch (basic) {
      case BOOL -> value instanceof Boolean;
      case INT -> value instanceof Long;
      // JSON does not tell 1 from 1.0, so an integer is a float as well.
      case FLOAT -> value instanceof Number;
      case STRING -> value instanceof String;
      case OBJECT -> value instanceof JsonObject;
    };
  }
}
