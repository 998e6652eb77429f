package io.holdfast.varlink.json;

import java.io.StringWriter;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonGenerator;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.ObjectWriteContext;
import tools.jackson.core.PrettyPrinter;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.StreamWriteConstraints;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.core.util.DefaultIndenter;
import tools.jackson.core.util.DefaultPrettyPrinter;
import tools.jackson.core.util.Separators;

/** Reads JSON; {@link JsonObject#toString} writes it. */
public final class Json {
  /** The longest text that is read: 16 MiB, as in systemd's Varlink. */
  public static final int MAX_BYTES = 16 << 20;

  /**
   * How deep objects and arrays may nest. Reading and writing recurse, on threads of small stacks.
   */
  public static final int MAX_DEPTH = 200;

  static final ObjectWriteContext COMPACT = ObjectWriteContext.empty();
  static final ObjectWriteContext PRETTY = new Indented();

  private static final JsonFactory FACTORY =
      JsonFactory.builder()
          .streamReadConstraints(
              StreamReadConstraints.builder()
                  .maxNestingDepth(MAX_DEPTH)
                  .maxDocumentLength(MAX_BYTES)
                  .maxStringLength(MAX_BYTES)
                  .maxNumberLength(1000)
                  .maxNameLength(4096)
                  .build())
          .streamWriteConstraints(
              StreamWriteConstraints.builder().maxNestingDepth(MAX_DEPTH).build())
          .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
          .build();

  private Json() {}

  /** As {@link #parse(byte[], int, int)}, of all bytes. */
  public static JsonObject parse(byte[] utf8) {
    return parse(utf8, 0, utf8.length);
  }

  /**
   * Reads one JSON object, which must be all there is.
   *
   * @throws JsonException if it is not: no JSON, not an object, a key that comes twice, more after
   *     it, longer than {@link #MAX_BYTES}, deeper than {@link #MAX_DEPTH}, a number of more than
   *     1000 characters, or one too large for a double
   */
  public static JsonObject parse(byte[] utf8, int offset, int length) {
    if (length > MAX_BYTES) {
      throw new JsonException(
          "JSON of " + length + " bytes, the most that is read is " + MAX_BYTES);
    }
    try (JsonParser parser =
        FACTORY.createParser(ObjectReadContext.empty(), utf8, offset, length)) {
      JsonToken first = parser.nextToken();
      if (first != JsonToken.START_OBJECT) {
        throw new JsonException(
            "expected a JSON object, found " + (first == null ? "nothing" : "something else"));
      }
      JsonObject object = object(parser);
      if (parser.nextToken() != null) {
        throw new JsonException("something follows the JSON object" + where(parser));
      }
      return object;
    } catch (JacksonException e) {
      var location = e.getLocation();
      String place =
          location == null
              ? ""
              : " (line " + location.getLineNr() + ", column " + location.getColumnNr() + ")";
      throw new JsonException("not JSON: " + e.getOriginalMessage() + place, e);
    }
  }

  /** As {@link #parse(byte[], int, int)}, of the text in UTF-8. */
  public static JsonObject parse(String text) {
    return parse(text.getBytes(StandardCharsets.UTF_8));
  }

