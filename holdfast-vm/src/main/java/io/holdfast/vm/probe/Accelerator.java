package io.holdfast.vm.probe;

import io.holdfast.linux.ChildProcess;
import io.holdfast.linux.ExitStatus;
import io.holdfast.linux.Linux;
import io.holdfast.linux.Signal;
import io.holdfast.linux.SpawnRequest;
import io.holdfast.linux.SystemCallException;
import io.holdfast.linux.file.WholeFile;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * What runs the guest's instructions, and why.
 *
 * @param name {@code kvm} or {@code tcg}
 * @param reason for people
 */
public record Accelerator(String name, String reason) {
  private static final Duration PROBE = Duration.ofSeconds(5);

  /** isa-debug-exit makes QEMU exit with (value &lt;&lt; 1) | 1. */
  private static final int RAN = 0x10;

  private static final int LOAD_ADDRESS = 0x100000;
  private static final String IMAGE = "kvm-probe-";

  /**
   * 32-bit code that a modern kernel's instructions must also get through: it executes SHLX where
   * CPUID says BMI2, then reports. A /dev/kvm that opens but emulates instructions stops there.
   */
  private static final byte[] CODE =
      bytes(
          0xB8, 7, 0, 0, 0, // mov eax, 7
          0x31, 0xC9, // xor ecx, ecx
          0x0F, 0xA2, // cpuid
          0xF7, 0xC3, 0, 1, 0, 0, // test ebx, BMI2
          0x74, 0x14, // jz report
          0xB9, 3, 0, 0, 0, // mov ecx, 3
          0xB8, 1, 0, 0, 0, // mov eax, 1
          0xC4, 0xE2, 0x71, 0xF7, 0xD0, // shlx edx, eax, ecx
          0x83, 0xFA, 8, // cmp edx, 8
          0x75, 0x07, // jne stop
          0xB0, RAN, // report: mov al, RAN
          0x66, 0xBA, 0xF4, 0, // mov dx, 0xf4
          0xEE, // out dx, al
          0xF4, // stop: hlt
          0xEB, 0xFD); // jmp stop

  /**
   * Finds out by running something, since a /dev/kvm that can be opened need not be able to run a
   * guest.
   *
   * @param qemu the binary to try it with
   * @param scratch a directory for the probe's image
   */
  public static Accelerator probe(Linux linux, String qemu, Path scratch) {
    if (!Files.isReadable(Path.of("/dev/kvm"))) {
      return new Accelerator(
          "tcg",
          Files.exists(Path.of("/dev/kvm"))
              ? "/dev/kvm may not be opened by this user"
              : "there is no /dev/kvm");
    }
    Path image = scratch.resolve(IMAGE + ProcessHandle.current().pid());
    try {
      Files.write(image, image());
      List<String> command =
          List.of(
              qemu,
              "-accel",
              "kvm",
              "-cpu",
              "host",
              "-m",
              "16",
              "-nodefaults",
              "-no-user-config",
              "-display",
              "none",
              "-device",
              "isa-debug-exit,iobase=0xf4,iosize=1",
              "-kernel",
              image.toString());
      try (ChildProcess child = linux.spawn(SpawnRequest.of(command).endingWithParent())) {
        Optional<ExitStatus> status = child.waitFor(PROBE);
        if (status.isEmpty()) {
          var _ = child.pidfd().signal(Signal.KILL);
          var _ = child.waitFor();
          return new Accelerator(
              "tcg", "/dev/kvm opens, but a guest of a few instructions did not get through in it");
        }
        return status.get().equals(new ExitStatus.Exited((RAN << 1) | 1))
            ? new Accelerator("kvm", "a probe guest ran in /dev/kvm")
            : new Accelerator(
                "tcg",
                "/dev/kvm opens, but a probe guest failed in it (QEMU " + status.get() + ")");
      }
    } catch (IOException | SystemCallException e) {
      return new Accelerator("tcg", "/dev/kvm could not be tried: " + e.getMessage());
    } finally {
      WholeFile.deleteQuietly(image);
    }
  }

  /** Removes what the probes of an agent that was killed left. */
  static void removeLeftovers(Path scratch) throws IOException {
    try (DirectoryStream<Path> left = Files.newDirectoryStream(scratch, IMAGE + "*")) {
      left.forEach(WholeFile::deleteQuietly);
    }
  }

  /**
   * A multiboot image (Multiboot Specification 0.6.96, section 3.1) with the load addresses in its
   * header.
   */
  private static byte[] image() {
    int header = 32;
    int magic = 0x1BADB002;
    int addressesGiven = 1 << 16;
    ByteBuffer image = ByteBuffer.allocate(header + CODE.length).order(ByteOrder.LITTLE_ENDIAN);
    image.putInt(magic).putInt(addressesGiven).putInt(-(magic + addressesGiven));
    int end = LOAD_ADDRESS + header + CODE.length;
    image
        .putInt(LOAD_ADDRESS)
        .putInt(LOAD_ADDRESS)
        .putInt(end)
        .putInt(end)
        .putInt(LOAD_ADDRESS + header);
    return image.put(CODE).array();
  }

  private static byte[] bytes(int... values) {
    byte[] bytes = new byte[values.length];
    for (int i = 0; i < values.length; i++) {
      bytes[i] = (byte) values[i];
    }
    return bytes;
  }
}
