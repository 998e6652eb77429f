package io.holdfast.vm.qemu;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** Reads what QEMU 11.1.3 printed for a disk behind a root port, most properties left out. */
class DeviceTreeTest {
  private static final String PRINTED =
      """
      bus: main-system-bus
        type System
        dev: hpet, id ""
          gpio-in "" 2
          timers = 3 (0x3)
          mmio 00000000fed00000/0000000000000400
        dev: q35-pcihost, id ""
          bus: pcie.0
            type PCIE
            dev: virtio-rng-pci, id ""
              disable-legacy = "off"
              addr = 06.0
              class Class 00ff, addr 00:06.0, pci id 1af4:1005 (sub 1af4:0004)
              bar 0: i/o at 0xffffffffffffffff [0x1e]
              bar 4: mem at 0xfebd4000 [0xfebd7fff]
              bus: virtio-bus
                type virtio-pci-bus
                dev: virtio-rng-device, id ""
                  event_idx = true
                  packed = false
            dev: pcie-root-port, id "rp0"
              hotplug = true
              class PCI bridge, addr 00:03.0, pci id 1b36:000c (sub 0000:0000)
              bar 0: mem at 0xffffffffffffffff [0xffe]
              bus: rp0
                type PCIE
                dev: virtio-blk-pci, id "disk0"
                  class SCSI controller, addr 01:00.0, pci id 1af4:1042 (sub 1af4:1100)
                  bus: virtio-bus
                    type virtio-pci-bus
                    dev: virtio-blk-device, id ""
                      queue-size = 256 (0x100)
                      drive = "d0"
      """;

  private static DeviceTree.Node device(String driver) {
    return DeviceTree.parse(PRINTED).devices().stream()
        .filter(node -> node.driver().equals(driver))
        .findFirst()
        .orElseThrow();
  }

  @Test
  void nestsDevicesInBuses() {
    assertThat(DeviceTree.parse(PRINTED).devices())
        .extracting(DeviceTree.Node::driver)
        .containsExactly(
            "hpet",
            "q35-pcihost",
            "virtio-rng-pci",
            "virtio-rng-device",
            "pcie-root-port",
            "virtio-blk-pci",
            "virtio-blk-device");
    assertThat(device("virtio-blk-pci").bus()).isEqualTo("rp0");
    assertThat(device("virtio-blk-pci").parent().orElseThrow().id()).isEqualTo("rp0");
    assertThat(device("virtio-blk-device").parent().orElseThrow().id()).isEqualTo("disk0");
    assertThat(device("pcie-root-port").bus()).isEqualTo("pcie.0");
    assertThat(device("hpet").parent()).isEmpty();
  }

  @Test
  void readsProperties() {
    assertThat(device("virtio-blk-device").properties())
        .containsEntry("queue-size", "256 (0x100)")
        .containsEntry("drive", "\"d0\"");
    assertThat(device("virtio-rng-device").isOn("event_idx")).isTrue();
    assertThat(device("virtio-rng-device").isOn("packed")).isFalse();
    assertThat(device("virtio-rng-device").isOn("unheard_of")).isFalse();
  }

  @Test
  void tellsFunctionsBySizesAndNotByWhatTheGuestProgrammed() {
    DeviceTree.Function rng = device("virtio-rng-pci").function().orElseThrow();
    assertThat(rng.address()).isEqualTo("06.0");
    assertThat(rng.toString())
        .isEqualTo(
            "1af4:1005 (sub 1af4:0004) of class Class 00ff,"
                + " BAR 0 of 32 bytes (i/o), BAR 4 of 16384 bytes (mem)");
    assertThat(device("virtio-blk-pci").function().orElseThrow().address()).isEqualTo("00.0");
    assertThat(device("virtio-blk-device").function()).isEmpty();
  }

  @Test
  void leavesOutWhatItDoesNotKnow() {
    assertThat(DeviceTree.parse("").devices()).isEmpty();
    assertThat(DeviceTree.parse("unknown command: 'info qtree'\n").devices()).isEmpty();
  }
}