  private static JsonObject object(JsonParser parser) {
    LinkedHashMap<String, Object> members = new LinkedHashMap<>();
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String key = parser.currentName();
      Object value = value(parser, parser.nextToken());
      // Readers disagree on which of two counts, so a checked value might not be the one used.
      if (members.putIfAbsent(key, value) != null) {
        throw new JsonException("the key \"" + key + "\" comes twice" + where(parser));
      }
    }
    return new JsonObject(members);
  }

  private static JsonArray array(JsonParser parser) {
    List<Object> elements = new ArrayList<>();
    for (JsonToken token = parser.nextToken();
        token != JsonToken.END_ARRAY;
        token = parser.nextToken()) {
      elements.add(value(parser, token));
    }
    return new JsonArray(elements);
  }

  private static Object value(JsonParser parser, JsonToken token) {
    return switch (token) {
      case START_OBJECT -> object(parser);
      case START_ARRAY -> array(parser);
      case VALUE_STRING -> parser.getString();
      case VALUE_TRUE -> true;
      case VALUE_FALSE -> false;
      case VALUE_NULL -> JsonNull.NULL;
      case VALUE_NUMBER_INT ->
          parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER
              ? parser.getBigIntegerValue()
              : (Object) parser.getLongValue();
      case VALUE_NUMBER_FLOAT -> {
        double number = parser.getDoubleValue();
        if (!Double.isFinite(number)) {
          throw new JsonException("a number too large for a double" + where(parser));
        }
        yield number;
      }
      default -> throw new JsonException("unexpected " + token + where(parser));
    };
  }

  private static String where(JsonParser parser) {
    var location = parser.currentTokenLocation();
    return " (line " + location.getLineNr() + ", column " + location.getColumnNr() + ")";
  }

  /** Any value as {@link JsonObject#of} takes it, as one of the types that the package names. */
  // No switch over types: the first run of one makes a class, and guests may be waiting.
  @SuppressWarnings("IfChainToSwitch")
  static Object value(Object value) {
    if (value instanceof String
        || value instanceof Boolean
        || value instanceof Long
        || value instanceof JsonObject
        || value instanceof JsonArray
        || value instanceof JsonNull) {
      return value;
    }
    if (value instanceof Integer || value instanceof Short || value instanceof Byte) {
      return ((Number) value).longValue();
    }
    if (value instanceof BigInteger big) {
      return big.bitLength() < Long.SIZE ? (Object) big.longValue() : big;
    }
    if ((value instanceof Double || value instanceof Float)
        && Double.isFinite(((Number) value).doubleValue())) {
      return ((Number) value).doubleValue();
    }
    if (value instanceof Map<?, ?> map) {
      return JsonObject.copyOf(map);
    }
    if (value instanceof Iterable<?> elements) {
      return JsonArray.copyOf(elements);
    }
    throw new IllegalArgumentException(
        "no place in JSON for " + value.getClass().getName() + ": " + value);
  }

  /** A value's type and, if it is short, the value itself, for errors. */
  static String shown(Object value) {
    return switch (value) {
      case String s -> "string \"" + (s.length() <= 40 ? s : s.substring(0, 40) + "…") + "\"";
      case Boolean b -> "boolean " + b;
      case Long l -> "integer " + l;
      case BigInteger big -> "an integer beyond 64 bits";
      case Double d -> "number " + d;
      case JsonObject object -> "an object";
      case JsonArray array -> "an array";
      default -> "null";
    };
  }

  static String write(Object value, ObjectWriteContext context) {
    StringWriter text = new StringWriter();
    try (JsonGenerator generator = FACTORY.createGenerator(context, text)) {
      write(value, generator);
    } catch (JacksonException e) {
      throw new JsonException("cannot be written as JSON: " + e.getOriginalMessage(), e);
    }
    return text.toString();
  }

  // No switch over types: the first run of one makes a class, and guests may be waiting.
  @SuppressWarnings("IfChainToSwitch")
  private static void write(Object value, JsonGenerator to) {
    if (value instanceof String s) {
      to.writeString(s);
    } else if (value instanceof Boolean b) {
      to.writeBoolean(b);
    } else if (value instanceof Long l) {
      to.writeNumber(l);
    } else if (value instanceof BigInteger big) {
      to.writeNumber(big);
    } else if (value instanceof Double d) {
      to.writeNumber(d);
    } else if (value instanceof JsonArray array) {
      to.writeStartArray();
      for (Object element : array) {
        write(element, to);
      }
      to.writeEndArray();
    } else if (value instanceof JsonObject object) {
      to.writeStartObject();
      object
          .members()
          .forEach(
              (key, member) -> {
                to.writeName(key);
                write(member, to);
              });
      to.writeEndObject();
    } else {
      to.writeNull();
    }
  }

  /** Two spaces a level, an element a line, {@code "key": value}, the same on every platform. */
  private static final class Indented extends ObjectWriteContext.Base {
    @Override
    public boolean hasPrettyPrinter() {
      return true;
    }

    @Override
    public PrettyPrinter getPrettyPrinter() {
      DefaultIndenter twoSpaces = new DefaultIndenter("  ", "\n");
      DefaultPrettyPrinter printer =
          new DefaultPrettyPrinter(
              Separators.createDefaultInstance()
                  .withObjectNameValueSpacing(Separators.Spacing.AFTER)
                  .withObjectEmptySeparator("")
                  .withArrayEmptySeparator(""));
      printer.indentArraysWith(twoSpaces);
      printer.indentObjectsWith(twoSpaces);
      return printer;
    }
  }
}
