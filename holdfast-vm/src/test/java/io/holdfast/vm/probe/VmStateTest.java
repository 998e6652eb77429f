package io.holdfast.vm.probe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.vm.qemu.Launch;
import io.holdfast.vm.qemu.QemuBinary;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * What one QEMU may send and another does not load. The dumps are {@code -machine pc-q35-7.2
 * -dump-vmstate} of Debian's QEMU 7.2.22, 10.0.13 and 11.1.3: five of some two hundred device
 * types, with the first of a structure's plain fields.
 */
@Promise("qemu-pairs")
class VmStateTest {
  @TempDir private Path directory;

  private static VmState of(String version) throws IOException {
    try (InputStream in =
        Objects.requireNonNull(
            VmStateTest.class.getResourceAsStream("vmstate-" + version + ".json"))) {
      return VmState.parse(new String(in.readAllBytes(), StandardCharsets.UTF_8));
    }
  }

  private static List<String> unloadable(String from, String to, String... types)
      throws IOException {
    return of(from).unloadable(of(to), List.of(types));
  }

  @Test
  void namesASubsectionThatTheOtherDoesNotKnow() throws IOException {
    assertThat(unloadable("10.0.13", "7.2.22", "virtio-blk-device", "isa-i8259"))
        .containsExactly("isa-i8259 may send subsection i8259/ltim");
    assertThat(unloadable("11.1.3", "10.0.13", "isa-i8259", "scsi-hd"))
        .containsExactly("scsi-hd may send subsection scsi-disk/pr");
  }

  @Test
  void aSubsectionThatOnlyTheOtherKnowsIsNone() throws IOException {
    assertThat(unloadable("7.2.22", "10.0.13", "isa-i8259", "scsi-hd", "virtio-gpu-device"))
        .isEmpty();
  }

  @Test
  void namesAVersionThatTheOtherDoesNotLoad() throws IOException {
    assertThat(unloadable("10.0.13", "7.2.22", "am53c974"))
        .contains("am53c974 sends esp in version 7, of which versions 3 to 6 are loaded");
    assertThat(unloadable("7.2.22", "10.0.13", "am53c974"))
        .noneMatch(each -> each.contains("version"));
  }

  @Test
  void looksAtTheDevicesOfTheVmOnly() throws IOException {
    assertThat(unloadable("11.1.3", "7.2.22", "virtio-blk-device", "no-such-device")).isEmpty();
    assertThat(unloadable("11.1.3", "11.1.3", "am53c974", "isa-i8259", "scsi-hd")).isEmpty();
  }

  @Test
  void refusesWhatIsNoDump() {
    for (String text : List.of("", "{}", "{\n  \"vmschkmachine\": {\n  }\n}\n")) {
      assertThatThrownBy(() -> VmState.parse(text))
          .isInstanceOf(IOException.class)
          .hasMessageContaining("has no device in it");
    }
    assertThatThrownBy(() -> VmState.parse("{\n  \"nvme\": {\n    \"Name\": \n  },\n}\n"))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("nvme is not understood");
  }

  private static String qemu(String variable) {
    String path = System.getenv().getOrDefault(variable, "");
    assumeTrue(!path.isEmpty(), "no QEMU: " + variable + " names none");
    return path;
  }

  @Test
  void realBinariesTellTheirFormats() throws IOException {
    Linux linux = Linux.system();
    VmStates states = new VmStates(new Launch(linux, directory));
    QemuProbe probe = new QemuProbe(linux, directory);
    QemuBinary one = probe.binary(qemu("HOLDFAST_QEMU"));
    QemuBinary other = probe.binary(qemu("HOLDFAST_QEMU_OTHER"));
    VmState here = states.of(one.path(), "pc-q35-7.2");
    VmState there = states.of(other.path(), "pc-q35-7.2");
    assertThat(states.of(one.path(), "pc-q35-7.2")).as("it is remembered").isSameAs(here);
    assertThat(here.devices().keySet()).contains("virtio-blk-device", "isa-i8259", "ICH9-LPC");
    assertThat(there.devices().keySet()).contains("virtio-blk-device", "isa-i8259", "ICH9-LPC");
    assertThat(here.unloadable(here, here.devices().keySet())).isEmpty();
    if (one.version().startsWith("7.") && !other.version().startsWith("7.")) {
      // New in 8.1.
      assertThat(there.unloadable(here, List.of("isa-i8259")))
          .containsExactly("isa-i8259 may send subsection i8259/ltim");
      assertThat(here.unloadable(there, List.of("isa-i8259"))).isEmpty();
    }
    try (var left = Files.list(directory)) {
      assertThat(left).as("left over").isEmpty();
    }
  }

  @Test
  void aBinaryThatDoesNotTellSaysWhy() throws IOException {
    Path script =
        Files.writeString(
            directory.resolve("mute"), "#!/bin/sh\necho 'invalid option' >&2\nexit 1\n");
    Files.setPosixFilePermissions(script, PosixFilePermissions.fromString("rwx------"));
    VmStates states = new VmStates(new Launch(Linux.system(), directory));
    assertThatThrownBy(() -> states.of(script.toString(), "q35"))
        .isInstanceOf(IOException.class)
        .hasMessage(script + " exited with 1, saying: invalid option");
  }
}
