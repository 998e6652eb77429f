package io.holdfast.benchmarks;

import io.holdfast.promise.Promise;
import io.holdfast.testbed.Kernels;
import io.holdfast.testbed.Result;
import io.holdfast.testbed.Scenarios;
import io.holdfast.testbed.Testbed;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/**
 * The demo of an update of the kernel: runs the testbed's scenario {@code kernel-update-shown},
 * shows what happens in it, and ends with the two kernels, the parts of the blackout and what was
 * checked.
 *
 * <p>HOLDFAST_KERNEL names the kernel's folder, HOLDFAST_GUEST the test guest's. The one argument
 * is the folder for the files of the run, such as the machine's console; they stay there. The exit
 * status is 0 only if everything holds. Ctrl-C ends the machine and leaves no process.
 */
@Promise("kernel-update")
public final class KernelDemo {
  private static final String SCENARIO = "kernel-update-shown";
  private static final String COLUMNS = "%-56s %9s %12s";
  private static final String BLACKOUT = "part.blackout";
  private static final String FLOOR = "part.floor";
  private static final String KEXEC = "part.reboot-call-to-init";
  private static final String SILENCE = "silence";
  private static final int BOOT_ID = 8;

  /** What must have been checked, in the order in which it is shown. */
  static final List<String> TICKS =
      List.of(
          "the host runs another kernel",
          "the new kernel took over memory in a kexec",
          "the update",
          "memory is what the guest wrote",
          "the counter did not go back, and rises",
          "the guest did not reboot",
          "CPUID is as before",
          "the console neither forks, repeats nor skips",
          "the disk neither forks, repeats nor skips",
          "its TCP connection goes on with the next byte",
          "the guest complained of nothing");

  /** The facts that are the parts of the blackout, and their names for people. */
  private record Part(String key, String label) {}

  private static final List<Part> PARTS =
      List.of(
          new Part("part.stop", "QEMU stops the guest"),
          new Part("part.save", "QEMU saves the guest's device state, in memory"),
          new Part(KEXEC, "kexec, from the reboot call to the first program"),
          new Part("part.init-to-unpacking", "the agent starts"),
          new Part("part.unpacking", "the agent takes over memory and device state"),
          new Part("part.unpacked-to-QEMU", "the agent makes the network and starts a QEMU"),
          new Part("part.QEMU-up", "QEMU comes up"),
          new Part("part.load", "QEMU loads the device state"),
          new Part("part.resume", "the guest resumes"));

  private KernelDemo() {}

  /** See {@link KernelDemo}. */
  public static void main(String[] arguments) {
    Screen screen = Screen.system();
    KernelDemoProgress progress = new KernelDemoProgress(screen, System::nanoTime);
    Runtime.getRuntime().addShutdownHook(new Thread(progress::interrupt, "interrupted"));
    screen.title("A host gets a new kernel under a running guest");
    Testbed testbed = new Testbed(Testbed.find(), Path.of(arguments[0]), Kernels.fromEnvironment());
    Result result = testbed.run(Scenarios.named(SCENARIO), UnaryOperator.identity(), progress);
    boolean good = progress.end() && show(screen, result);
    System.exit(good ? 0 : 1);
  }

  /**
   * Shows how it ended.
   *
   * @return whether everything holds
   */
  static boolean show(Screen screen, Result result) {
    screen.line("");
    boolean measured = false;
    if (result.facts().containsKey(BLACKOUT)) {
      kernels(screen, result.facts());
      screen.line("");
      measured = parts(screen, result.facts());
      screen.line("");
    }
    List<Verdict> verdicts = verdicts(result);
    verdicts.forEach(screen::verdict);
    screen.line("");
    if (measured && result.passed() && verdicts.stream().allMatch(Verdict::holds)) {
      screen.good(
          "The host has a new kernel, and its guest noticed only the pause: "
              + seconds(result.facts().getOrDefault(SILENCE, ""))
              + " for its TCP peer.");
      return true;
    }
    failed(screen, result);
    return false;
  }

  private static void kernels(Screen screen, Map<String, String> facts) {
    for (int i = 0; i < 2; i++) {
      String kernel = "kernel." + i + ".";
      String boot = facts.getOrDefault(kernel + "boot-id", "unknown");
      screen.fact(
          i == 0 ? "kernel" : "",
          "%s Linux %s %s, boot id %s"
              .formatted(
                  i == 0 ? "before:" : "after: ",
                  facts.getOrDefault(kernel + "release", "unknown"),
                  facts.getOrDefault(kernel + "version", ""),
                  boot.substring(0, Math.min(BOOT_ID, boot.length()))));
    }
  }

  /** Shows the table, and tells whether all of it was measured. */
  private static boolean parts(Screen screen, Map<String, String> facts) {
    String floor = seconds(facts.getOrDefault(FLOOR, ""));
    screen.row(COLUMNS, "part of the blackout", "update", "plain kexec");
    for (Part part : PARTS) {
      screen.row(
          COLUMNS,
          part.label(),
          seconds(facts.getOrDefault(part.key(), "")),
          part.key().equals(KEXEC) ? floor : "");
    }
    screen.row(COLUMNS, "together", seconds(facts.getOrDefault(BLACKOUT, "")), floor);
    screen.row(
        COLUMNS,
        "silence of the guest's TCP stream, seen from outside",
        seconds(facts.getOrDefault(SILENCE, "")),
        "");
    return Stream.concat(PARTS.stream().map(Part::key), Stream.of(BLACKOUT, FLOOR, SILENCE))
        .allMatch(facts::containsKey);
  }

  /** What was checked: first what must have been, then the rest. */
  private static List<Verdict> verdicts(Result result) {
    List<Verdict> verdicts = new ArrayList<>();
    boolean started = !result.checks().isEmpty();
    for (String tick : TICKS) {
      List<Verdict> found =
          result.checks().stream()
              .filter(check -> check.name().equals(tick))
              .map(KernelDemo::verdict)
              .toList();
      verdicts.addAll(found);
      if (found.isEmpty() && started) {
        verdicts.add(new Verdict(tick, false, "was not checked"));
      }
    }
    result.checks().stream()
        .filter(check -> !TICKS.contains(check.name()))
        .map(KernelDemo::verdict)
        .forEach(verdicts::add);
    return verdicts;
  }

  private static Verdict verdict(Result.Check check) {
    return new Verdict(check.name(), check.ok(), check.detail().orElse(""));
  }

  private static void failed(Screen screen, Result result) {
    Optional<String> why =
        switch (result.outcome()) {
          case Result.Outcome.Passed() -> Optional.empty();
          case Result.Outcome.Failed(String reason) -> Optional.of(reason);
          case Result.Outcome.Skipped(String reason) -> Optional.of(reason);
        };
    result.notes().forEach(note -> screen.line("    " + note.replaceAll("\\p{Cntrl}", " ")));
    screen.failed("Not everything holds" + why.map(w -> ": " + w).orElse("."));
    result.run().ifPresent(run -> screen.line("The machine's console and more: " + run));
  }

  private static String seconds(String millis) {
    return millis.isEmpty() ? "unknown" : Screen.seconds(Long.parseLong(millis) * 1_000_000);
  }
}
