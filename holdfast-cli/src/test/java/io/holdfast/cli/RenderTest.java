package io.holdfast.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import io.holdfast.cli.Answers.AgentStatus;
import io.holdfast.cli.Answers.Report;
import io.holdfast.cli.Answers.Vm;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.JsonException;
import io.holdfast.varlink.json.JsonNull;
import io.holdfast.varlink.json.JsonObject;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.List;
import org.junit.jupiter.api.Test;

class RenderTest {
  private static final ZoneId UTC = ZoneOffset.UTC;

  @Test
  void listsVms() {
    assertThat(Render.vms(List.of(Vm.of(Samples.RUNNING), Vm.of(Samples.LOST))))
        .isEqualTo(
            """
            NAME  STATE     PID   MEMORY  CPUS  QEMU    MACHINE      ACCEL  GENERATION
            web   running  4711    1 GiB     2  7.2.13  pc-q35-7.2   tcg             2
            db    lost        -  1.5 GiB     1  10.0.2  pc-q35-10.0  kvm             1
            db is lost: its QEMU was killed: signal 9
            """);
  }

  @Test
  void saysHowToStartTheFirstVm() {
    assertThat(Render.vms(List.of())).isEqualTo("No VM. Start one with: holdfast vm run NAME\n");
  }

  @Test
  void showsAVm() {
    assertThat(Render.vm(Vm.of(Samples.RUNNING)))
        .isEqualTo(
            """
            name:        web
            state:       running
            pid:         4711
            generation:  2
            qemu:        /usr/bin/qemu-system-x86_64 (7.2.13)
            machine:     pc-q35-7.2
            cpu:         2 x max,+avx2,-la57
            accelerator: tcg (/dev/kvm can't run a guest)
            memory:      1 GiB, huge pages (transparent)
            kernel:      /boot/vmlinuz
            initrd:      /boot/initrd
            append:      console=ttyS0 quiet
            disk:        /d/root.qcow2, qcow2
            disk:        /d/cd.img, read-only
            network:     tap, bridge br0, 52:54:00:00:00:01, 2 queues
            network:     user, 52:54:00:00:00:02, host port 127.0.0.1:2222 to port 22, host port 80 to port 80
            console log: /run/holdfast/web/console.log
            extra:       -device virtio-rng-pci -name 'a b'
            """);
  }

  @Test
  void showsALostVmWithItsReasonOnOneLine() {
    assertThat(Render.vm(Vm.of(Samples.LOST)))
        .isEqualTo(
            """
            name:        db
            state:       lost: its QEMU was killed: signal 9
            generation:  1
            qemu:        /opt/qemu (10.0.2)
            machine:     pc-q35-10.0
            cpu:         1 x max
            accelerator: kvm
            memory:      1.5 GiB
            console log: /run/holdfast/db/console.log
            """);
  }

  @Test
  void saysWhatWasStarted() {
    assertThat(Render.started(Vm.of(Samples.RUNNING)))
        .isEqualTo(
            """
            VM web is running, pid 4711: QEMU 7.2.13, pc-q35-7.2, tcg (/dev/kvm can't run a guest), 1 GiB, 2 CPUs
            Its console: /run/holdfast/web/console.log
            """);
  }

  @Test
  void showsAnUpdateWithItsPhasesAndTheirSums() {
    assertThat(Render.report(Report.of(Samples.COMPLETED), UTC))
        .isEqualTo(
            """
            Update u7 (vmm) of web, started 2026-11-23 10:40:00: completed
            web runs under QEMU 10.0.2 now

            STATE      PARTICIPANT/STEP  PHASE     START ms  LENGTH ms  NOTES
            PREPARING  vm:web/prepare    brownout       0.0     1203.1
            FREEZING   vm:web/freeze     blackout    1203.1        6.2  bytes 312344
            COMMITTED  vm:web/resume     blackout    1209.3        5.0

            brownout 1.20 s, blackout 9.6 ms (guest stopped, by QEMU's timestamps; controller's view: 11.2 ms)

            Lost by it:
              - user-mode connections
            """);
  }

