package io.holdfast.kho.image;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SortedSet;
import java.util.TreeSet;

/**
 * Whether a kernel would take over what another hands over, found out before anything is changed.
 * After the kexec it is too late: the kernel panics, can't give the state back, or does not even
 * notice it and uses its memory for something else.
 *
 * <p>What is said of kernels is of Linux 7.3: kernel/liveupdate, and
 * arch/x86/kernel/kexec-bzimage64.c.
 */
public final class Preflight {
  private Preflight() {}

  /**
   * Checks a kernel and its command line. That the state itself is sound, and that the running
   * kernel has Kexec HandOver and the Live Update Orchestrator switched on, is not found out here.
   *
   * @param from the kernel that hands over: what {@link RunningKernel} found, or an image named by
   *     the user
   * @param to the kernel that is to take over
   * @param commandLine the command line that {@code to} will get, all of it
   * @return everything that is in the way; empty if {@code to} would take over
   */
  public static List<Refusal> check(KernelImage from, KernelImage to, String commandLine) {
    List<Refusal> refusals = new ArrayList<>();
    architecture(from, to, refusals);
    to.loadable()
        .ifPresent(
            why ->
                refusals.add(
                    new Refusal(
                        Refusal.What.NOT_LOADABLE,
                        "%s can't be loaded: %s.".formatted(to.file(), why),
                        "Name the bzImage of a 64-bit, relocatable kernel.")));
    if (from.abi().kho().isEmpty() || from.abi().luo().isEmpty()) {
      refusals.add(
          new Refusal(
              Refusal.What.NOTHING_TO_HAND_OVER,
              "The kernel that would hand over, %s, is built without %s: it has no state that another could take over."
                  .formatted(
                      from.release(),
                      from.abi().kho().isEmpty()
                          ? "Kexec HandOver (CONFIG_KEXEC_HANDOVER)"
                          : "the Live Update Orchestrator (CONFIG_LIVEUPDATE)"),
              "Boot a kernel that has both, without a live update, and update from there. If %s is not the kernel that runs, name its image with --from."
                  .formatted(from.file())));
    }
    if (to.abi().kho().isEmpty()) {
      // All that follows needs it: without it nothing else about this kernel matters.
      refusals.add(
          new Refusal(
              Refusal.What.NO_KHO,
              "%s is built without Kexec HandOver (CONFIG_KEXEC_HANDOVER): it would start without noticing the state and use the preserved memory for itself; every guest would be lost without a word."
                  .formatted(to.release()),
              "Choose a kernel with CONFIG_KEXEC_HANDOVER, CONFIG_LIVEUPDATE and CONFIG_LIVEUPDATE_MEMFD."));
      return List.copyOf(refusals);
    }
    formats(from, to, refusals);
    commandLine(to, commandLine, refusals);
    return List.copyOf(refusals);
  }

  private static void architecture(KernelImage from, KernelImage to, List<Refusal> refusals) {
    for (KernelImage image : List.of(from, to)) {
      if (image.architecture() != Architecture.X86_64) {
        refusals.add(
            new Refusal(
                Refusal.What.ARCHITECTURE,
                "%s is a kernel for %s: between kernels for x86-64 only is a live update possible here."
                    .formatted(image.file(), image.architecture().words()),
                "Name a kernel for x86-64."));
      }
    }
  }

  private static void formats(KernelImage from, KernelImage to, List<Refusal> refusals) {
    SortedSet<String> kho = missing(from.abi().kho(), to.abi().kho());
    if (!kho.isEmpty()) {
      refusals.add(
          new Refusal(
              Refusal.What.KHO_VERSION,
              "%s hands over %s, and %s reads %s: it would say \"disabling KHO revival\" in its log, start as after a cold boot and use the preserved memory for itself; every guest would be lost."
                  .formatted(from.release(), list(kho), to.release(), list(to.abi().kho())),
              otherKernel(kho)));
    }
    if (to.abi().luo().isEmpty()) {
      refusals.add(
          new Refusal(
              Refusal.What.NO_LUO,
              "%s is built without the Live Update Orchestrator (CONFIG_LIVEUPDATE): it would keep the preserved memory, and have no /dev/liveupdate to give it back through; every guest would be lost."
                  .formatted(to.release()),
              "Choose a kernel with CONFIG_LIVEUPDATE and CONFIG_LIVEUPDATE_MEMFD."));
      return;
    }
    SortedSet<String> luo = missing(from.abi().luo(), to.abi().luo());
    if (!luo.isEmpty()) {
      refusals.add(
          new Refusal(
              Refusal.What.LUO_VERSION,
              "%s hands over %s, and %s reads %s: it would panic early in its boot (\"The incoming tree failed to initialize properly\")."
                  .formatted(from.release(), list(luo), to.release(), list(to.abi().luo())),
              otherKernel(luo)));
    }
    SortedSet<String> handlers = missing(from.abi().handlers(), to.abi().handlers());
    // The kernel's test of its own live update registers some. Nobody has files that need them.
    handlers.removeIf(name -> name.startsWith("liveupdate-test-"));
    if (!handlers.isEmpty()) {
      refusals.add(
          new Refusal(
              Refusal.What.HANDLER,
              "%s can hand over %s, and %s takes over %s: one such file among all makes every open of /dev/liveupdate fail with EIO, so that no session comes back, whatever is in it; every guest would be lost."
                  .formatted(
                      from.release(),
                      list(handlers),
                      to.release(),
                      to.abi().handlers().isEmpty()
                          ? "no files at all"
                          : list(to.abi().handlers())),
              handlers.stream().anyMatch(name -> name.startsWith("memfd-"))
                      && to.abi().handlers().stream().noneMatch(name -> name.startsWith("memfd-"))
                  ? "Choose a kernel with CONFIG_LIVEUPDATE_MEMFD."
                  : otherKernel(handlers)));
    }
  }

