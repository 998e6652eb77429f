package io.holdfast.testbed.scenarios;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Inside;
import io.holdfast.testbed.Kernel;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.Scenario;
import io.holdfast.testbed.Setup;
import io.holdfast.testbed.SkippedException;
import io.holdfast.testbed.Trouble;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * One of the kernel's own tests of a kexec, as it is: its {@code init} is all of user space, in an
 * initramfs that is packed as its script {@code vmtest.sh} packs it; the testbed's machine and
 * kernel take the place of that script's.
 */
@Promise("proofs")
public abstract class KernelSelftest implements Scenario {
  private static final String INITRAMFS = "initramfs.cpio";
  private final String suite;
  private final String test;
  private final String passed;

  /**
   * A test.
   *
   * @param suite its folder in tools/testing/selftests
   * @param test its program; empty if init does it all
   * @param passed what is on the console when it has passed
   */
  KernelSelftest(String suite, String test, String passed) {
    this.suite = suite;
    this.test = test;
    this.passed = passed;
  }

  @Override
  public String name() {
    return "kselftest-"
        + suite
        + (test.isEmpty() ? "" : "-" + test.replace("luo_", "").replace('_', '-'));
  }

  @Override
  public String title() {
    return "the kernel's own test " + suite + (test.isEmpty() ? "/vmtest.sh" : "/" + test);
  }

  @Override
  public Setup setup() {
    return Setup.standard()
        .withKernel(Kernel.Config.DEBUG)
        .withMemory(1024)
        .withStart(new Setup.Start.Initramfs(INITRAMFS));
  }

  static Path suite(Outside out, String suite) {
    return out.kernel()
        .selftests()
        .map(s -> s.resolve(suite))
        .filter(Files::exists)
        .orElseThrow(
            () ->
                new SkippedException(
                    "the kernel's own tests of "
                        + suite
                        + " come with a kernel that the testbed built from"
                        + " a source that has them, not with "
                        + out.kernel().what()));
  }

  /** What the tests ask of the kernel's configuration, and it lacks. */
  static List<String> missing(Outside out, Path tests) throws IOException {
    List<String> options = new ArrayList<>(Files.readAllLines(tests.resolve("options")));
    options.removeIf(o -> !o.startsWith("CONFIG_"));
    options.removeAll(Files.readAllLines(out.kernel().folder().orElseThrow().resolve("config")));
    return options;
  }

  @Override
  public void prepare(Outside out) throws IOException {
    Path tests = suite(out, suite);
    out.same("the kernel has every option that the test asks for", List.of(), missing(out, tests));
    List<String> list =
        new ArrayList<>(
            List.of(
                "dir /dev 0755 0 0",
                "dir /proc 0755 0 0",
                "dir /debugfs 0755 0 0",
                "nod /dev/console 0600 0 0 c 5 1",
                "file /init " + tests.resolve("init") + " 0755 0 0"));
    if (!test.isEmpty()) {
      list.add("file /test_binary " + tests.resolve(test) + " 0755 0 0");
      pack(out, tests, list, "inner.cpio");
      list.add("file /initrd.img " + out.run().resolve("inner.cpio") + " 0644 0 0");
    }
    list.add("file /kernel " + out.next().image() + " 0644 0 0");
    pack(out, tests, list, INITRAMFS);
  }

  private static void pack(Outside out, Path tests, List<String> list, String into)
      throws IOException {
    Path file = out.run().resolve(into + ".list");
    Files.write(file, list);
    String said =
        out.command(
            List.of(
                "sh",
                "-c",
                "\"$1\" \"$2\" >\"$3\"",
                "pack",
                tests.resolveSibling("gen_init_cpio").toString(),
                file.toString(),
                out.run().resolve(into).toString()));
    if (!said.isEmpty()) {
      out.note("gen_init_cpio: " + said);
    }
  }

  @Override
  public void before(Inside in) {
    throw new IllegalStateException("the test's own init is all of user space");
  }

  @Override
  public void outside(Outside out) throws IOException {
    String console = out.console();
    console
        .lines()
        .filter(
            l ->
                l.contains("[STAGE ")
                    || l.contains("INIT:")
                    || l.contains("# ")
                    || l.contains("KHO restore"))
        .map(String::strip)
        .forEach(out::note);
    out.same(
        "kernels that booted",
        2L,
        console.lines().filter(l -> l.contains("Linux version ")).count());
    out.check("the console says: " + passed, console.contains(passed));
  }

  /**
   * {@code selftests/kho}: folios, vmalloc memory and an FDT of the kernel's own. Its second kernel
   * has checked them when it comes to look for a root file system, gets none, and gives up: that is
   * the test's own end.
   */
  public static final class Kho extends KernelSelftest {
    /** Makes it. */
    public Kho() {
      super("kho", "", "KHO restore succeeded");
    }

    @Override
    public Optional<Trouble.Kind> provokes() {
      return Optional.of(Trouble.Kind.PANIC);
    }

    @Override
    public void outside(Outside out) throws IOException {
      super.outside(out);
      out.check(
          "the panic is for want of a root file system",
          out.console().contains("Kernel panic - not syncing: VFS: Unable to mount root fs"));
    }
  }

  /** One session over a kexec. */
  public static final class LuoKexecSimple extends KernelSelftest {
    /** Makes it. */
    public LuoKexecSimple() {
      super("liveupdate", "luo_kexec_simple", "TEST PASSED");
    }
  }

  /** Several sessions, some empty. */
  public static final class LuoMultiSession extends KernelSelftest {
    /** Makes it. */
    public LuoMultiSession() {
      super("liveupdate", "luo_multi_session", "TEST PASSED");
    }
  }

  /** Many files in a session. */
  public static final class LuoStressFiles extends KernelSelftest {
    /** Makes it. */
    public LuoStressFiles() {
      super("liveupdate", "luo_stress_files", "TEST PASSED");
    }
  }

  /** Many sessions. */
  public static final class LuoStressSessions extends KernelSelftest {
    /** Makes it. */
    public LuoStressSessions() {
      super("liveupdate", "luo_stress_sessions", "TEST PASSED");
    }
  }
}
