package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.testbed.SkippedException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * Two VMs have their images on a real file system, ext4 on a virtio disk. On the next kernel one
 * image's name is another file's: that VM does not start with it, the other does, and the first
 * does when its image has its name again.
 */
@Promise("kernel-arrival")
public final class ImagesCross implements Scenario {
  private static final String VM = "web";
  private static final String MOVED = "moved";
  private static final long DISK_BYTES = 128L << 20;
  private static final Path DIRECTORY = Path.of("/run/images");
  private static final Path MKFS = Path.of("/sbin/mke2fs");
  private static final Path OLD = DIRECTORY.resolve("old.raw");

  @Override
  public String title() {
    return "after a kexec a VM starts with the image that it had, and not with another of its name";
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withMemory(2048)
        .withDevices(new Setup.Device.Disk(DISK_BYTES))
        .withLimit(Duration.ofMinutes(12));
  }

  @Override
  public void prepare(Outside out) throws IOException {
    InstalledHoldfast.require();
    if (!Files.isExecutable(MKFS)) {
      throw new SkippedException("there is no " + MKFS + "; Debian has it in e2fsprogs");
    }
    run(MKFS.toString(), "-q", "-F", "-t", "ext4", out.disk(0).toString());
  }

  private static void run(String... command) throws IOException {
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String said =
        new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    try {
      if (process.waitFor() != 0) {
        throw new IOException(String.join(" ", command) + ": " + said);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IOException("interrupted", e);
    }
  }

  private static void mount() throws IOException {
    Files.createDirectories(DIRECTORY);
    run("mount", "/dev/vda", DIRECTORY.toString());
  }

  private static Path image(String vm) {
    return DIRECTORY.resolve(vm + ".raw");
  }

  private static void make(Path image) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(16 << 20);
    }
  }

  @Override
  public void before(Inside in) throws IOException {
    mount();
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    for (String vm : List.of(VM, MOVED)) {
      make(image(vm));
      holdfast.runFirmware(vm, image(vm));
    }
    List<String> plan = new ArrayList<>(holdfast.kernelUpdate());
    plan.add("--dry-run");
    String said = holdfast.must(plan.toArray(String[]::new));
    in.check(
        "each image has an identity that lasts: " + said.replace('\n', '|'),
        !said.contains("is the same file on the next kernel") && !said.contains("gone with it"));
    holdfast.updateKernel();
  }

  @Override
  public void after(Inside in) throws IOException {
    mount();
    Files.move(image(MOVED), OLD);
    make(image(MOVED));
    InstalledHoldfast holdfast = new InstalledHoldfast(in);
    Process _ = holdfast.startAgent();
    holdfast.checkFirmware(VM);
    String vms = holdfast.must("vm", "list");
    in.check(
        "the other VM does not start with another image: " + vms.replace('\n', '|'),
        vms.contains(MOVED + " is stuck"));
    in.check("nothing has it open", !open(image(MOVED)));
    InstalledHoldfast.Answer retry = holdfast.holdfast("update", "retry");
    in.same("trying again, in vain", 1, retry.exit());
    in.check(
        "it says why: " + retry.out().replace('\n', '|'),
        retry.out().contains(image(MOVED).toString())
            && retry.out().contains("give the images their names back"));
    String listed = holdfast.must("vm", "list");
    in.check(
        "so does the list: " + listed.replace('\n', '|'),
        listed.contains(image(MOVED).toString()) && listed.contains("holdfast update retry"));
    in.check("nothing has it open", !open(image(MOVED)));
    Files.move(OLD, image(MOVED), StandardCopyOption.REPLACE_EXISTING);
    in.same("trying again", 0, holdfast.holdfast("update", "retry").exit());
    holdfast.checkFirmware(VM);
    holdfast.checkFirmware(MOVED);
    in.check("its image is open again", open(image(MOVED)));
    for (String id : InstalledHoldfast.reports()) {
      in.note(holdfast.must("update", "show", id).replace('\n', '|'));
    }
  }

  /** Whether a process has the file of this name open. */
  private static boolean open(Path file) throws IOException {
    try (var processes = Files.newDirectoryStream(Path.of("/proc"), "[0-9]*")) {
      for (Path process : processes) {
        if (has(process, file)) {
          return true;
        }
      }
    }
    return false;
  }

  private static boolean has(Path process, Path file) {
    try (var descriptors = Files.newDirectoryStream(process.resolve("fd"))) {
      for (Path each : descriptors) {
        if (Files.readSymbolicLink(each).equals(file)) {
          return true;
        }
      }
    } catch (IOException | DirectoryIteratorException e) {
      return false; // It has ended.
    }
    return false;
  }
}
