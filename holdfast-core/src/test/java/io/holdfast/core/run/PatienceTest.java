package io.holdfast.core.run;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@Promise("slow-is-not-dead")
class PatienceTest {
  @ParameterizedTest
  @ValueSource(strings = {"0", "-1", "101", "1.5", "", " 2", "ten", "99999999999"})
  void namesAWrongFactorAndTheRightOnes(String text) {
    assertThat(Patience.factor(text)).isEmpty();
    assertThat(Patience.mistake(text))
        .hasValueSatisfying(
            mistake ->
                assertThat(mistake).contains("HOLDFAST_PATIENCE='" + text + "'", "from 1 to 100"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"1", "2", "100"})
  void takesWholeNumbers(String text) {
    assertThat(Patience.mistake(text)).isEmpty();
    assertThat(Patience.factor(text)).contains(Integer.parseInt(text));
  }

  @Test
  void multipliesWhatIsUsual() {
    Duration usual = Duration.ofSeconds(3);
    assertThat(Patience.of(usual)).isEqualTo(usual.multipliedBy(Patience.factor()));
  }
}
