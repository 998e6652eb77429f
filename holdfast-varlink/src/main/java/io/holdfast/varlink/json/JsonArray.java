package io.holdfast.varlink.json;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;

/** An immutable JSON array. */
public final class JsonArray implements Iterable<Object> {
  private static final JsonArray EMPTY = new JsonArray(List.of());

  private final List<Object> elements;

  /** Takes elements that are JSON values already; the list is this object's from now on. */
  JsonArray(List<Object> elements) {
    this.elements = elements;
  }

  /** The array without elements. */
  public static JsonArray empty() {
    return EMPTY;
  }

  /**
   * An array of these elements, each converted as {@link JsonObject#of} says.
   *
   * @throws IllegalArgumentException if one of them has no place in JSON
   */
  public static JsonArray of(Object... elements) {
    return copyOf(List.of(elements));
  }

  /**
   * An array of these elements, each converted as {@link JsonObject#of} says.
   *
   * @throws IllegalArgumentException if one of them has no place in JSON
   */
  public static JsonArray copyOf(Iterable<?> elements) {
    List<Object> values = new ArrayList<>();
    for (Object element : elements) {
      values.add(Json.value(element));
    }
    return new JsonArray(values);
  }

  /** How many elements there are. */
  public int size() {
    return elements.size();
  }

  /** Whether there is no element. */
  public boolean isEmpty() {
    return elements.isEmpty();
  }

  /**
   * The element at an index, of one of the types that the package names.
   *
   * @throws IndexOutOfBoundsException if there is none
   */
  public Object get(int index) {
    return elements.get(index);
  }

  /**
   * All elements, which must be strings.
   *
   * @throws JsonException if one is not
   */
  public List<String> strings() {
    return all(String.class, "string");
  }

  /**
   * All elements, which must be integers that fit in a long.
   *
   * @throws JsonException if one is not
   */
  public List<Long> numbers() {
    return all(Long.class, "integer");
  }

  /**
   * All elements, which must be objects.
   *
   * @throws JsonException if one is not
   */
  public List<JsonObject> objects() {
    return all(JsonObject.class, "object");
  }

  private <T> List<T> all(Class<T> type, String name) {
    List<T> found = new ArrayList<>(elements.size());
    for (int i = 0; i < elements.size(); i++) {
      Object element = elements.get(i);
      if (!type.isInstance(element)) {
        throw new JsonException(
            "element " + i + ": expected " + name + ", found " + Json.shown(element));
      }
      found.add(type.cast(element));
    }
    return List.copyOf(found);
  }

  /** The elements in order; removal is not supported. */
  @Override
  public Iterator<Object> iterator() {
    return List.copyOf(elements).iterator();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof JsonArray that && elements.equals(that.elements);
  }

  @Override
  public int hashCode() {
    return elements.hashCode();
  }

  /** The array as JSON, on one line without spaces. */
  @Override
  public String toString() {
    return Json.write(this, Json.COMPACT);
  }
}
