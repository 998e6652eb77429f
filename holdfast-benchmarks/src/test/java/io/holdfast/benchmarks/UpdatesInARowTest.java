package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.holdfast.linux.Linux;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.VarlinkClient;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * The main job on the real thing, again and again: a real guest in real QEMU writes sequence
 * numbers with fsync to its qcow2 disk and to its console, and a witness outside checks that
 * neither forks, repeats or skips.
 */
@Tag("guest")
class UpdatesInARowTest {
  private static final long MEMORY = 256L << 20;

  @Test
  @Promise("never-twice")
  void eightUpdatesInARow() throws IOException {
    updates(8, Optional.empty());
  }

  @Test
  @Tag("nightly")
  @Promise("never-twice")
  void fortyUpdatesInARow() throws IOException {
    updates(40, Optional.empty());
  }

  @Test
  @Promise("never-twice")
  void betweenTwoVersionsInBothDirections() throws IOException {
    String other = System.getenv().getOrDefault("HOLDFAST_QEMU_OTHER", "");
    assumeTrue(!other.isEmpty(), "no second QEMU: HOLDFAST_QEMU_OTHER names none");
    List<String> versions = updates(6, Optional.of(other));
    assertThat(versions.get(1)).as("the other QEMU's version").isNotEqualTo(versions.get(0));
    assertThat(versions.get(2)).as("the first one's again").isEqualTo(versions.get(0));
  }

  /**
   * Updates to {@code other} and back in turn; returns the versions that ran, the first one's
   * first.
   */
  private static List<String> updates(int count, Optional<String> other) throws IOException {
    List<String> versions = new ArrayList<>();
    Path directory = Files.createTempDirectory("holdfast-test");
    try (AgentProcess agent = AgentProcess.start(Linux.system(), directory);
        VarlinkClient client = agent.client();
        RunningGuest guest =
            RunningGuest.start(
                client, "row", directory, Optional.empty(), Optional.empty(), MEMORY, 1);
        GuestMemory memory = GuestMemory.map(Linux.system(), guest.memory())) {
      versions.add(guest.show().string("qemuVersion"));
      Heartbeat first = memory.heartbeat(guest.boot());
      String own = guest.state().string("qemu");
      for (int i = 0; i < count; i++) {
        long before = guest.witness().last();
        Optional<String> target = i % 2 == 0 ? other : Optional.of(own);
        JsonObject report = guest.update(target, _ -> {});
        assertThat(report.string("outcome")).as(report.string("message")).isEqualTo("completed");
        versions.add(guest.show().string("qemuVersion"));
        awaitMore(guest, before + 2);
      }
      Heartbeat last = memory.again(first);
      assertThat(last.count()).isGreaterThan(first.count());
      assertThat(last.cpuid()).as("CPUID").isEqualTo(first.cpuid());
      assertThat(last.patternFailures()).isZero();
      assertThat(memory.verifyPattern(first).good()).as("pattern").isTrue();
      assertThat(guest.show().number("generation")).isEqualTo(count + 1);
      ChainCheck disk = guest.stopAndCheckDisk(last.diskSequence());
      assertThat(disk.good()).as("disk: " + disk).isTrue();
      ChainCheck console = guest.witness().consoleCheck();
      assertThat(console.good()).as("console: " + console).isTrue();
      assertThat(guest.witness().last()).isGreaterThan(2L * count);
      assertThat(guest.witness().complaints()).isEmpty();
    }
    return versions;
  }

  private static void awaitMore(RunningGuest guest, long sequence) {
    long deadline = System.nanoTime() + 20_000_000_000L;
    while (guest.witness().last() < sequence) {
      assertThat(System.nanoTime()).as("the guest writes on").isLessThan(deadline);
      RunningGuest.pause(10);
    }
  }
}