  private static void commandLine(KernelImage to, String given, List<Refusal> refusals) {
    // CONFIG_CMDLINE_OVERRIDE: the given one is not looked at. CONFIG_CMDLINE: stands before it.
    String builtIn = to.config().flatMap(config -> config.get("CMDLINE")).orElse("");
    boolean override = to.has("CMDLINE_OVERRIDE").orElse(false);
    String line = override ? builtIn : builtIn.isEmpty() ? given : builtIn + " " + given;
    String whose =
        override
            ? "The command line that is built into %s (CONFIG_CMDLINE_OVERRIDE, so that none given to it counts)"
                .formatted(to.release())
            : "The new command line";
    String remedy =
        override ? "Choose a kernel without CONFIG_CMDLINE_OVERRIDE, or build it with " : "Add ";
    int size = line.getBytes(StandardCharsets.UTF_8).length + 1;
    if (size > KernelCommandLine.SIZE) {
      refusals.add(
          new Refusal(
              Refusal.What.COMMAND_LINE_TOO_LONG,
              "%s takes %d bytes, and the kernel keeps %d: what it cuts off may be what switches live update on."
                  .formatted(whose, size, KernelCommandLine.SIZE),
              "Shorten it."));
    }
    KernelCommandLine words = KernelCommandLine.parse(line);
    boolean luo = words.flag("liveupdate").orElse(false);
    if (!luo) {
      refusals.add(
          new Refusal(
              Refusal.What.LUO_OFF,
              "%s %s: the new kernel would have no /dev/liveupdate to give the state back through, and say nothing of it; every guest would be lost."
                  .formatted(
                      whose,
                      words.flag("liveupdate").isPresent()
                          ? "switches the Live Update Orchestrator off"
                          : "does not have liveupdate=on, and without it the Live Update Orchestrator is off"),
              remedy + "liveupdate=on."));
    }
    Optional<Boolean> kho = words.flag("kho");
    if (kho.isPresent() && !kho.get()) {
      refusals.add(
          new Refusal(
              Refusal.What.KHO_OFF,
              "%s has kho=off: the new kernel would switch live update off with it (\"Disabling liveupdate because KHO is disabled\"); every guest would be lost."
                  .formatted(whose),
              override ? remedy + "kho=on." : "Take kho=off out, or write kho=on behind it."));
    } else if (kho.isEmpty() && !onByDefault(to)) {
      refusals.add(
          new Refusal(
              Refusal.What.KHO_OFF,
              "%s does not have kho=on, and %s: the new kernel would switch live update off with it (\"Disabling liveupdate because KHO is disabled\"); every guest would be lost."
                  .formatted(
                      whose,
                      to.config().isPresent()
                          ? "the new kernel is built with Kexec HandOver off unless told otherwise (CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT)"
                          : "whether Kexec HandOver is on without it can't be read from an image without CONFIG_IKCONFIG"),
              remedy + "kho=on."));
    }
  }

  /** Whether KHO is certainly on when the command line says nothing about it. */
  private static boolean onByDefault(KernelImage to) {
    // With CONFIG_CMDLINE_FROM_BOOTCONFIG more words may be built in, which the configuration does
    // not tell.
    return to.has("KEXEC_HANDOVER_ENABLE_DEFAULT").orElse(false)
        && !to.has("CMDLINE_FROM_BOOTCONFIG").orElse(false);
  }

  private static SortedSet<String> missing(SortedSet<String> wanted, SortedSet<String> there) {
    SortedSet<String> missing = new TreeSet<>(wanted);
    missing.removeAll(there);
    return missing;
  }

  private static String list(SortedSet<String> names) {
    return String.join(", ", names);
  }

  private static String otherKernel(SortedSet<String> names) {
    return "Choose a kernel that has "
        + list(names)
        + ", or boot this one without a live update, with the guests shut down or moved to another host.";
  }
}
