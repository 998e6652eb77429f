package io.holdfast.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.holdfast.kho.image.RunningKernel;
import io.holdfast.promise.Promise;
import io.holdfast.varlink.json.Json;
import io.holdfast.varlink.json.JsonObject;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.ZoneOffset;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** {@code holdfast kho check}, without an agent anywhere. */
@Timeout(60)
@Promise("kernel-plan")
class KhoCheckTest {
  private static final String ON = "kho=on liveupdate=on";

  @TempDir private Path directory;

  private final ByteArrayOutputStream outBytes = new ByteArrayOutputStream();
  private final ByteArrayOutputStream errBytes = new ByteArrayOutputStream();

  private Exit run(String... arguments) {
    outBytes.reset();
    errBytes.reset();
    Shell shell =
        new Shell(
            new PrintStream(outBytes, false, UTF_8),
            new PrintStream(errBytes, false, UTF_8),
            false,
            100,
            Map.of(),
            directory,
            ZoneOffset.UTC,
            () -> directory.resolve("no-agent.sock"),
            _ -> {});
    return new CommandLineInterface(shell, new Interrupts()).run(arguments);
  }

  private String out() {
    return outBytes.toString(UTF_8);
  }

  private String err() {
    return errBytes.toString(UTF_8);
  }

  /** A file that is as much of a kernel as is looked at. */
  private void kernel(String name, boolean bootable, String release, String... strings)
      throws IOException {
    String text =
        "\0Linux version "
            + release
            + " (a@b) (gcc) #1 SMP\n\0"
            + String.join("\0", strings)
            + "\0";
    ByteBuffer elf = ByteBuffer.allocate(256 + text.length()).order(ByteOrder.LITTLE_ENDIAN);
    elf.put(new byte[] {0x7f, 'E', 'L', 'F', 2, 1, 1}).putShort(18, (short) 62).putLong(32, 64);
    elf.putShort(54, (short) 56).putShort(56, (short) 1).putInt(64, 1).putLong(64 + 8, 256);
    elf.putLong(64 + 32, text.length()).position(256).put(text.getBytes(UTF_8));
    ByteBuffer file = elf;
    if (bootable) {
      file = ByteBuffer.allocate(1024 + elf.limit()).order(ByteOrder.LITTLE_ENDIAN);
      file.put(0x1f1, (byte) 1).putShort(0x1fe, (short) 0xaa55).putInt(0x202, 0x53726448);
      file.putShort(0x206, (short) 0x20f).put(0x211, (byte) 1).putShort(0x236, (short) 3);
      file.putInt(0x24c, elf.limit()).position(1024).put(elf.array());
    }
    Files.write(directory.resolve(name), file.array());
  }

  private void kernels() throws IOException {
    kernel("old", true, "7.3.4", "kho-v4", "luo-v5", "memfd-v2");
    kernel("new", true, "7.3.5", "kho-v4", "luo-v5", "memfd-v2");
  }

  @Test
  void saysThatAKernelIsAccepted() throws IOException {
    kernels();
    assertThat(run("kho", "check", "--kernel", "new", "--from", "old", "--append", ON))
        .isEqualTo(Exit.OK);
    assertThat(out())
        .contains("from  7.3.4    kho-v4  luo-v5  memfd-v2  " + directory.resolve("old"))
        .contains("New command line: " + ON + "\n")
        .endsWith("Accepted: 7.3.5 would take over what 7.3.4 hands over.\n");
    assertThat(err()).isEmpty();
  }

