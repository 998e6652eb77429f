package io.holdfast.varlink;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.Json;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class VarlinkInterfaceTest {
  /** Another one each night: tools/nightly. */
  private static final long FIRST_SEED = Long.getLong("holdfast.seed", 0);

  /** Every construct of the language, with comments and spaces where they may be. */
  private static final String EVERYTHING =
      """
      # A comment
      interface org.example-1.thing # and one behind

      type Mode (fast, slow)
      type Node (value: int, next: ?Node)
      type Every (
        b: bool,   # a field's comment
        i: int,
        f: float,
        s: string,
        o: object,
        e: (one, two_2),
        st: (first: int, second: string),
        a: []string,
        d: [string]int,
        set: [string](),
        n: ?string,
        na: ?[](first: int),
        m: Mode
      )
      method Ping(text: string)->(text: string)
      method Nothing() -> ()
      method All(every: Every, node: ?Node) -> (nodes: []Node)
      error Broken (why: string)
      error Plain
      error Empty ()
      """;

  private static final VarlinkInterface IT = VarlinkInterface.parse(EVERYTHING);

  private static final String RIGHT =
      "{\"every\":{\"b\":true,\"i\":1,\"f\":1.5,\"s\":\"\",\"o\":{\"any\":[1]},\"e\":\"two_2\","
          + "\"st\":{\"first\":1,\"second\":\"\"},\"a\":[\"x\"],\"d\":{\"k\":1},\"set\":{\"k\":{}},"
          + "\"na\":[{\"first\":1}],\"m\":\"fast\"}}";

  @Test
  void readsEveryConstruct() {
    assertThat(IT.name()).isEqualTo("org.example-1.thing");
    assertThat(IT.methods()).containsExactly("Ping", "Nothing", "All");
    assertThat(IT.errors()).containsExactly("Broken", "Plain", "Empty");
    assertThat(IT.source()).isEqualTo(EVERYTHING);
    assertThat(IT.wrongParameter("All", Json.parse(RIGHT))).isEmpty();
    assertThat(
            IT.wrongReply("All", Json.parse("{\"nodes\":[{\"value\":1,\"next\":{\"value\":2}}]}")))
        .isEmpty();
    assertThat(IT.wrongError("Plain", Json.parse("{}"))).isEmpty();
    assertThat(IT.wrongError("Broken", Json.parse("{}"))).contains("why");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> IT.wrongParameter("None", Json.parse("{}")));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          "b":true              | "b":1                 | every.b
          "b":true              | "b":null              | every.b
          "b":true,             |                       | every.b
          "i":1,                | "i":1.0,              | every.i
          "i":1,                | "i":9999999999999999999, | every.i
          "f":1.5               | "f":"1.5"             | every.f
          "s":""                | "s":{}                | every.s
          "o":{"any":[1]}       | "o":[]                | every.o
          "e":"two_2"           | "e":"three"           | every.e
          "m":"fast"            | "m":1                 | every.m
          "first":1,"second":"" | "first":1             | every.st.second
          "second":""           | "second":"","third":1 | every.st.third
          "a":["x"]             | "a":["x",2]           | every.a[1]
          "d":{"k":1}           | "d":{"k":"v"}         | every.d[k]
          "set":{"k":{}}        | "set":{"k":1}         | every.set[k]
          "na":[{"first":1}]    | "na":[{"first":"1"}]  | every.na[0].first
          "na":[{"first":1}]    | "na":[],"n":5         | every.n
          "m":"fast"}}          | "m":"fast"},"node":{"value":1,"next":{}}} | node.next.value
          "m":"fast"}}          | "m":"fast"},"extra":null}       | extra
          """)
  void namesTheFirstWrongPlace(String right, String wrong, String path) {
    String text = RIGHT.replace(right, wrong == null ? "" : wrong);
    assertThat(text).as("the case changes something").isNotEqualTo(RIGHT);
    assertThat(IT.wrongParameter("All", Json.parse(text))).contains(path);
  }

  @Test
  void anIntegerIsAFloatAndNullIsAMissingValue() {
    String text =
        RIGHT.replace("1.5", "2").replace("\"na\":[{\"first\":1}]", "\"na\":null,\"n\":null");
    assertThat(IT.wrongParameter("All", Json.parse(text))).isEmpty();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          interfac a.b                              | 1 | 1  | the keyword interface
          interface ab                              | 1 | 11 | org.example.Thing
          interface a..b                            | 1 | 11 | org.example.Thing
          interface a.b;method foo() -> ()          | 2 | 8  | uppercase
          interface a.b;method Foo() > ()           | 2 | 14 | expected ->
          interface a.b;method Foo() -> (;          | 3 | 1  | ends too early
          interface a.b;method Foo(a: integer) ->() | 2 | 15 | found integer
          interface a.b;method Foo(a: Other) -> ()  | 2 | 15 | Other is not defined
          interface a.b;method Foo(_a: int) -> ()   | 2 | 12 | name of a field
          interface a.b;method Foo(a_: int) -> ()   | 2 | 12 | name of a field
          interface a.b;method Foo(a: ??int) -> ()  | 2 | 16 | ??
          interface a.b;method Foo(a: [int]int)->() | 2 | 16 | keyword string
          interface a.b;method Foo(a, b) -> ()      | 2 | 11 | enumeration
          interface a.b;type Foo (a, b: int)        | 2 | 14 | either every name
          interface a.b;type Foo (a: int, b)        | 2 | 19 | either every name
          interface a.b;type Foo (a: int, a: int)   | 2 | 19 | comes twice
          interface a.b;type Foo (a: int b: int)    | 2 | 18 | expected , or )
          interface a.b;type Foo (a);error Foo ()   | 3 | 7  | comes twice
          interface a.b;type Foo int                | 2 | 10 | expected (
          interface a.b;struct Foo (a: int)         | 2 | 1  | found struct
          interface a.b;  !                         | 2 | 3  | found !
          """)
  void aSyntaxErrorSaysWhereAndWhat(String text, int line, int column, String message) {
    var e =
        catchThrowableOfType(
            InterfaceSyntaxException.class, () -> VarlinkInterface.parse(text.replace(";", "\n")));
    assertThat(e).isNotNull();
    assertThat(e).hasMessageContaining(message);
    assertThat(e.line()).as(e.getMessage()).isEqualTo(line);
    assertThat(e.column()).as(e.getMessage()).isEqualTo(column);
  }

  @Test
  void deepNestingIsRefusedAndDoesNotOverflow() {
    var e =
        catchThrowableOfType(
            InterfaceSyntaxException.class,
            () ->
                VarlinkInterface.parse(
                    "interface a.b\ntype T (a: " + "[]".repeat(100_000) + "int)"));
    assertThat(e).hasMessageContaining("deeper");
  }

  @Test
  @Promise("api")
  void damagedDefinitionsThrowNothingElse() {
    for (long seed = FIRST_SEED; seed < FIRST_SEED + 3000; seed++) {
      Random random = new Random(seed);
      StringBuilder text = new StringBuilder(EVERYTHING);
      for (int i = random.nextInt(4); i >= 0; i--) {
        int at = random.nextInt(text.length());
        if (random.nextBoolean()) {
          text.setCharAt(at, "()[]?:,->#\n a".charAt(random.nextInt(13)));
        } else {
          text.delete(at, Math.min(text.length(), at + random.nextInt(20)));
        }
      }
      try {
        Object _ = VarlinkInterface.parse(text.toString());
      } catch (InterfaceSyntaxException expected) {
        assertThat(expected.line()).as("seed %d", seed).isPositive();
      }
    }
  }
}
