package io.holdfast.kexec.manifest;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class KernelLogTest {
  @Test
  void findsWhenTheFirstProgramWasRun() {
    assertThat(
            KernelLog.firstProgram(
                "6,412,3081516,-;Run /usr/lib/systemd/systemd as init process\n"))
        .hasValue(3_081_516_000L);
    assertThat(KernelLog.firstProgram("6,412,7,-,caller=T1;Run /init as init process\n SUB=x\n"))
        .hasValue(7_000L);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "Run /init as init process",
        "6,412;Run /init as init process",
        "6,412,soon,-;Run /init as init process",
        "6,412,99999999999999999999,-;Run /init as init process",
        "6,412,3081516,-;Run /init as init process, they said",
        "4,9,3081516,-;something else\n Run /init as init process",
      })
  void takesNothingElseForIt(String record) {
    assertThat(KernelLog.firstProgram(record)).isEmpty();
  }
}