  @Test
  void saysWhyAKernelIsRefused() throws IOException {
    kernels();
    kernel("other", true, "7.4.0", "kho-v4", "luo-v6", "memfd-v2");
    assertThat(run("kho", "check", "--kernel", "other", "--from", "old", "--append", "kho=on"))
        .isEqualTo(Exit.REFUSED);
    assertThat(out())
        .contains("Refused: 7.4.0 would not take over what 7.3.4 hands over.\n")
        .contains("  - 7.3.4 hands over luo-v5, and 7.4.0 reads luo-v6: it would panic")
        .contains("    what to do: Choose a kernel that has luo-v5")
        .endsWith("    what to do: Add liveupdate=on.\n");
    kernel("debian", true, "6.1.0");
    assertThat(run("kho", "check", "--kernel", "debian", "--from", "old", "--append", ON))
        .isEqualTo(Exit.REFUSED);
    assertThat(out()).contains("built without Kexec HandOver");
  }

  @Test
  void answersPrograms() throws IOException {
    kernels();
    assertThat(run("kho", "check", "--json", "--kernel=new", "--from=old", "--append=" + ON))
        .isEqualTo(Exit.OK);
    JsonObject accepted = Json.parse(out());
    assertThat(accepted.bool("accepted")).isTrue();
    assertThat(accepted.array("refusals").size()).isZero();
    assertThat(accepted.object("to").string("release")).isEqualTo("7.3.5");
    assertThat(accepted.object("to").array("luo")).hasToString("[\"luo-v5\"]");
    assertThat(run("kho", "check", "--json", "--kernel=new", "--from=old", "--append=quiet"))
        .isEqualTo(Exit.REFUSED);
    JsonObject refused = Json.parse(out());
    assertThat(refused.bool("accepted")).isFalse();
    assertThat(refused.array("refusals").toString())
        .contains("\"what\":\"LUO_OFF\"")
        .contains("\"what\":\"KHO_OFF\"");
    assertThat(run("kho", "check", "--json", "--kernel=absent", "--from=old"))
        .isEqualTo(Exit.FAILED);
    assertThat(Json.parse(out()).string("error")).isEqualTo("io.holdfast.cli.BadKernel");
  }

  @Test
  void aVmlinuxIsAskedForItsCode() throws IOException {
    kernels();
    kernel("vmlinux", false, "7.3.5", "kho-v4", "luo-v5", "memfd-v2");
    assertThat(run("kho", "check", "--kernel", "vmlinux", "--from", "old", "--append", ON))
        .isEqualTo(Exit.OK);
    assertThat(out()).contains("Accepted: ").contains("This file itself can't be loaded");
  }

  @Test
  void withoutACommandLineItIsTheRunningKernels() throws IOException {
    kernels();
    String running = Files.readString(Path.of("/proc/cmdline")).strip();
    run("kho", "check", "--kernel", "new", "--from", "old");
    assertThat(out()).contains("New command line: " + Table.clean(running) + "\n");
  }

  @Test
  @Promise("kernel-images")
  void aRunningKernelThatIsNotKnownIsNotGuessed() {
    RunningKernel unknown =
        new RunningKernel.Unknown("Its image was not found.", "Name it.", Optional.empty());
    assertThatThrownBy(() -> KhoCheckCommand.known("kho check", unknown))
        .isInstanceOf(Failure.class)
        .hasMessage(
            "kho check: what the running kernel hands over is not known. Its image was not found. Name it.")
        .extracting(failure -> ((Failure) failure).exit())
        .isEqualTo(Exit.FAILED);
  }

  @Test
  void mistakesAreExplained() throws IOException {
    kernels();
    Files.writeString(directory.resolve("text"), "no kernel");
    assertThat(run("kho", "check", "--kernel", "text", "--from", "old")).isEqualTo(Exit.FAILED);
    assertThat(err())
        .startsWith("holdfast: kho check: reading the kernel image " + directory.resolve("text"));
    assertThat(run("kho", "check")).isEqualTo(Exit.USAGE);
    assertThat(err()).contains("--kernel=IMAGE");
    assertThat(run("kho")).isEqualTo(Exit.USAGE);
    assertThat(run("kho", "chek")).isEqualTo(Exit.USAGE);
    assertThat(err()).contains("Did you mean check?");
  }
}
