package io.holdfast.kexec.manifest;

import java.io.IOException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Whether the previous kernel handed memory over to this one (KHO). sysfs tells it by the boot
 * parameters: they have a structure setup_data of type SETUP_KEXEC_KHO then ({@code
 * arch/x86/kernel/ksysfs.c}, {@code arch/x86/include/uapi/asm/setup_data.h}).
 *
 * @param possible false only if there certainly was no handover
 * @param certain whether there certainly was one
 * @param evidence what tells it, for people
 */
public record Handover(boolean possible, boolean certain, String evidence) {
  private static final String PARAMETERS = "sys/kernel/boot_params";
  private static final int SETUP_KEXEC_KHO = 10;

  /**
   * Reads sysfs.
   *
   * @param root of the host's files
   */
  public static Handover find(Path root) {
    Path parameters = root.resolve(PARAMETERS);
    if (!Files.isDirectory(parameters)) {
      return new Handover(true, false, "whether is unknown, as " + parameters + " is missing");
    }
    Path all = parameters.resolve("setup_data");
    if (!Files.exists(all)) {
      return new Handover(false, false, "there is no " + all);
    }
    try (DirectoryStream<Path> each = Files.newDirectoryStream(all)) {
      for (Path one : each) {
        Path type = one.resolve("type");
        if (Long.decode(Files.readString(type).strip()) == SETUP_KEXEC_KHO) {
          return new Handover(true, true, type + " is SETUP_KEXEC_KHO");
        }
      }
      return new Handover(false, false, "no type in " + all + " is SETUP_KEXEC_KHO");
    } catch (IOException | DirectoryIteratorException | NumberFormatException e) {
      return new Handover(true, false, "whether is unknown, as " + all + " cannot be read: " + e);
    }
  }
}
