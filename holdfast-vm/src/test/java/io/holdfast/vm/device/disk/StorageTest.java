package io.holdfast.vm.device.disk;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a guest's images are on, from folders as sysfs has them. */
@Promise("kernel-plan")
class StorageTest {
  @TempDir Path directory;
  private Path devices;

  @BeforeEach
  void sysfs() throws IOException {
    devices = Files.createDirectories(directory.resolve("dev/block"));
  }

  private Path device(int number, String path) throws IOException {
    Path made = Files.createDirectories(directory.resolve("devices").resolve(path));
    Files.createSymbolicLink(devices.resolve("8:" + number), made);
    return made;
  }

  private static long number(int minor) {
    return (8L << 8) | minor;
  }

  @ParameterizedTest
  @ValueSource(strings = {"nfs4", "cifs", "ceph", "fuse.sshfs", "fuse", "fuseblk"})
  void fileSystemsThatStopBeforeTheGuest(String type) {
    assertThat(Storage.ofFileSystem(type).orElseThrow())
        .contains("(" + type + ")", "before the guest stops");
  }

  @ParameterizedTest
  @ValueSource(strings = {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "9p"})
  void fileSystemsOfTheHost(String type) {
    assertThat(Storage.ofFileSystem(type)).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "virtual/block/nbd0",
        "virtual/block/rbd3",
        "virtual/block/drbd1",
        "platform/host2/session1/target2:0:0/2:0:0:1/block/sda"
      })
  void devicesOfTheNetwork(String path) throws IOException {
    Path disk = device(0, path);
    Path partition = device(1, path + "/part1");
    Files.writeString(partition.resolve("partition"), "1\n");
    for (int each : new int[] {0, 1}) {
      assertThat(ofDevice(each).orElseThrow())
          .startsWith("its device " + disk.getFileName() + " is a network device");
    }
  }

  @Test
  void aVolumeIsWhatItIsMadeOf() throws IOException {
    Path local = device(0, "pci/nvme0/nvme0n1");
    Files.createDirectories(local.resolve("device"));
    Files.writeString(local.resolve("device/transport"), "pcie\n");
    Path remote = device(1, "fabrics/nvme1/nvme1n1");
    Files.createDirectories(remote.resolve("device"));
    Files.writeString(remote.resolve("device/transport"), "tcp\n");
    Path slaves = Files.createDirectories(device(2, "virtual/block/dm-0").resolve("slaves"));
    Files.createSymbolicLink(slaves.resolve("nvme0n1"), local);
    assertThat(ofDevice(2)).isEmpty();
    Files.createSymbolicLink(slaves.resolve("nvme1n1"), remote);
    assertThat(ofDevice(2).orElseThrow()).contains("nvme1n1", "nvme over tcp");
    assertThat(ofDevice(7)).as("sysfs does not have it").isEmpty();
  }

  @Test
  void nvmeWithSeveralPathsIsOverAnyOfThem() throws IOException {
    Path disk = device(0, "virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
    Path subsystem = Files.createDirectories(disk.resolve("device"));
    Path local = Files.createDirectories(subsystem.resolve("nvme0"));
    Files.writeString(local.resolve("transport"), "pcie\n");
    assertThat(ofDevice(0)).isEmpty();
    Path remote = Files.createDirectories(subsystem.resolve("nvme1"));
    Files.writeString(remote.resolve("transport"), "rdma\n");
    assertThat(ofDevice(0).orElseThrow()).contains("nvme over rdma");
  }

  @Test
  void aLoopDeviceIsOnWhatItsFileIsOn() throws IOException {
    Path loop = Files.createDirectories(device(0, "virtual/block/loop0").resolve("loop"));
    Path file = Files.createFile(directory.resolve("file"));
    Files.writeString(loop.resolve("backing_file"), file + "\n");
    assertThat(ofDevice(0)).isEmpty();
    assertThat(Storage.ofDevice(devices, number(0), each -> Optional.of("it is " + each)))
        .contains("its device loop0 is " + file + ": it is " + file);
  }

  @Test
  void filesOfThisKernelAreKnown() throws IOException {
    Path memory = Files.createTempFile(Path.of("/dev/shm"), "holdfast", "test");
    try {
      assertThat(Storage.ofThisKernel(memory)).isTrue();
    } finally {
      Files.delete(memory);
    }
    assertThat(Storage.ofThisKernel(Path.of("/proc/self/mountinfo"))).isFalse();
  }

  private Optional<String> ofDevice(int minor) throws IOException {
    return Storage.ofDevice(devices, number(minor), _ -> Optional.empty());
  }
}
