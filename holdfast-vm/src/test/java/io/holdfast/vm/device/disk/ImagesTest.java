package io.holdfast.vm.device.disk;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.linux.FileIdentity;
import io.holdfast.linux.LastingIdentity;
import io.holdfast.linux.Linux;
import io.holdfast.varlink.json.Json;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Which file a path names, now and on another kernel. */
class ImagesTest {
  private final Linux linux = Linux.system();
  @TempDir Path directory;

  private Path image(String name) throws IOException {
    return Files.writeString(directory.resolve(name), name);
  }

  private Images.Image of(Path path) throws IOException {
    return Images.Image.of(linux, path, OpenFiles.identity(path).orElseThrow());
  }

  private OpenFiles open(Path... paths) throws IOException {
    Map<FileIdentity, Path> links = new TreeMap<>((a, b) -> Long.compare(a.inode(), b.inode()));
    for (Path each : paths) {
      links.put(OpenFiles.identity(each).orElseThrow(), each);
    }
    return new OpenFiles(links);
  }

  @Test
  void namesThatWereExchangedAreTold() throws IOException {
    Path one = image("one");
    Path two = image("two");
    Images images =
        new Images(new TreeMap<>(Map.of(one.toString(), of(one), two.toString(), of(two))));
    assertThat(images.unlike(open(one, two))).isEmpty();
    assertThat(images.othersHere(linux)).isEmpty();
    assertThat(images.unlike(open(one))).containsExactly(two.toString());
    Path aside = directory.resolve("aside");
    Files.move(one, aside);
    assertThat(images.unlike(open(aside, two)))
        .as("it has no name")
        .containsExactly(one.toString());
    Files.move(two, one);
    Files.move(aside, two);
    assertThat(images.unlike(open(one, two))).containsExactly(one.toString(), two.toString());
  }

  /** What stands for another kernel: the numbers are others there. */
  @Test
  void onAnotherKernelFilesAreToldByWhatLasts() throws IOException {
    Path one = image("one");
    Images.Image here = of(one);
    Images.Image there = new Images.Image(new FileIdentity(1, 2), here.lasting());
    Images images = new Images(new TreeMap<>(Map.of(one.toString(), there)));
    assertThat(images.othersHere(linux)).isEmpty();
    assertThat(images.notLasting().isEmpty()).isEqualTo(here.lasting().isPresent());
    Files.delete(one);
    assertThat(images.othersHere(linux)).as("gone").containsExactly(one.toString());
    Path other = image("one");
    boolean told = here.lasting().isPresent() && !of(other).lasting().equals(here.lasting());
    assertThat(images.othersHere(linux).isEmpty()).isEqualTo(!told);
  }

  @Test
  void whatIsWrittenIsRead() throws IOException {
    Images images =
        new Images(
            new TreeMap<>(
                Map.of(
                    "/srv/a b.qcow2",
                    of(image("one")),
                    "/dev/vg/disk",
                    new Images.Image(new FileIdentity(0xfd00, 0), Optional.empty()))));
    assertThat(
            Images.fromJson(
                Json.parse(images.toJson().toString().getBytes(StandardCharsets.UTF_8))))
        .isEqualTo(images);
  }

  /** As gnu_dev_makedev() of the C library. */
  private static long device(long major, long minor) {
    return (major << 8) | (minor & 0xff) | ((minor & ~0xffL) << 12);
  }

  @Test
  void blockDevicesAreToldByWhatSysfsHas() throws IOException {
    Path disk = Files.createDirectories(directory.resolve("devices/nvme0n1"));
    Files.writeString(disk.resolve("wwid"), "eui.0025388b710116a1\n");
    Path partition = Files.createDirectories(disk.resolve("nvme0n1p2"));
    Files.writeString(partition.resolve("partition"), "2\n");
    Path volume = Files.createDirectories(directory.resolve("devices/dm-0/dm"));
    Files.writeString(volume.resolve("uuid"), "LVM-abc\n");
    Path loop = Files.createDirectories(directory.resolve("devices/loop0"));
    Path sysfs = Files.createDirectories(directory.resolve("block"));
    Files.createSymbolicLink(sysfs.resolve("259:0"), disk);
    Files.createSymbolicLink(sysfs.resolve("259:300"), partition);
    Files.createSymbolicLink(sysfs.resolve("253:0"), volume.getParent());
    Files.createSymbolicLink(sysfs.resolve("7:0"), loop);
    assertThat(BlockDevices.lasting(sysfs, device(259, 0)))
        .contains(new LastingIdentity("block device", "wwid eui.0025388b710116a1"));
    assertThat(BlockDevices.lasting(sysfs, device(259, 300)))
        .contains(new LastingIdentity("block device", "wwid eui.0025388b710116a1 2"));
    assertThat(BlockDevices.lasting(sysfs, device(253, 0)))
        .contains(new LastingIdentity("block device", "dm/uuid LVM-abc"));
    assertThat(BlockDevices.lasting(sysfs, device(7, 0))).isEmpty();
    assertThat(BlockDevices.lasting(sysfs, device(8, 0))).isEmpty();
  }
}
