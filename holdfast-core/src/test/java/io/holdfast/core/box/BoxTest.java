package io.holdfast.core.box;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.core.state.Actor;
import io.holdfast.core.state.CarrierKind;
import io.holdfast.core.state.RefusedException;
import io.holdfast.core.state.UpdateMachine;
import io.holdfast.core.state.UpdateState;
import io.holdfast.linux.Fd;
import io.holdfast.linux.Kernel;
import io.holdfast.promise.Promise;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Ownership in boxes, and the rule for names. */
final class BoxTest {
  private final List<Long> closed = new ArrayList<>();
  private final Kernel kernel =
      (call, a, b, c, d, e, f) -> {
        closed.add(a);
        return 0;
      };

  private Fd fd(int number) {
    return Fd.own(kernel, number, "fd " + number);
  }

  @Test
  void closingABoxClosesWhatItOwnsOnce() {
    Box box = new Box("vm1", "vm1");
    box.put("a", fd(1), "memfd");
    box.put("b", fd(2), "socket");
    box.put("note", new byte[] {1, 2});
    Entry taken = box.take("a", Actor.ANYONE);

    box.close();
    box.close();

    assertThat(closed).containsExactly(2L);
    taken.close();
    assertThat(closed).containsExactly(2L, 1L);
    Fd late = fd(3);
    assertThatThrownBy(() -> box.put("c", late, "memfd")).isInstanceOf(IllegalStateException.class);
    assertThat(late.isOpen()).isTrue();
  }

  @Test
  @Promise("boxes")
  void aRefusedPutLeavesTheDescriptorWithTheCaller() {
    try (Box box = new Box("vm1", "vm1")) {
      box.put("a", fd(1), "memfd");
      Fd second = fd(2);
      assertThatThrownBy(() -> box.put("a", second, "memfd"))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("label a: the label is in use");
      assertThatThrownBy(() -> box.put("no/label", second, "memfd"))
          .hasMessageContaining(Names.RULE);
      assertThatThrownBy(() -> box.put("b", second, "no kind")).hasMessageContaining(Names.RULE);
      assertThat(second.isOpen()).isTrue();
      second.close();
      assertThatThrownBy(() -> box.put("b", second, "memfd"))
          .isInstanceOf(IllegalStateException.class);
      assertThatThrownBy(() -> box.remove("x"))
          .hasMessageContaining("no entry labelled \"x\"; it has [a]");
    }
    assertThat(closed).containsExactly(2L, 1L);
  }

  @Test
  void aBlobIsAPageAtMost() {
    try (Box box = new Box("vm1", "vm1")) {
      byte[] page = new byte[4096];
      box.put("page", page);
      page[0] = 1;
      assertThat(box.get("page")).contains(new Entry.Blob(new byte[4096]));
      assertThatThrownBy(() -> box.put("more", new byte[4097]))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("4097")
          .hasMessageContaining("memfd");
    }
  }

  @Test
  void aBoxOfAnUpdateThatWaitsIsGivenUpOrLeavesIt() {
    UpdateMachine waiting = new UpdateMachine(CarrierKind.KEXEC, UpdateState.RESTORING);
    Box box = new Box("vm1", "vm1");
    box.put("a", fd(1), "memfd");
    box.rejoin(waiting);
    assertThatThrownBy(box::close).isInstanceOf(RefusedException.class);
    assertThat(closed).isEmpty();

    box.leave();
    box.join(new UpdateMachine(CarrierKind.EXEC));
    box.rejoin(waiting);

    box.discard();
    box.discard();
    box.close();
    assertThat(closed).containsExactly(1L);
    assertThat(box.entries()).isEmpty();
  }

  @Test
  void aBoxInOneUpdateIsNotTakenIntoAnother() {
    Box box = new Box("vm1", "vm1");
    UpdateMachine first = new UpdateMachine(CarrierKind.EXEC);
    box.join(first);
    first.enter(UpdateState.PREPARING);
    assertThatThrownBy(() -> box.join(new UpdateMachine(CarrierKind.EXEC)))
        .isInstanceOf(RefusedException.class)
        .hasMessageContaining("PREPARING");
    first.enter(UpdateState.CANCELLING);
    first.enter(UpdateState.NORMAL);
    box.join(new UpdateMachine(CarrierKind.EXEC));
    box.close();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "a",
        "0",
        "vm-1.disk_2",
        "Z",
        "123456789012345678901234567890123456789012345678901234567890123"
      })
  void validNames(String name) {
    assertThat(Names.check("label", name)).isEqualTo(name);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        ".",
        "-a",
        "_a",
        "a b",
        "a/b",
        "ä",
        "a\n",
        "1234567890123456789012345678901234567890123456789012345678901234"
      })
  void invalidNames(String name) {
    assertThatThrownBy(() -> Names.check("label", name))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("not a valid label")
        .hasMessageContaining("1 to 63 characters");
  }
}
