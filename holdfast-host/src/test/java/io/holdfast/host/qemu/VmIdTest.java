package io.holdfast.host.qemu;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.Names;
import java.util.Optional;
import org.junit.jupiter.api.Test;

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

  @Test
  void keysOfAnotherFormatAreNoVms() {
    VmId unknown = VmId.ofKeys("web~2.0123456789abcdef");
    assertThat(unknown.instance()).isEmpty();
    assertThat(Names.valid(unknown.name())).as("no VM has that name").isFalse();
  }
}
