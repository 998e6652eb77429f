package io.holdfast.vm.device.disk;

import io.holdfast.vm.device.Backend;
import io.holdfast.vm.qemu.Qmp;
import io.holdfast.vm.spec.Disk;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** A disk's image, which stays the same file for every generation. */
public record DiskBackend(Disk disk) implements Backend {
  /** What is written out now, QEMU's own flush in the blackout finds done. */
  @Override
  public void prepared(int generation, Qmp qmp) throws IOException {
    if (!disk.readOnly() && Files.isWritable(Path.of(disk.path()))) {
      try (FileChannel image = FileChannel.open(Path.of(disk.path()), StandardOpenOption.WRITE)) {
        image.force(false);
      }
    }
  }
}
