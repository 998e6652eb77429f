package io.holdfast.kho.image;

import static org.assertj.core.api.Assertions.assertThat;

import io.holdfast.promise.Promise;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Promise("kernel-plan")
class PreflightTest {
  private static final String ON = "console=ttyS0 kho=on liveupdate=on";

  @TempDir Path folder;
  private KernelImage from;

  @BeforeEach
  void setUp() throws IOException, ImageException {
    from = FakeKernel.good().read(folder);
  }

  private List<Refusal> check(FakeKernel to, String commandLine)
      throws IOException, ImageException {
    return Preflight.check(from, to.read(folder), commandLine);
  }

  /** Exactly one thing is wrong, its reason says this and its advice that. */
  private static void only(
      List<Refusal> refusals, Refusal.What what, String reason, String advice) {
    assertThat(refusals).extracting(Refusal::what).containsExactly(what);
    Refusal refusal = refusals.getFirst();
    assertThat(refusal.reason()).contains(reason).endsWith(".");
    assertThat(refusal.advice()).contains(advice).endsWith(".");
  }

  @Test
  void theSameFormatsAreTakenOver() throws IOException, ImageException {
    assertThat(check(FakeKernel.good(), ON)).isEmpty();
    assertThat(check(FakeKernel.good().banner("Linux version 7.4.0 (a@b) #1"), ON)).isEmpty();
    assertThat(check(FakeKernel.speaking("kho-v4", "kho-v5", "luo-v5").handler("memfd-v2"), ON))
        .isEmpty();
  }

  @Test
  void aKernelWithoutKhoIsRefused() throws IOException, ImageException {
    // Whatever else is wrong with it does not matter then.
    only(
        check(FakeKernel.speaking(), ""),
        Refusal.What.NO_KHO,
        "built without Kexec HandOver",
        "CONFIG_KEXEC_HANDOVER");
  }

