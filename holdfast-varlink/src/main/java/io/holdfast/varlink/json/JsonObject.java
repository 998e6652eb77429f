package io.holdfast.varlink.json;

import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * An immutable JSON object; its members keep their order, and equality ignores the order.
 *
 * <p>A typed getter such as {@link #string} throws a {@link JsonException} that names the key when
 * the member is missing or of another type. Its optional twin is empty when the member is missing
 * or {@code null}, and throws as well when it is of another type.
 */
public final class JsonObject {
  private static final JsonObject EMPTY = new JsonObject(new LinkedHashMap<>());

  private final Map<String, Object> members;

  /** Takes members that are JSON values already; the map is this object's from now on. */
  JsonObject(Map<String, Object> members) {
    this.members = Collections.unmodifiableMap(members);
  }

  /** The object without members. */
  public static JsonObject empty() {
    return EMPTY;
  }

  /**
   * An object of keys and values in turn: {@code JsonObject.of("name", "web", "memory", 1L << 30)}.
   *
   * <p>Values may be strings, booleans, integers (byte to {@code BigInteger}), floats and doubles,
   * objects, arrays, {@link JsonNull}, any {@link Iterable} (an array) or {@link Map} with string
   * keys (an object) of these, and {@link Optional} or {@link OptionalLong}, which leave their
   * member out when they are empty.
   *
   * @throws IllegalArgumentException if a key is not a string or comes twice, a key has no value,
   *     or a value has no place in JSON (a double that is not finite among them)
   */
  public static JsonObject of(Object... keysAndValues) {
    if (keysAndValues.length % 2 != 0) {
      throw new IllegalArgumentException(
          "the last key has no value: " + keysAndValues[keysAndValues.length - 1]);
    }
    LinkedHashMap<String, Object> members = new LinkedHashMap<>();
    for (int i = 0; i < keysAndValues.length; i += 2) {
      if (!(keysAndValues[i] instanceof String key)) {
        throw new IllegalArgumentException("a key must be a string: " + keysAndValues[i]);
      }
      if (members.containsKey(key)) {
        throw new IllegalArgumentException("the key comes twice: " + key);
      }
      put(members, key, keysAndValues[i + 1]);
    }
    return new JsonObject(members);
  }

  /**
   * An object of a map's members in the map's order, each value converted as {@link #of} says.
   *
   * @throws IllegalArgumentException as {@link #of} does
   */
  public static JsonObject copyOf(Map<?, ?> map) {
    Object[] keysAndValues = new Object[2 * map.size()];
    int i = 0;
    for (Map.Entry<?, ?> entry : map.entrySet()) {
      keysAndValues[i++] = entry.getKey();
      keysAndValues[i++] = entry.getValue();
    }
    return of(keysAndValues);
  }

  private static void put(Map<String, Object> members, String key, Object value) {
    if (value instanceof Optional<?> optional) {
      optional.ifPresent(present -> put(members, key, present));
    } else if (value instanceof OptionalLong optional) {
      optional.ifPresent(present -> members.put(key, present));
    } else {
      members.put(key, Json.value(value));
    }
  }

  /**
   * This object with one member set, at its old place or at the end. The object is copied: to build
   * one of many members, use {@link #copyOf}.
   *
   * @param value as {@link #of} says; an empty {@code Optional} leaves the object as it is
   * @throws IllegalArgumentException if the value has no place in JSON
   */
  public JsonObject with(String key, Object value) {
    LinkedHashMap<String, Object> changed = new LinkedHashMap<>(members);
    put(changed, key, value);
    return new JsonObject(changed);
  }

  /** The keys in order. */
  public Set<String> keys() {
    return members.keySet();
  }

  /** The members in order: an unmodifiable view, its values of the types that the package names. */
  public Map<String, Object> members() {
    return members;
  }

  /** Whether there is no member. */
  public boolean isEmpty() {
    return members.isEmpty();
  }

  /** Whether there is a member of this key, {@code null} or not. */
  public boolean has(String key) {
    return members.containsKey(key);
  }

  /** The value of a key, of one of the types that the package names; empty if there is none. */
  public Optional<Object> get(String key) {
    return Optional.ofNullable(members.get(key));
  }

  /**
   * A string.
   *
   * @throws JsonException if it is missing or something else
   */
  public String string(String key) {
    return required(key, String.class, "string");
  }

  /**
   * An integer that fits in a long.
   *
   * @throws JsonException if it is missing or something else
   */
  public long number(String key) {
    return required(key, Long.class, "integer");
  }

  /**
   * A number, integer or not; an integer beyond 2<sup>53</sup> is rounded.
   *
   * @throws JsonException if it is missing or something else
   */
  public double real(String key) {
    return required(key, Number.class, "number").doubleValue();
  }

  /**
   * A boolean.
   *
   * @throws JsonException if it is missing or something else
   */
  public boolean bool(String key) {
    return required(key, Boolean.class, "boolean");
  }

  /**
   * An object.
   *
   * @throws JsonException if it is missing or something else
   */
  public JsonObject object(String key) {
    return required(key, JsonObject.class, "object");
  }

  /**
   * An array.
   *
   * @throws JsonException if it is missing or something else
   */
  public JsonArray array(String key) {
    return required(key, JsonArray.class, "array");
  }

  /**
   * A string, or empty if it is missing or {@code null}.
   *
   * @throws JsonException if it is something else
   */
  public Optional<String> optionalString(String key) {
    return optional(key, String.class, "string");
  }

  /**
   * An integer that fits in a long, or empty if it is missing or {@code null}.
   *
   * @throws JsonException if it is something else
   */
  public OptionalLong optionalNumber(String key) {
    Optional<Long> found = optional(key, Long.class, "integer");
    return found.isPresent() ? OptionalLong.of(found.get()) : OptionalLong.empty();
  }

  /**
   * A boolean, or empty if it is missing or {@code null}.
   *
   * @throws JsonException if it is something else
   */
  public Optional<Boolean> optionalBool(String key) {
    return optional(key, Boolean.class, "boolean");
  }

  /**
   * An object, or empty if it is missing or {@code null}.
   *
   * @throws JsonException if it is something else
   */
  public Optional<JsonObject> optionalObject(String key) {
    return optional(key, JsonObject.class, "object");
  }

  /**
   * An array, or empty if it is missing or {@code null}.
   *
   * @throws JsonException if it is something else
   */
  public Optional<JsonArray> optionalArray(String key) {
    return optional(key, JsonArray.class, "array");
  }

  private <T> T required(String key, Class<T> type, String name) {
    return typed(key, members.get(key), type, name);
  }

  private <T> Optional<T> optional(String key, Class<T> type, String name) {
    Object value = members.get(key);
    return value == null || value == JsonNull.NULL
        ? Optional.empty()
        : Optional.of(typed(key, value, type, name));
  }

  private <T> T typed(String key, @Nullable Object value, Class<T> type, String name) {
    if (value == null) {
      throw new JsonException(
          "key \"" + key + "\": expected " + name + ", but it is missing; there are " + keys());
    }
    if (!type.isInstance(value)) {
      throw new JsonException(
          "key \"" + key + "\": expected " + name + ", found " + Json.shown(value));
    }
    return type.cast(value);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof JsonObject that && members.equals(that.members);
  }

  @Override
  public int hashCode() {
    return members.hashCode();
  }

  /**
   * The object as JSON in UTF-8, on one line without spaces; it holds no NUL byte and no newline.
   */
  public byte[] bytes() {
    return toString().getBytes(StandardCharsets.UTF_8);
  }

  /** The object as JSON, on one line without spaces. */
  @Override
  public String toString() {
    return Json.write(this, Json.COMPACT);
  }

  /** The object as JSON for people: indented by two, a line a member, no newline at the end. */
  public String pretty() {
    return Json.write(this, Json.PRETTY);
  }
}
