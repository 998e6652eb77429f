package io.holdfast.vm.qemu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.vm.probe.ExpendableQemu;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Rings of real QEMUs. */
class VirtioRingsTest {
  @TempDir private Path directory;

  private ExpendableQemu qemu(String variable, String... more) throws QemuUnusableException {
    String program = System.getenv().getOrDefault(variable, "");
    assumeTrue(!program.isEmpty(), "no QEMU: " + variable + " names none");
    List<String> arguments =
        new ArrayList<>(List.of("-machine", "q35", "-nodefaults", "-display", "none", "-m", "64M"));
    arguments.addAll(List.of(more));
    return ExpendableQemu.start(
        new Launch(Linux.system(), directory), program, arguments, Map.of());
  }

  @ParameterizedTest
  @ValueSource(strings = {"HOLDFAST_QEMU", "HOLDFAST_QEMU_OTHER"})
  void aMachineWithoutVirtioHasNone(String variable) throws IOException {
    try (ExpendableQemu qemu = qemu(variable)) {
      assertThat(VirtioRings.of(qemu.qmp())).isEmpty();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"HOLDFAST_QEMU", "HOLDFAST_QEMU_OTHER"})
  void aMachineWithVirtioHasThem(String variable) throws IOException {
    try (ExpendableQemu qemu = qemu(variable, "-device", "virtio-rng-pci")) {
      assertThat(VirtioRings.of(qemu.qmp())).hasSize(1);
    }
  }
}
