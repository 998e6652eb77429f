package io.holdfast.agent;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.core.journal.UpdateId;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(120)
class ReportStoreTest {
  private static final UpdateId ID = new UpdateId("20261130-120000-web-1");

  @TempDir Path directory;

  private static JsonObject report(UpdateId id, String target, String outcome) {
    return JsonObject.of(
        "id",
        id.toString(),
        "kind",
        "vmm",
        "target",
        target,
        "outcome",
        outcome,
        "message",
        "",
        "started",
        0L,
        "brownout",
        0L,
        "blackout",
        0L,
        "obstacles",
        List.of(),
        "losses",
        List.of(),
        "spans",
        List.of());
  }

  private static List<String> outcomes(List<JsonObject> reports) {
    return reports.stream().map(report -> report.string("outcome")).toList();
  }

  /** As on a full file system. */
  @Test
  void showsTheLastReportThatCannotBeWrittenAndWritesItLater() throws IOException {
    try (Retries retries = new Retries()) {
      ReportStore store = new ReportStore(directory, retries);
      store.keep(ID, report(ID, "web", "stuck"));
      Path blocker = Files.createDirectory(directory.resolve(ID + ".json.new"));
      store.keep(ID, report(ID, "web", "cancelled"));
      assertThat(outcomes(store.all())).containsExactly("cancelled");
      Path file = directory.resolve(ID + ".json");
      assertThat(Reports.kept(file).string("outcome")).isEqualTo("stuck");
      store.keep(ID, report(ID, "web", "recovered"));
      UpdateId other = new UpdateId("20261130-120001-web-2");
      store.keep(other, report(other, "web", "completed"));
      assertThat(directory.resolve(other + ".json")).exists();
      Files.delete(blocker);
      while (!Reports.kept(file).string("outcome").equals("recovered")) {
        LockSupport.parkNanos(Duration.ofMillis(10).toNanos());
      }
      assertThat(outcomes(store.all())).containsExactly("recovered", "completed");
    }
  }

  @Test
  void findsTheLastUpdatesOfAVmThatCompleted() throws IOException {
    try (Retries retries = new Retries()) {
      ReportStore store = new ReportStore(directory, retries);
      for (int i = 1; i <= 6; i++) {
        String time = "20261130-12000" + i;
        UpdateId id = new UpdateId(time + "-web-" + i);
        String target = i == 3 ? "web-of-a-longer-name" : "web";
        store.keep(id, report(id, target, i == 4 ? "refused" : "completed"));
        for (String other : List.of("web-2", "a-web")) {
          UpdateId of = new UpdateId(time + "-" + other + "-" + i);
          store.keep(of, report(of, other, "completed"));
        }
      }
      assertThat(store.completed("web", "web", 3).stream().map(report -> report.string("id")))
          .containsExactly(
              "20261130-120006-web-6", "20261130-120005-web-5", "20261130-120002-web-2");
      assertThat(store.all()).hasSize(18);
    }
  }
}
