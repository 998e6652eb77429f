package io.holdfast.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * Updates of a real guest between QEMUs whose devices are not alike. Wrappers make them so from one
 * QEMU: which versions differ, and in what, changes with every release.
 */
@Tag("guest")
@Promise("qemu-pairs")
class CrossingsTest {
  private final Host host;
  private final String qemu;

  CrossingsTest() throws IOException, InterruptedException {
    qemu = Host.tellableQemu();
    host = Host.start();
  }

  @AfterEach
  void end() throws IOException {
    host.close();
  }

  private String script(String name, String text) throws IOException {
    Path file = Files.writeString(host.directory().resolve(name), "#!/bin/sh\n" + text);
    Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
    return file.toString();
  }

  /** A QEMU whose disks have rings of 512 entries unless told otherwise. */
  private String withLongRings() throws IOException {
    return script(
        "long-rings", "exec %s -global virtio-blk-device.queue-size=512 \"$@\"\n".formatted(qemu));
  }

  /**
   * A QEMU that changes each disk's device.
   *
   * @param when a pattern of the shell for the command lines that it does that to
   */
  private String changing(String name, String when, String properties) throws IOException {
    return script(
        name,
        """
        case "$*" in %s)
          for word; do
            shift
            set -- "$@" "$(printf '%%s' "$word" | sed 's/^virtio-blk-pci.*/&,%s/')"
          done ;;
        esac
        exec %s "$@"
        """
            .formatted(when, properties, qemu));
  }

  private JsonObject plan(String qemu) {
    return host.call("Update.Vmm", JsonObject.of("name", Host.VM, "qemu", qemu, "dryRun", true))
        .object("report");
  }

  /** The QEMU goes back, then forward again: what the rings are belongs to the guest. */
  @Test
  @Promise("qemu-pairs")
  void givesTheSuccessorTheRingsThatTheGuestHas() throws IOException {
    String longer = withLongRings();
    host.runVm(longer);
    JsonObject planned = plan(qemu);
    assertThat(planned.string("outcome")).as("%s", planned).isEqualTo("planned");
    assertThat(planned.array("preserved").strings())
        .anySatisfy(line -> assertThat(line).contains("rings of", "512", "queue-size=512"));
    for (String each : new String[] {qemu, longer, qemu}) {
      JsonObject report = host.update(each);
      assertThat(report.string("outcome")).as("%s", report).isEqualTo("completed");
      host.assertWhole();
      assertThat(Files.readString(Path.of("/proc/" + host.show().number("pid") + "/cmdline")))
          .contains("queue-size=512");
    }
  }

  @Test
  @Promise("qemu-pairs")
  void refusesInThePlanWhatTheNewQemuDoesNotHave() throws IOException {
    host.runVm(qemu);
    JsonObject rings = plan(changing("short-rings", "*", "queue-size=64"));
    assertThat(rings.string("outcome")).as("%s", rings).isEqualTo("refused");
    assertThat(rings.array("obstacles").objects().getFirst().string("why"))
        .contains("rings of virtio-blk", "256", "64");
    JsonObject feature = host.update(changing("no-feature", "*", "event_idx=off"));
    assertThat(feature.string("outcome")).as("%s", feature).isEqualTo("refused");
    assertThat(feature.array("obstacles").objects().getFirst().string("why"))
        .contains("feature event_idx");
    host.assertWhole();
  }

  @Test
  @Promise("qemu-pairs")
  void refusesInThePlanWhatTheNewQemuDoesNotLoad() throws IOException {
    host.runVm(script("more", "exec %s -netdev user,id=more \"$@\"\n".formatted(qemu)));
    JsonObject report = host.update(qemu);
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("refused");
    assertThat(report.array("obstacles").objects().getFirst().string("why")).contains("slirp");
    host.assertWhole();
  }

  /** It passed its trial, and the successor on the guest's own back ends is another machine. */
  @Test
  @Promise("qemu-pairs")
  void cancelsBeforeTheFreezeWhatOnlyTheSuccessorShows() throws IOException {
    host.runVm(qemu);
    String late = changing("late", "*holdfast-control*) ;; *' -incoming '*", "queue-size=64");
    JsonObject report = host.update(late);
    assertThat(report.string("outcome")).as("%s", report).isEqualTo("cancelled");
    assertThat(report.string("message")).contains("rings of virtio-blk", "256", "64");
    assertThat(report.number("blackout")).as("the guest was never stopped").isZero();
    host.assertWhole();
  }
}