  @Test
  @Promise("pauses")
  void saysHowTheBlackoutWasMeasured() {
    JsonObject controller =
        Samples.COMPLETED
            .with("blackoutSource", "controller")
            .with("blackoutReason", "the guest was paused before the update");
    assertThat(Render.report(Report.of(controller), UTC))
        .contains("blackout 9.6 ms (controller's view: the guest was paused before the update)\n");
    assertThat(Render.report(Report.of(Samples.COMPLETED.with("blackoutSource", "kernel")), UTC))
        .contains("blackout 9.6 ms (from the first freeze to the last resume, over the kexec)\n");
  }

  @Test
  void showsACancelledUpdateWithoutPhases() {
    assertThat(Render.report(Report.of(Samples.CANCELLED), UTC))
        .isEqualTo(
            """
            Update u8 (vmm) of web, started 2026-11-23 10:41:00: cancelled
            the user asked for it; web runs on as before
            """);
  }

  @Test
  @Promise("plan-refuses-first")
  void showsWhatIsInTheWayAndWhatToDo() {
    assertThat(Render.report(Report.of(Samples.REFUSED), UTC))
        .isEqualTo(
            """
            Update u9 (vmm) of web, started 2026-11-23 10:42:00: refused
            2 obstacles

            In the way:
              - vm:web: device nvme: QEMU marks it unmigratable
                what to do: use virtio-blk
              - vm:web: machine pc-q35-10.0: QEMU 7.2.13 lacks it
            """);
  }

  @Test
  @Promise("qemu-pairs")
  void showsAPlan() {
    assertThat(Render.plan(Report.of(Samples.PLAN)))
        .isEqualTo(
            """
            Plan to update the VMM of web: possible
            it can be done. guest RAM, 1 GiB, in place
            expected: brownout 1.20 s, blackout 15.0 ms

            Lost by it:
              - user-mode connections

            Risks:
              - disk0 may send a subsection that QEMU 7.2.22 does not know
            """);
  }

  @Test
  void listsWhatIsPreservedWhereTheAgentSaysIt() {
    assertThat(
            Render.plan(
                Report.of(Samples.PLAN.with("preserved", List.of("guest RAM", "disk vda")))))
        .contains("\n\nPreserved:\n  - guest RAM\n  - disk vda\n\nLost by it:\n");
  }

  @Test
  void showsAPlanThatRefuses() {
    assertThat(Render.plan(Report.of(Samples.REFUSED)))
        .startsWith(
            """
            Plan to update the VMM of web: refused, nothing would be changed
            2 obstacles

            In the way:
            """);
  }

  @Test
  void listsUpdates() {
    assertThat(
            Render.reports(List.of(Report.of(Samples.COMPLETED), Report.of(Samples.REFUSED)), UTC))
        .isEqualTo(
            """
            ID  STARTED              KIND  TARGET  OUTCOME    BROWNOUT ms  BLACKOUT ms
            u7  2026-11-23 10:40:00  vmm   web     completed       1203.1          9.6
            u9  2026-11-23 10:42:00  vmm   web     refused            0.0          0.0
            """);
    assertThat(Render.reports(List.of(), UTC))
        .isEqualTo("No update so far. Start one with: holdfast update vmm NAME\n");
  }

  @Test
  void showsPointsInTimeInTheZoneOfTheUser() {
    assertThat(Render.reports(List.of(Report.of(Samples.COMPLETED)), ZoneId.of("Asia/Tokyo")))
        .contains("2026-11-23 19:40:00");
  }

  @Test
  void showsTheAgent() {
    assertThat(Render.status(AgentStatus.of(Samples.STATUS)))
        .isEqualTo(
            """
            agent:         running, pid 99, version 0.1.0
            up for:        1 h 1 min
            run directory: /run/holdfast
            keeper:        process 98, holding 1 descriptor
            vms:           2
            taking back:   1 VM of the agent before
            updates:       3
            refused:       400 connections to VMs' host ports
            recovered:     web: rolled back u6
            """);
  }

  @Test
  @Promise("command")
  void doesNotLetTextSteerTheTerminal() {
    String text =
        Render.vms(List.of(Vm.of(Samples.LOST.with("reason", "\u001b[2Jgone\r\nreally\u0007"))));
    assertThat(text).endsWith("db is lost: ?[2Jgone really?\n");
  }

  @Test
  void namesTheKeyThatAReplyLacks() {
    assertThatExceptionOfType(JsonException.class)
        .isThrownBy(() -> Vm.of(Samples.RUNNING.with("memory", JsonNull.NULL)))
        .withMessageContaining("memory");
  }
}
