package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.benchmarks.PairResult.Cell;
import io.holdfast.varlink.json.Json;
import java.util.List;
import org.junit.jupiter.api.Test;

class PairResultTest {
  private static final Cell PASSED =
      new Cell(
          "old",
          "new",
          1,
          PairResult.Devices.ALL,
          "pc-q35-7.2",
          new PairResult.Passed(
              23_400_000, false, List.of("disk0 gets queue-size=1024"), List.of()));

  @Test
  void choosesTheNewestMachineTypeOfBoth() {
    assertThat(
            QemuPairs.newestCommon(
                List.of("pc-q35-2.12", "pc-q35-9.2", "pc-q35-10.0", "pc-q35-10.0.1", "q35"),
                List.of("pc-q35-11.1", "pc-q35-10.0", "pc-q35-10.0.1", "pc-q35-9.2", "q35")))
        .contains("pc-q35-10.0");
    assertThat(QemuPairs.newestCommon(List.of("pc-q35-2.12", "q35"), List.of("q35"))).isEmpty();
  }

  @Test
  void tableHasARowPerFromAndAColumnPerTo() {
    Cell failed =
        new Cell(
            "new",
            "old",
            1,
            PairResult.Devices.ALL,
            "pc-q35-7.2",
            new PairResult.Failed(true, "it said no"));
    assertThat(PairResult.table(List.of("old", "new"), List.of(PASSED, failed)))
        .isEqualTo(
            """
            | from \\ to | old | new |
            | --- | --- | --- |
            | old | – | ok, 23 ms, corrected |
            | new | **FAILED in the blackout** | – |
            """);
  }

  @Test
  void tellsOnceWhatSeveralCellsHaveInCommon() {
    Cell larger = new Cell("old", "new", 4, PairResult.Devices.ALL, "pc-q35-7.2", PASSED.result());
    Cell other = new Cell("old", "new", 4, PairResult.Devices.DISKS, "pc-q35-7.2", PASSED.result());
    assertThat(PairResult.remarks(List.of(PASSED, larger, other)))
        .isEqualTo(
            "- corrected: disk0 gets queue-size=1024"
                + " (old → new, all devices, 1 and 4 vCPUs; old → new, disks only, 4 vCPUs)\n");
  }

  @Test
  void readsWhatAnEarlierRunWroteDown() {
    for (PairResult result :
        List.of(
            PASSED.result(),
            new PairResult.Refused("why"),
            new PairResult.Cancelled("why"),
            new PairResult.Failed(true, "why"))) {
      Cell cell = new Cell("old", "new", 4, PairResult.Devices.DISKS, "pc-q35-7.2", result);
      assertThat(Cell.of(Json.parse(cell.json().toString()))).isEqualTo(cell);
    }
  }

  @Test
  void onlyAFailureIsNotAcceptable() {
    assertThat(new PairResult.Refused("why").acceptable()).isTrue();
    assertThat(new PairResult.Cancelled("why").acceptable()).isTrue();
    assertThat(new PairResult.Failed(false, "why").acceptable()).isFalse();
  }
}
