package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.journal.JournalRecord;
import io.holdfast.core.journal.JournalText;
import io.holdfast.core.state.UpdateState;
import io.holdfast.linux.ProcessIdentity;
import io.holdfast.promise.Promise;
import io.holdfast.testkit.FormatZero;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import io.holdfast.vm.spec.VmSpec;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Golden files: what version 0.1.0 wrote for real VMs, which every later version reads. They are
 * not to be changed.
 */
@Promise("formats")
class FormatZeroTest {
  @TempDir Path directory;

  /** A VM with a device of each kind, one with a virtio console after an update, an adopted one. */
  @ParameterizedTest
  @ValueSource(strings = {"all", "virtio-console", "adopted"})
  void recordsOfVmsAreRead(String vm) throws IOException {
    JsonObject record = Json.parse(FormatZero.golden("vm-" + vm + ".json"));
    JsonObject written = record.object("promise");
    VmSpec spec = VmSpec.fromJson(written);
    assertThat(spec.name()).isEqualTo(vm);
    assertThat(spec.toJson()).as("nothing of it is lost").isEqualTo(written);
    ProcessIdentity process = ProcessIdentity.parse(record.string("process"));
    assertThat(process).hasToString(record.string("process"));
    assertThat(record.number("generation")).isBetween(1L, 2L);
    assertThat(record.object("binary").string("path")).isEqualTo("/usr/bin/qemu-system-x86_64");
  }

  /** An update that an agent's death leaves before its end: one journal for each state. */
  @Test
  void journalsAreReadInEachState() throws IOException {
    byte[] whole = FormatZero.golden("exec.journal");
    List<JournalRecord> records = JournalText.decode(whole).records();
    assertThat(records).first().isInstanceOf(JournalRecord.Began.class);
    assertThat(
            records.stream()
                .filter(JournalRecord.Entered.class::isInstance)
                .map(each -> ((JournalRecord.Entered) each).state()))
        .containsExactly(
            UpdateState.PREPARING,
            UpdateState.PREPARED,
            UpdateState.FREEZING,
            UpdateState.FROZEN,
            UpdateState.HANDED_OVER,
            UpdateState.RESTORING,
            UpdateState.RESTORED,
            UpdateState.COMMITTED,
            UpdateState.RESUMED);
    assertThat(
            records.stream()
                .filter(JournalRecord.Fact.class::isInstance)
                .map(each -> ((JournalRecord.Fact) each).key()))
        .containsExactly("target", "successor", "successor", "migration", "stopped", "runs");
    ByteArrayOutputStream again = new ByteArrayOutputStream();
    records.stream().skip(1).forEach(each -> again.writeBytes(JournalText.encode(each)));
    assertThat(new String(whole, StandardCharsets.US_ASCII))
        .as("but for the first line, which has the format")
        .endsWith("\n" + again.toString(StandardCharsets.US_ASCII));
  }

  @ParameterizedTest
  @ValueSource(strings = {"completed", "refused"})
  void reportsAreRead(String outcome) throws IOException {
    JsonObject report = Json.parse(FormatZero.golden("report-" + outcome + ".json"));
    Path file = directory.resolve(report.string("id") + ".json");
    Files.write(file, FormatZero.golden("report-" + outcome + ".json"));
    assertThat(Reports.kept(file)).isEqualTo(report);
    assertThat(report.string("outcome")).isEqualTo(outcome);
  }
}
