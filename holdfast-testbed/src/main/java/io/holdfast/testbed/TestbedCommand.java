package io.holdfast.testbed;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.function.UnaryOperator;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code testbed/run}: scenarios for people. */
@Command(
    name = "testbed/run",
    sortOptions = false,
    usageHelpAutoWidth = true,
    description = {
      "Runs live-update scenarios on a real kernel, in a VM over this machine's own root file system, with real kexecs.",
      "Results are KTAP on standard output, progress on standard error. Each run's console and files stay in"
          + " target/testbed/SCENARIO.",
      ""
    },
    footer = {
      "",
      "Exit status: 0 all passed or were skipped; 1 one failed; 2 the command line is wrong; 125 the kernel does not"
          + " build, so that `git bisect run testbed/run SCENARIO --tree .` skips that commit."
    })
final class TestbedCommand implements Callable<Integer> {
  @Spec private CommandSpec spec = CommandSpec.create();

  @Parameters(
      paramLabel = "SCENARIO",
      description =
          "which; all of them unless told, but for the last in the list, which run at night."
              + " --list names them")
  private List<String> names = List.of();

  @Option(names = "--list", description = "list the scenarios")
  private boolean list;

  @Option(
      names = "--kernel",
      paramLabel = "IMAGE",
      description = "a bzImage of your own, for every scenario, before and after the kexec")
  private Optional<Path> kernel = Optional.empty();

  @Option(
      names = "--tree",
      paramLabel = "DIR",
      description = "build the kernel from this source tree, outside of it")
  private Optional<Path> tree = Optional.empty();

  @Option(
      names = "--package",
      paramLabel = "NAME",
      description =
          "build it from this Debian package, such as linux-source-7.2; the newest unless told")
  private Optional<String> sourcePackage = Optional.empty();

  @Option(
      names = "--debug",
      description = "the kernel that checks itself, before and after the kexec; slower")
  private boolean debug;

  @Option(names = "--memory", paramLabel = "MIB", description = "the machine's memory")
  private Optional<Integer> memory = Optional.empty();

  @Option(names = "--cpus", paramLabel = "N", description = "the machine's processors")
  private Optional<Integer> cpus = Optional.empty();

  @Option(
      names = "--device",
      paramLabel = "DEVICE",
      description = "one more device: iommu, edu, disk=MIB, or what QEMU's -device takes")
  private List<String> devices = new ArrayList<>();

  @Option(
      names = "--append",
      paramLabel = "WORDS",
      description = "more words for the kernel's command line")
  private List<String> append = new ArrayList<>();

  @Option(
      names = "--keep",
      description = "leave each machine up at its end, to look into it, until you press Enter")
  private boolean keep;

  /** Runs the command. */
  public static void main(String[] arguments) {
    CommandLine command = new CommandLine(new TestbedCommand());
    command
        .getCommandSpec()
        .addOption(
            CommandLine.Model.OptionSpec.builder("-h", "--help")
                .usageHelp(true)
                .description("show this, and end")
                .build());
    command.setParameterExceptionHandler(
        (e, _) -> {
          System.err.println("testbed/run: " + e.getMessage());
          System.err.println("`testbed/run --help` explains it.");
          return 2;
        });
    System.exit(command.execute(arguments));
  }

  @Override
  public Integer call() {
    if (list) {
      for (Scenario s : Scenarios.named()) {
        System.out.printf("%-32s %s%n", s.name(), s.title());
      }
      return 0;
    }
    List<Scenario> chosen = chosen();
    UnaryOperator<Setup> change = change();
    Path testbed = Testbed.find();
    Testbed bed = new Testbed(testbed, testbed.resolve("../target/testbed"), kernels(testbed));
    Ktap ktap = new Ktap(System.out);
    ktap.begin(chosen.size());
    List<Result> results = new ArrayList<>();
    for (Scenario scenario : chosen) {
      try {
        results.add(bed.run(scenario, change, new OnTerminal(scenario.name(), keep)));
      } catch (Kernels.KernelBuildException e) {
        System.out.println("Bail out! " + e.getMessage());
        return e.sourceDoesNotBuild() ? Kernels.DOES_NOT_BUILD : 1;
      }
      ktap.result(results.getLast());
    }
    System.out.println("# " + Ktap.summary(results));
    return results.stream().anyMatch(r -> r.outcome() instanceof Result.Outcome.Failed) ? 1 : 0;
  }

