package io.holdfast.varlink.json;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.promise.Promise;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonTest {
  /** Another one each night: tools/nightly. */
  private static final long FIRST_SEED = Long.getLong("holdfast.seed", 0);

  private static final JsonObject SAMPLE =
      Json.parse(
          """
          {"s": "ü\\u0000\\n", "n": -7, "r": 2.5, "b": true, "none": null,
           "o": {"x": 1}, "a": [1, "two", null, {}], "big": 18446744073709551615}
          """);

  @Test
  void gettersGiveTypedValues() {
    assertThat(SAMPLE.string("s")).isEqualTo("ü\0\n");
    assertThat(SAMPLE.number("n")).isEqualTo(-7);
    assertThat(SAMPLE.real("r")).isEqualTo(2.5);
    assertThat(SAMPLE.real("n")).isEqualTo(-7.0);
    assertThat(SAMPLE.bool("b")).isTrue();
    assertThat(SAMPLE.object("o")).isEqualTo(JsonObject.of("x", 1));
    assertThat(SAMPLE.array("a"))
        .isEqualTo(JsonArray.of(1, "two", JsonNull.NULL, JsonObject.empty()));
    assertThat(SAMPLE.get("big")).contains(new BigInteger("18446744073709551615"));
    assertThat(SAMPLE.keys()).containsExactly("s", "n", "r", "b", "none", "o", "a", "big");
  }

  @Test
  void optionalGettersAreEmptyOnlyWhenNothingIsThere() {
    assertThat(SAMPLE.optionalString("none")).isEmpty();
    assertThat(SAMPLE.optionalString("absent")).isEmpty();
    assertThat(SAMPLE.optionalNumber("none")).isEmpty();
    assertThat(SAMPLE.optionalNumber("n")).hasValue(-7);
    assertThat(SAMPLE.optionalObject("o")).isPresent();
    assertThat(SAMPLE.optionalArray("a")).isPresent();
    assertThat(SAMPLE.optionalBool("b")).contains(true);
    assertThatThrownBy(() -> SAMPLE.optionalString("n"))
        .isInstanceOf(JsonException.class)
        .hasMessage("key \"n\": expected string, found integer -7");
  }

  @Test
  void aWrongTypeIsNamedWithItsKey() {
    assertThatThrownBy(() -> SAMPLE.number("s"))
        .isInstanceOf(JsonException.class)
        .hasMessageStartingWith("key \"s\": expected integer, found string");
    assertThatThrownBy(() -> SAMPLE.number("big"))
        .hasMessage("key \"big\": expected integer, found an integer beyond 64 bits");
    assertThatThrownBy(() -> SAMPLE.number("r")).hasMessageContaining("found number 2.5");
    assertThatThrownBy(() -> SAMPLE.string("none")).hasMessageContaining("found null");
    assertThatThrownBy(() -> JsonObject.of("x", 1).string("y"))
        .hasMessage("key \"y\": expected string, but it is missing; there are [x]");
    assertThatThrownBy(() -> SAMPLE.array("a").strings())
        .hasMessage("element 0: expected string, found integer 1");
  }

  @Test
  void buildsFromPlainValues() {
    JsonObject built =
        JsonObject.of(
            "i",
            1,
            "l",
            2L,
            "d",
            0.5,
            "list",
            List.of("a", "b"),
            "map",
            Map.of("k", false),
            "gone",
            Optional.empty(),
            "there",
            Optional.of("x"),
            "long",
            OptionalLong.of(3),
            "small",
            BigInteger.TEN);
    assertThat(built)
        .hasToString(
            "{\"i\":1,\"l\":2,\"d\":0.5,\"list\":[\"a\",\"b\"],\"map\":{\"k\":false},"
                + "\"there\":\"x\",\"long\":3,\"small\":10}");
    assertThat(built.with("i", "changed").string("i")).isEqualTo("changed");
    assertThat(built.number("i")).as("the original is immutable").isEqualTo(1);
  }

  @Test
  void refusesWhatHasNoPlaceInJson() {
    assertThatIllegalArgumentException().isThrownBy(() -> JsonObject.of("a", Double.NaN));
    assertThatIllegalArgumentException().isThrownBy(() -> JsonObject.of("a", new Object()));
    assertThatIllegalArgumentException().isThrownBy(() -> JsonObject.of("a"));
    assertThatIllegalArgumentException().isThrownBy(() -> JsonObject.of(1, 2));
    assertThatIllegalArgumentException().isThrownBy(() -> JsonObject.of("a", 1, "a", 2));
  }

  @Test
  void prettyIsTheSameEverywhere() {
    assertThat(JsonObject.of("a", List.of(1, 2), "b", Map.of(), "c", Map.of("d", "e")).pretty())
        .isEqualTo(
            """
            {
              "a": [
                1,
                2
              ],
              "b": {},
              "c": {
                "d": "e"
              }
            }""");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        " ",
        "null",
        "[]",
        "1",
        "\"a\"",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\":1}{}",
        "{\"a\":1} x",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"a\":1e999}",
        "{\"a\":\"\u0001\"}",
        "{\"a\":1,\"a\":1}",
        "{\"a\":[1,2}",
        "{\"a\":\"\\x\"}",
        "/* */{}",
        "{\"a\":'b'}",
        "{\"a\":+1}",
        "{\"a\":tru}"
      })
  void whatIsNoJsonObjectIsRefusedAsSuch(String text) {
    assertThatThrownBy(() -> Json.parse(text)).isInstanceOf(JsonException.class);
  }

  @Test
  void limitsHold() {
    String deep = "{\"a\":".repeat(Json.MAX_DEPTH) + "1" + "}".repeat(Json.MAX_DEPTH);
    assertThat(Json.parse(deep)).hasToString(deep);
    String tooDeep = "{\"a\":" + deep + "}";
    assertThatThrownBy(() -> Json.parse(tooDeep))
        .isInstanceOf(JsonException.class)
        .hasMessageContaining("depth");
    String arrays = "{\"a\":" + "[".repeat(1_000_000);
    assertThatThrownBy(() -> Json.parse(arrays)).isInstanceOf(JsonException.class);
    String digits = "{\"a\":" + "1".repeat(100_000) + "}";
    assertThatThrownBy(() -> Json.parse(digits)).isInstanceOf(JsonException.class);
    assertThatThrownBy(() -> Json.parse(new byte[Json.MAX_BYTES + 1]))
        .isInstanceOf(JsonException.class)
        .hasMessageContaining("16777216");
    String longest = "{\"a\":\"" + "x".repeat(Json.MAX_BYTES - 8) + "\"}";
    assertThat(Json.parse(longest).string("a")).hasSize(Json.MAX_BYTES - 8);
  }

  @Test
  void anErrorSaysWhere() {
    assertThatThrownBy(() -> Json.parse("{\n  \"a\": oops}"))
        .isInstanceOf(JsonException.class)
        .hasMessageContaining("oops")
        .hasMessageContaining("line 2");
  }

  @Test
  void badUtf8IsRefused() {
    byte[] bytes = "{\"a\":\"xy\"}".getBytes(StandardCharsets.ISO_8859_1);
    bytes[6] = (byte) 0xff;
    assertThatThrownBy(() -> Json.parse(bytes)).isInstanceOf(JsonException.class);
  }

  @Test
  void whatIsWrittenReadsBackTheSame() {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 300; seed++) {
      Random random = new Random(seed);
      JsonObject value = object(random, 4);
      assertThat(Json.parse(value.bytes())).as("seed %d", seed).isEqualTo(value);
      assertThat(Json.parse(value.pretty())).as("seed %d", seed).isEqualTo(value);
      assertThat(value.bytes()).as("seed %d", seed).doesNotContain((byte) 0, (byte) '\n');
    }
  }

  @Test
  @Promise("api")
  void damagedTextNeverThrowsAnythingElse() {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 3000; seed++) {
      Random random = new Random(seed);
      byte[] bytes = object(random, 3).bytes();
      for (int i = random.nextInt(3); i >= 0; i--) {
        bytes[random.nextInt(bytes.length)] = (byte) random.nextInt(256);
      }
      try {
        Object _ = Json.parse(bytes, 0, random.nextInt(bytes.length + 1));
      } catch (JsonException expected) {
        assertThat(expected.getMessage()).as("seed %d", seed).isNotEmpty();
      }
    }
  }

  private static JsonObject object(Random random, int depth) {
    Map<String, Object> members = new LinkedHashMap<>();
    for (int i = random.nextInt(6); i > 0; i--) {
      members.put(text(random), value(random, depth - 1));
    }
    return JsonObject.copyOf(members);
  }

  private static Object value(Random random, int depth) {
    return switch (random.nextInt(depth > 0 ? 8 : 6)) {
      case 0 -> text(random);
      case 1 -> random.nextBoolean();
      case 2 -> random.nextLong() >> random.nextInt(64);
      case 3 -> Double.longBitsToDouble(random.nextLong() & 0xbfff_ffff_ffff_ffffL);
      case 4 -> JsonNull.NULL;
      case 5 -> BigInteger.ONE.shiftLeft(70).add(BigInteger.valueOf(random.nextLong()));
      case 6 -> object(random, depth);
      default -> {
        List<Object> elements = new ArrayList<>();
        for (int i = random.nextInt(5); i > 0; i--) {
          elements.add(value(random, depth - 1));
        }
        yield elements;
      }
    };
  }

  private static String text(Random random) {
    StringBuilder text = new StringBuilder();
    for (int i = random.nextInt(12); i > 0; i--) {
      switch (random.nextInt(4)) {
        case 0 -> text.append((char) random.nextInt(0x20));
        case 1 -> text.append("\"\\/".charAt(random.nextInt(3)));
        case 2 -> text.appendCodePoint(0x1f600 + random.nextInt(50));
        default -> text.append((char) (0x20 + random.nextInt(0x2000)));
      }
    }
    return text.toString();
  }
}
