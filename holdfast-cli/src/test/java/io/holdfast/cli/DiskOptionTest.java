package io.holdfast.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class DiskOptionTest {
  @Test
  void readsAPathAlone() {
    assertThat(DiskOption.parse("a.img"))
        .isEqualTo(new DiskOption("a.img", Optional.empty(), false, Optional.empty()));
  }

  @Test
  void readsFormatReadonlyAndBusInAnyOrder() {
    DiskOption wanted = new DiskOption("/d/a.img", Optional.of("qcow2"), true, Optional.of("scsi"));
    assertThat(DiskOption.parse("/d/a.img,format=qcow2,readonly,bus=scsi")).isEqualTo(wanted);
    assertThat(DiskOption.parse("/d/a.img,bus=scsi,readonly,format=qcow2")).isEqualTo(wanted);
  }

  @Test
  void takesADoubledCommaForOneOfThePath() {
    assertThat(DiskOption.parse("a,,b,,,format=raw"))
        .isEqualTo(new DiskOption("a,b,", Optional.of("raw"), false, Optional.empty()));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        ",readonly",
        "a,format=vmdk",
        "a,",
        "a,readonly,readonly",
        "a,format=raw,format=raw",
        "a,format=",
        "a,read-only",
        "a,bus=ide",
        "a,bus=scsi,bus=scsi"
      })
  void refusesWhatItDoesNotKnow(String text) {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> DiskOption.parse(text))
        .withMessageContaining("'" + text + "'");
  }
}
