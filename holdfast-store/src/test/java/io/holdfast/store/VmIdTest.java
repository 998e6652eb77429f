package io.holdfast.store;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.box.Names;
import io.holdfast.testkit.FormatZero;
import java.io.IOException;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Labels tell which VM something is of. */
class VmIdTest {
  @Test
  void anInstanceIsNoOthersOfTheName() {
    VmId one = VmId.fresh("web");
    VmId other = VmId.fresh("web");
    assertThat(one).isNotEqualTo(other);
    assertThat(one.keys()).isNotEqualTo(other.keys()).startsWith("web~1.");
    assertThat(VmId.ofKeys(one.keys())).isEqualTo(one);
    assertThat(Names.valid(one.instance().orElseThrow())).isTrue();
  }

  @Test
  void aVmOfFormatZeroHasItsNameOnly() {
    VmId old = new VmId("web", Optional.empty());
    assertThat(old.keys()).isEqualTo("web");
    assertThat(VmId.ofKeys("web")).isEqualTo(old);
    assertThat(VmId.ofKeys("@box/web").keys()).isEqualTo("@box/web");
  }

  /** Golden files: the labels that version 0.1.0 gave to what a VM and a box have. */
  @ParameterizedTest
  @ValueSource(strings = {"labels-at-rest", "labels-in-an-update", "labels-arrived"})
  void labelsOfFormatZeroTellTheirVm(String file) throws IOException {
    Set<String> keys = new HashSet<>();
    for (String label : FormatZero.lines(file)) {
      VmId id = VmId.ofKeys(label.substring(0, label.indexOf('/')));
      assertThat(id.instance()).isEmpty();
      assertThat(label).startsWith(id.keys() + "/");
      keys.add(id.keys());
    }
    assertThat(keys).contains("vm1", "@box");
    assertThat(Names.valid("@box")).as("no VM has that name").isFalse();
  }

  @Test
  void keysOfAnotherFormatAreNoVms() {
    VmId unknown = VmId.ofKeys("web~2.0123456789abcdef");
    assertThat(unknown.instance()).isEmpty();
    assertThat(Names.valid(unknown.name())).as("no VM has that name").isFalse();
  }
}
