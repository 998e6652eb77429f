package io.holdfast.vm.probe;

import io.holdfast.vm.qemu.QemuUnusableException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;

/**
 * A binary's file: what is installed in its place later is another.
 *
 * @param file device and inode
 * @param size in bytes
 * @param modified in ms since 1970
 */
record BinaryIdentity(String file, long size, long modified) {
  /**
   * Which file a binary is at this moment.
   *
   * @throws QemuUnusableException if there is no file that can be executed
   */
  static BinaryIdentity of(String path) throws QemuUnusableException {
    try {
      Path file = Path.of(path);
      BasicFileAttributes a = Files.readAttributes(file, BasicFileAttributes.class);
      if (!a.isRegularFile()) {
        throw new QemuUnusableException(
            path, "it is not a file", "Name an executable qemu-system binary.");
      }
      if (!Files.isExecutable(file)) {
        throw new QemuUnusableException(
            path,
            "it is not executable",
            "Give it the execute permission, or name another binary.");
      }
      return new BinaryIdentity(
          String.valueOf(a.fileKey()), a.size(), a.lastModifiedTime().toMillis());
    } catch (QemuUnusableException e) {
      throw e;
    } catch (IOException e) {
      throw new QemuUnusableException(
          path,
          "there is no such file",
          "Install QEMU (package qemu-system-x86), or name its binary.",
          e);
    }
  }
}
