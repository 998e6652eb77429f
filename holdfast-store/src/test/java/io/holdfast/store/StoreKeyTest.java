package io.holdfast.store;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.box.Names;
import io.holdfast.promise.Promise;
import io.holdfast.testkit.FormatZero;
import java.io.IOException;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Labels in the descriptor store say what a descriptor is, and of which VM. */
@Promise("agent-can-die")
class StoreKeyTest {
  private static final VmId WEB = new VmId("web", Optional.of("0123456789abcdef"));

  @Test
  @Promise("formats")
  void anInstanceIsNoOthersOfTheName() {
    VmId one = VmId.fresh("web");
    VmId other = VmId.fresh("web");
    assertThat(one).isNotEqualTo(other);
    assertThat(one.text()).isNotEqualTo(other.text()).startsWith("web~1.");
    assertThat(VmId.of(one.text())).isEqualTo(one);
    assertThat(Names.valid(one.instance().orElseThrow())).isTrue();
  }

  @Test
  void aVmOfFormatZeroHasItsNameOnly() {
    VmId old = new VmId("web", Optional.empty());
    assertThat(old.text()).isEqualTo("web");
    assertThat(VmId.of("web")).isEqualTo(old);
    assertThat(BoxId.of("web")).isEqualTo(old);
    assertThat(BoxId.of("@box/web")).isEqualTo(new ServiceBox("web"));
  }

  @Test
  void eachKindHasItsForm() {
    assertForm("web~1.0123456789abcdef/ram", new StoreKey.Inherited(WEB, "ram"));
    assertForm("web~1.0123456789abcdef/device-state", new StoreKey.DeviceState(WEB));
    assertForm(
        "web~1.0123456789abcdef/console@2-qemu", new StoreKey.Backend(WEB, "console", "2-qemu"));
    assertForm("web~1.0123456789abcdef/net0@host-0", new StoreKey.Backend(WEB, "net0", "host-0"));
    assertForm("web/kernel", new StoreKey.Inherited(VmId.named("web"), "kernel"));
    assertForm("@box/cache/index", new StoreKey.InServiceBox(new ServiceBox("cache"), "index"));
    assertForm("@session/holdfast/web", new StoreKey.ArrivedSession("holdfast/web"));
    assertForm(
        "@leaving/b1/holdfast/@box/cache",
        new StoreKey.LeavingSession("b1", "holdfast/@box/cache"));
  }

  private static void assertForm(String text, StoreKey key) {
    assertThat(StoreKey.of(text)).isEqualTo(key);
    assertThat(key.text()).isEqualTo(text);
  }

  /** Else an agent would not find again what another one stored. */
  @Test
  void noKeyHasTheFormOfAnother() {
    assertThatThrownBy(() -> new StoreKey.Inherited(WEB, "device-state"))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> new StoreKey.Inherited(WEB, "net0@1"))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "x", "/ram", "@", "@box/", "@box/cache", "@leaving/b1", "@new/a/b"})
  void whatIsNotKnownStaysAsItIs(String text) {
    assertThat(StoreKey.of(text)).isEqualTo(new StoreKey.Unknown(text));
    assertThat(StoreKey.of(text).group() + StoreKey.of(text).label())
        .isEqualTo(text.replaceFirst("/([^/]*)$", "$1"));
  }

  @Test
  void aBoxIsGroupedAndASessionHasItsKind() {
    assertThat(StoreKey.of("web/console@1-qemu"))
        .returns("web", StoreKey::group)
        .returns("console@1-qemu", StoreKey::label);
    assertThat(StoreKey.of("@box/cache/index"))
        .returns("@box/cache", StoreKey::group)
        .returns("index", StoreKey::label);
    assertThat(StoreKey.of("@session/holdfast/web"))
        .returns("@session/holdfast", StoreKey::group)
        .returns("web", StoreKey::label);
  }

  /** Golden files: the labels that version 0.1.0 gave to what a VM and a box have. */
  @ParameterizedTest
  @ValueSource(strings = {"labels-at-rest", "labels-in-an-update", "labels-arrived"})
  @Promise("formats")
  void labelsOfFormatZeroTellTheirVm(String file) throws IOException {
    Set<String> vms = new HashSet<>();
    int entries = 0;
    for (String label : FormatZero.lines(file)) {
      StoreKey key = StoreKey.of(label);
      assertThat(key.text()).isEqualTo(label);
      assertThat(key).isNotInstanceOf(StoreKey.Unknown.class);
      if (key instanceof StoreKey.OfVm of) {
        assertThat(of.vm().instance()).isEmpty();
        vms.add(of.vm().name());
      } else if (key instanceof StoreKey.InServiceBox) {
        entries++;
      }
    }
    assertThat(vms).contains("vm1").allMatch(Names::valid);
    assertThat(entries).isPositive();
  }

  @Test
  @Promise("formats")
  void keysOfAnotherFormatAreNoVms() {
    VmId unknown = VmId.of("web~2.0123456789abcdef");
    assertThat(unknown.instance()).isEmpty();
    assertThat(Names.valid(unknown.name())).as("no VM has that name").isFalse();
  }
}
