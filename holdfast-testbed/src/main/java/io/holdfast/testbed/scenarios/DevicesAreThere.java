package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** A machine with an IOMMU and a device behind it that a guest could be given, on both kernels. */
@Promise("kernel-facts")
public final class DevicesAreThere implements Scenario {
  private static final Path EDU = Path.of("/sys/bus/pci/devices");

  @Override
  public String title() {
    return "IOMMU, iommufd, and the edu device under VFIO, before and after a kexec";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withDevices(
            new Setup.Device.Iommu(), new Setup.Device.Edu(), new Setup.Device.Disk(64L << 20));
  }

  @Override
  public void before(Inside in) throws IOException {
    look(in);
    in.kexec();
  }

  @Override
  public void after(Inside in) throws IOException {
    look(in);
  }

  private static void look(Inside in) throws IOException {
    String when = in.boot() == 0 ? "before the kexec: " : "after it: ";
    in.check(when + "/dev/kvm", Files.exists(Path.of("/dev/kvm")));
    in.check(when + "/dev/iommu", Files.exists(Path.of("/dev/iommu")));
    in.check(when + "/dev/vda", Files.exists(Path.of("/dev/vda")));
    String edu = edu();
    in.check(
        when + "the edu device " + edu + " is in a group of the IOMMU",
        Files.exists(EDU.resolve(edu + "/iommu_group")));
    Files.writeString(Path.of("/sys/bus/pci/drivers/vfio-pci/new_id"), "1234 11e8");
    in.check(when + "VFIO has it", Files.exists(Path.of("/dev/vfio/devices/vfio0")));
  }

  private static String edu() throws IOException {
    List<Path> devices;
    try (Stream<Path> all = Files.list(EDU)) {
      devices = all.toList();
    }
    for (Path device : devices) {
      if (Files.readString(device.resolve("vendor")).startsWith("0x1234")
          && Files.readString(device.resolve("device")).startsWith("0x11e8")) {
        return device.getFileName().toString();
      }
    }
    throw new IOException("no edu device (1234:11e8) among " + devices);
  }
}
