package io.holdfast.host.qemu;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a guest's images are on, from folders as sysfs has them. */
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
      assertThat(Storage.ofDevice(devices, number(each)).orElseThrow())
          .startsWith("its device " + disk.getFileName() + " is of the network");
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
    assertThat(Storage.ofDevice(devices, number(2))).isEmpty();
    Files.createSymbolicLink(slaves.resolve("nvme1n1"), remote);
    assertThat(Storage.ofDevice(devices, number(2)).orElseThrow())
        .contains("nvme1n1", "nvme over tcp");
    assertThat(Storage.ofDevice(devices, number(7))).as("sysfs does not have it").isEmpty();
  }

  @Test
  void aLoopDeviceIsOnWhatItsFileIsOn() throws IOException {
    Path loop = Files.createDirectories(device(0, "virtual/block/loop0").resolve("loop"));
    Path file = Files.createFile(directory.resolve("file"));
    Files.writeString(loop.resolve("backing_file"), file + "\n");
    assertThat(Storage.ofDevice(devices, number(0)))
        .isEqualTo(
            Storage.ofFileSystem(Files.getFileStore(file).type())
                .map(why -> "of its device loop0, " + file + ": " + why));
  }
}
