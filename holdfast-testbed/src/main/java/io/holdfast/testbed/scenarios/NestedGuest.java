package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.testbed.SkippedException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** A real guest on the machine's own KVM: the test guest boots and counts. */
@Promise("kernel-facts")
public final class NestedGuest implements Scenario {
  private static final Path CONSOLE = Path.of("/run/guest.console");
  private static final int NUMBERS = 50;
  private static final long PATIENCE_MILLIS = 60_000;

  @Override
  public String title() {
    return "a Linux guest boots on the machine's KVM, and counts";
  }

  @Override
  public Setup setup() {
    return Setup.standard().withMemory(3072);
  }

  @Override
  public boolean onEmulatedKvm() {
    return true;
  }

  @Override
  public void prepare(Outside out) {
    if (System.getenv().getOrDefault("HOLDFAST_GUEST", "").isEmpty()) {
      throw new SkippedException(
          "HOLDFAST_GUEST names no test guest; `guest/build` makes it and prints its folder");
    }
  }

  @Override
  public void before(Inside in) throws IOException {
    in.check("/dev/kvm is there", Files.exists(Path.of("/dev/kvm")));
    Path guest = Path.of(System.getenv("HOLDFAST_GUEST"));
    List<String> command =
        List.of(
            System.getenv().getOrDefault("HOLDFAST_QEMU", "qemu-system-x86_64"),
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            // The host's CPU under emulation has what KVM can't pass on.
            "-machine",
            "q35",
            "-accel",
            "kvm",
            "-cpu",
            "qemu64",
            "-m",
            "256",
            "-chardev",
            "file,id=console,path=" + CONSOLE,
            "-serial",
            "chardev:console",
            "-kernel",
            guest.resolve("vmlinuz").toString(),
            "-initrd",
            guest.resolve("initramfs.cpio").toString(),
            "-append",
            "console=ttyS0 quiet loglevel=1 panic=-1 tsc=reliable holdfast.pattern=1");
    Process qemu =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(Path.of("/run/guest.qemu").toFile())
            .start();
    try {
      long start = System.nanoTime();
      int numbers = 0;
      while (numbers < NUMBERS
          && qemu.isAlive()
          && System.nanoTime() - start < PATIENCE_MILLIS * 1_000_000) {
        boolean _ = qemu.waitFor(200, TimeUnit.MILLISECONDS);
        numbers = numbers();
      }
      in.note(
          "the guest took %.1f s to count to %d"
              .formatted((System.nanoTime() - start) / 1e9, numbers));
      in.check("the guest counts, to " + NUMBERS + " at least", numbers >= NUMBERS);
      String said = Files.readString(Path.of("/run/guest.qemu")).strip();
      in.same("QEMU has nothing to say", "", said);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    } finally {
      qemu.destroyForcibly();
    }
  }

  /** How far it has counted, without a gap, from 1. */
  private static int numbers() throws IOException {
    if (!Files.exists(CONSOLE)) {
      return 0;
    }
    int last = 0;
    String console = new String(Files.readAllBytes(CONSOLE), StandardCharsets.ISO_8859_1);
    for (String line : console.lines().filter(l -> l.startsWith("seq ")).toList()) {
      String[] words = line.split(" ", -1);
      if (words.length == 3 && words[1].equals(Integer.toString(last + 1))) {
        last++;
      }
    }
    return last;
  }
}