  @Test
  void aKernelWithoutLuoIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.speaking("kho-v4"), ON),
        Refusal.What.NO_LUO,
        "without the Live Update Orchestrator",
        "CONFIG_LIVEUPDATE");
  }

  @Test
  void anotherVersionOfKhoIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.speaking("kho-v5", "luo-v5").handler("memfd-v2"), ON),
        Refusal.What.KHO_VERSION,
        "hands over kho-v4, and 7.3.4-test reads kho-v5: it would say \"disabling KHO revival\"",
        "Choose a kernel that has kho-v4");
  }

  @Test
  void anotherVersionOfLuoIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.speaking("kho-v4", "luo-v6").handler("memfd-v2"), ON),
        Refusal.What.LUO_VERSION,
        "it would panic early in its boot",
        "Choose a kernel that has luo-v5");
  }

  @Test
  void anotherVersionOfMemfdIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.speaking("kho-v4", "luo-v5").handler("memfd-v3"), ON),
        Refusal.What.HANDLER,
        "can hand over memfd-v2, and 7.3.4-test takes over memfd-v3",
        "Choose a kernel that has memfd-v2");
  }

  @Test
  void aKernelWithoutTheMemfdHandlerIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.speaking("kho-v4", "luo-v5"), ON),
        Refusal.What.HANDLER,
        "every open of /dev/liveupdate fail with EIO",
        "CONFIG_LIVEUPDATE_MEMFD");
  }

  @Test
  void aHandlerThatOnlyTheOldOneHasIsRefused() throws IOException, ImageException {
    from = FakeKernel.good().handler("vfio-pci-v1").read(folder);
    only(
        check(FakeKernel.good(), ON),
        Refusal.What.HANDLER,
        "vfio-pci-v1",
        "Choose a kernel that has vfio-pci-v1");
    assertThat(check(FakeKernel.good().handler("vfio-pci-v1").handler("iommufd-v1"), ON)).isEmpty();
    from = FakeKernel.good().handler("liveupdate-test-flb-v0").read(folder);
    assertThat(check(FakeKernel.good(), ON)).isEmpty();
  }

  @Test
  void aRunningKernelWithNothingToHandOverIsRefused() throws IOException, ImageException {
    from = FakeKernel.speaking().read(folder);
    only(
        check(FakeKernel.good(), ON),
        Refusal.What.NOTHING_TO_HAND_OVER,
        "without Kexec HandOver",
        "--from");
    from = FakeKernel.speaking("kho-v4").read(folder);
    only(
        check(FakeKernel.good(), ON),
        Refusal.What.NOTHING_TO_HAND_OVER,
        "without the Live Update Orchestrator",
        "--from");
  }

  @Test
  void aKernelThatKexecCanNotLoadIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.good().xloadflags(1), ON),
        Refusal.What.NOT_LOADABLE,
        "CONFIG_RELOCATABLE is off",
        "relocatable");
  }

  @Test
  void aKernelForAnotherMachineIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.good().machine(183), ON),
        Refusal.What.ARCHITECTURE,
        "is a kernel for arm64",
        "x86-64");
  }

  @Test
  @Promise("kernel-plan")
  void aCommandLineWithoutLiveupdateIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.good(), "quiet kho=on"),
        Refusal.What.LUO_OFF,
        "does not have liveupdate=on",
        "Add liveupdate=on");
    only(
        check(FakeKernel.good(), "kho=on liveupdate=on liveupdate=off"),
        Refusal.What.LUO_OFF,
        "switches the Live Update Orchestrator off",
        "Add liveupdate=on");
  }

  @Test
  @Promise("kernel-plan")
  void aCommandLineWithKhoOffIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.good(), "kho=on liveupdate=on kho=off"),
        Refusal.What.KHO_OFF,
        "has kho=off",
        "Take kho=off out");
  }

  @Test
  @Promise("kernel-plan")
  void khoMustBeSwitchedOnWhereItIsNotByDefault() throws IOException, ImageException {
    String without = "liveupdate=on";
    only(
        check(FakeKernel.good(), without),
        Refusal.What.KHO_OFF,
        "built with Kexec HandOver off unless told otherwise",
        "Add kho=on");
    String enabled = "CONFIG_KEXEC_HANDOVER=y\nCONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT=y\n";
    assertThat(check(FakeKernel.good().config(enabled), without)).isEmpty();
    // What a bootconfig that was built in says is not known.
    assertThat(
            check(
                FakeKernel.good().config(enabled + "CONFIG_CMDLINE_FROM_BOOTCONFIG=y\n"), without))
        .extracting(Refusal::what)
        .containsExactly(Refusal.What.KHO_OFF);
    only(
        check(FakeKernel.good().config(""), without),
        Refusal.What.KHO_OFF,
        "can't be read from an image without CONFIG_IKCONFIG",
        "Add kho=on");
  }

  @Test
  @Promise("kernel-plan")
  void aCommandLineThatIsBuiltInCounts() throws IOException, ImageException {
    FakeKernel to =
        FakeKernel.good()
            .config("CONFIG_CMDLINE_BOOL=y\nCONFIG_CMDLINE=\"kho=on liveupdate=on\"\n");
    assertThat(check(to, "")).isEmpty();
    only(check(to, "kho=0"), Refusal.What.KHO_OFF, "has kho=off", "Take kho=off out");
    FakeKernel override =
        FakeKernel.good().config("CONFIG_CMDLINE=\"kho=on\"\nCONFIG_CMDLINE_OVERRIDE=y\n");
    only(
        check(override, ON),
        Refusal.What.LUO_OFF,
        "The command line that is built into 7.3.4-test",
        "CONFIG_CMDLINE_OVERRIDE");
  }

  @Test
  @Promise("kernel-plan")
  void aCommandLineThatTheKernelWouldCutOffIsRefused() throws IOException, ImageException {
    only(
        check(FakeKernel.good(), "x".repeat(2047 - ON.length()) + " " + ON),
        Refusal.What.COMMAND_LINE_TOO_LONG,
        "takes 2049 bytes, and the kernel keeps 2048",
        "Shorten it");
    assertThat(check(FakeKernel.good(), "x".repeat(2046 - ON.length()) + " " + ON)).isEmpty();
  }

  @Test
  void everythingThatIsWrongIsSaidAtOnce() throws IOException, ImageException {
    assertThat(check(FakeKernel.speaking("kho-v9", "luo-v9").xloadflags(1), "kho=off"))
        .extracting(Refusal::what)
        .containsExactly(
            Refusal.What.NOT_LOADABLE,
            Refusal.What.KHO_VERSION,
            Refusal.What.LUO_VERSION,
            Refusal.What.HANDLER,
            Refusal.What.LUO_OFF,
            Refusal.What.KHO_OFF);
  }

  @Test
  void theTestbedsKernelTakesOverFromItself() throws IOException, ImageException {
    Path kernel = RealKernels.testbed();
    KernelImage image = KernelImage.read(kernel.resolve("bzImage"));
    assertThat(Preflight.check(image, image, ON)).isEmpty();
    only(Preflight.check(image, image, "kho=on"), Refusal.What.LUO_OFF, "", "liveupdate=on");
    // Its own code with another version in it, as a later kernel has it.
    byte[] vmlinux = Files.readAllBytes(kernel.resolve("vmlinux"));
    String luo = image.abi().luo().first();
    String memfd = image.abi().handlers().first();
    assertThat(changed(image, vmlinux, luo, "luo-v9"))
        .containsExactly(Refusal.What.NOT_LOADABLE, Refusal.What.LUO_VERSION);
    assertThat(changed(image, vmlinux, memfd, "memfd-v9"))
        .containsExactly(Refusal.What.NOT_LOADABLE, Refusal.What.HANDLER);
    assertThat(changed(image, vmlinux, memfd, "xxxxxxxx"))
        .containsExactly(Refusal.What.NOT_LOADABLE, Refusal.What.HANDLER);
  }

  private List<Refusal.What> changed(KernelImage from, byte[] vmlinux, String name, String other)
      throws IOException, ImageException {
    // A byte in each character, so that places in the text are places in the file.
    String text = new String(vmlinux, StandardCharsets.ISO_8859_1);
    byte[] changed = text.replace(name + "\0", other + "\0").getBytes(StandardCharsets.ISO_8859_1);
    Path file = Files.write(folder.resolve("vmlinux"), changed);
    return Preflight.check(from, KernelImage.read(file), ON).stream().map(Refusal::what).toList();
  }

  @Test
  void debiansKernelIsRefused() throws IOException, ImageException {
    KernelImage debian = KernelImage.read(RealKernels.debian());
    only(Preflight.check(from, debian, ON), Refusal.What.NO_KHO, debian.release(), "CONFIG_KEXEC");
  }

  /**
   * As lib/cmdline.c's next_arg, kernel/params.c's parse_args and lib/kstrtox.c's kstrtobool do it.
   */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '\'',
      value = {
        "liveupdate=on            | true",
        "liveupdate=ON            | true",
        "liveupdate=once          | true",
        "liveupdate=1             | true",
        "liveupdate=yes           | true",
        "liveupdate=enable        | true",
        "liveupdate=true          | true",
        "liveupdate=off           | false",
        "liveupdate=0             | false",
        "liveupdate=disable       | false",
        "liveupdate               | none",
        "liveupdate=              | none",
        "liveupdate=o             | none",
        "liveupdate=2             | none",
        "liveupdatex=on           | none",
        "xliveupdate=on           | none",
        "LIVEUPDATE=on            | none",
        "module.liveupdate=on     | none",
        "liveupdate=off liveupdate=on | true",
        "liveupdate=on liveupdate=off | false",
        "liveupdate=on liveupdate=2   | true",
        "liveupdate=on liveupdate     | true",
        "-- liveupdate=on             | none",
        "liveupdate=on -- liveupdate=off | true",
        "--x liveupdate=on            | true",
        "--=1 liveupdate=on           | true",
        "'liveupdate=\"on\"'          | true",
        "'\"liveupdate=on\"'          | true",
        "'\"liveupdate=on x\"'        | true",
        "'a=\"b liveupdate=on\"'      | none",
        "'a=\"b\" liveupdate=on'      | true",
        "'a\"b liveupdate=on'         | none",
        "'\tx\tliveupdate=on\n'       | true",
        "=liveupdate=on               | none",
        "x=\u00e0liveupdate=on        | true",
        "x=\u00e4liveupdate=on        | none",
      })
  @Promise("kernel-plan")
  void wordsMeanWhatTheKernelTakesThemFor(String line, String expected) {
    assertThat(KernelCommandLine.parse(line).flag("liveupdate").map(String::valueOf).orElse("none"))
        .isEqualTo(expected);
  }
}