  private List<Scenario> chosen() {
    if (names.isEmpty()) {
      return Scenarios.all();
    }
    List<Scenario> all = Scenarios.named();
    List<Scenario> chosen = new ArrayList<>();
    for (String name : names) {
      chosen.add(
          all.stream()
              .filter(s -> s.name().equals(name))
              .findFirst()
              .orElseThrow(
                  () ->
                      wrong(
                          "there is no scenario "
                              + name
                              + "; there are: "
                              + String.join(", ", all.stream().map(Scenario::name).toList()))));
    }
    return chosen;
  }

  private Kernels kernels(Path testbed) {
    List<String> options = new ArrayList<>();
    if (List.of(kernel.isPresent(), tree.isPresent(), sourcePackage.isPresent()).stream()
            .filter(given -> given)
            .count()
        > 1) {
      throw wrong("of --kernel, --tree and --package one can be given");
    }
    if (kernel.isPresent()) {
      if (!Files.isReadable(kernel.get())) {
        throw wrong("--kernel " + kernel.get() + ": there is no such file that can be read");
      }
      return Kernels.image(kernel.get());
    }
    if (tree.isPresent()) {
      if (!Files.isDirectory(tree.get())) {
        throw wrong("--tree " + tree.get() + ": there is no such folder");
      }
      options.addAll(List.of("--tree", tree.get().toAbsolutePath().toString()));
    }
    sourcePackage.ifPresent(p -> options.addAll(List.of("--package", p)));
    return Kernels.built(testbed, options);
  }

  private UnaryOperator<Setup> change() {
    if (memory.isPresent() && memory.get() < 256) {
      throw wrong("--memory " + memory.get() + ": a testbed machine needs 256 MiB or more");
    }
    if (cpus.isPresent() && (cpus.get() < 1 || cpus.get() > 16)) {
      throw wrong("--cpus " + cpus.get() + ": 1 to 16");
    }
    List<Setup.Device> more = devices.stream().map(this::device).toList();
    return setup -> {
      Setup changed = debug ? setup.withKernel(Kernel.Config.DEBUG) : setup;
      changed = changed.withDevices(more.toArray(Setup.Device[]::new));
      changed = changed.withCommandLine(append.toArray(String[]::new));
      changed = memory.isPresent() ? changed.withMemory(memory.get()) : changed;
      return cpus.isPresent() ? changed.withCpus(cpus.get()) : changed;
    };
  }

  private Setup.Device device(String text) {
    if (text.startsWith("disk=")) {
      try {
        return new Setup.Device.Disk(
            Math.multiplyExact(Long.parseLong(text.substring(5)), 1L << 20));
      } catch (NumberFormatException | ArithmeticException e) {
        throw wrong("--device " + text + ": disk=MIB takes a size in MiB");
      }
    }
    return switch (text) {
      case "iommu" -> new Setup.Device.Iommu();
      case "edu" -> new Setup.Device.Edu();
      default -> new Setup.Device.Other(text);
    };
  }

  private CommandLine.ParameterException wrong(String message) {
    return new CommandLine.ParameterException(spec.commandLine(), message);
  }

  /** Progress on standard error; standard output is the results'. */
  private record OnTerminal(String name, boolean keep, long start) implements Testbed.Watcher {
    OnTerminal(String name, boolean keep) {
      this(name, keep, System.nanoTime());
    }

    @Override
    public void progress(String text) {
      System.err.printf(
          Locale.ROOT,
          "%6.1f s  %s: %s%n",
          (System.nanoTime() - start) / 1e9,
          name,
          Ktap.printable(text));
    }

    @Override
    public void ended(Path monitor, Path gdb, long pid) throws IOException {
      if (!keep) {
        return;
      }
      System.err.printf(
          "%s: the machine (process %d) stays up until you press Enter.%n"
              + "  QEMU's monitor:  socat - UNIX:%s%n"
              + "  a debugger:      gdb -ex 'target remote %s' VMLINUX%n",
          name, pid, monitor, gdb);
      int ignored = System.in.read();
      while (ignored >= 0 && ignored != '\n') {
        ignored = System.in.read();
      }
    }
  }
}
