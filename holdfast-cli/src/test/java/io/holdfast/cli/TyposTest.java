package io.holdfast.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TyposTest {
  @ParameterizedTest
  @CsvSource({
    "list, list, 0",
    "lst, list, 1",
    "lsit, list, 1",
    "show, stop, 2",
    "'', vm, 2",
    "kitten, sitting, 3"
  })
  void countsEdits(String from, String to, int edits) {
    assertThat(Typos.edits(from, to)).isEqualTo(edits);
    assertThat(Typos.edits(to, from)).isEqualTo(edits);
  }

  @Test
  @Promise("command")
  void meansTheNearestWordOrNone() {
    List<String> known = List.of("run", "list", "show", "stop");
    assertThat(Typos.meant("lst", known)).contains("list");
    assertThat(Typos.meant("sotp", known)).contains("stop");
    assertThat(Typos.meant("delete", known)).isEmpty();
  }
}
