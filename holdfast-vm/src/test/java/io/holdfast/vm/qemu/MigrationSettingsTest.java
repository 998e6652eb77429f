package io.holdfast.vm.qemu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.probe.ExpendableQemu;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What real QEMUs are set to. */
@Promise("plan-refuses-first")
class MigrationSettingsTest {
  @TempDir private Path directory;

  private ExpendableQemu qemu(String variable) throws QemuUnusableException {
    String program = System.getenv().getOrDefault(variable, "");
    assumeTrue(!program.isEmpty(), "no QEMU: " + variable + " names none");
    return ExpendableQemu.start(
        new Launch(Linux.system(), directory),
        program,
        List.of("-machine", "none", "-nodefaults"),
        Map.of());
  }

  private static void set(Qmp qmp, String capability) throws QmpException {
    var _ =
        qmp.execute(
            "migrate-set-capabilities",
            JsonObject.of(
                "capabilities", List.of(JsonObject.of("capability", capability, "state", true))));
  }

  @ParameterizedTest
  @ValueSource(strings = {"HOLDFAST_QEMU", "HOLDFAST_QEMU_OTHER"})
  void aFreshQemuHasNothingForeign(String variable) throws IOException {
    try (ExpendableQemu qemu = qemu(variable)) {
      assertThat(MigrationSettings.of(qemu.qmp()).foreign()).isEmpty();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"HOLDFAST_QEMU", "HOLDFAST_QEMU_OTHER"})
  void replacesWhatSomebodySetAndPutsItBack(String variable) throws IOException {
    try (ExpendableQemu qemu = qemu(variable)) {
      for (String capability : List.of("multifd", "pause-before-switchover", "return-path")) {
        set(qemu.qmp(), capability);
      }
      var _ =
          qemu.qmp()
              .execute(
                  "migrate-set-parameters",
                  JsonObject.of("tls-creds", "mine", "max-bandwidth", 12345678L));
      MigrationSettings before = MigrationSettings.of(qemu.qmp());
      assertThat(before.foreign())
          .containsExactly("multifd", "pause-before-switchover", "return-path", "tls-creds=mine");

      before.replace(qemu.qmp());
      MigrationSettings ours = MigrationSettings.of(qemu.qmp());
      assertThat(ours.foreign()).isEmpty();
      assertThat(ours.capabilities()).containsExactlyInAnyOrder("events", "x-ignore-shared");
      assertThat(ours.parameters()).containsEntry("max-bandwidth", 1L << 40);

      MigrationSettings.of(Json.parse(before.json().toString())).restore(qemu.qmp());
      assertThat(MigrationSettings.of(qemu.qmp())).isEqualTo(before);
    }
  }

  @Test
  void isTheSameInAJournal() {
    MigrationSettings settings =
        new MigrationSettings(
            Set.of("multifd", "events"), Map.of("max-bandwidth", 5L, "tls-creds", ""));
    assertThat(MigrationSettings.of(Json.parse(settings.json().toString()))).isEqualTo(settings);
  }
}
