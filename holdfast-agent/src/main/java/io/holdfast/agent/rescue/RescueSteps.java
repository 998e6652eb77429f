package io.holdfast.agent.rescue;

import io.holdfast.agent.rescue.Rescue.Box;
import io.holdfast.agent.rescue.Rescue.Place;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * What to do about what a {@link Rescue} shows, and what not to do.
 *
 * @param storing the processes that store memory or sessions, or run a guest
 * @param initrd whether this runs in an initrd
 * @param beforeSwitch whether the boot has yet to switch from an initrd to the real root
 * @param unbound what has to be bound below the root file system that an agent is to run on
 */
record RescueSteps(
    Rescue found,
    Set<Integer> storing,
    boolean initrd,
    boolean beforeSwitch,
    List<String> unbound) {
  private static final Path RUN = Path.of("/run/holdfast");
  private static final Path ROOT = Path.of("/");

  /** Returns what was found, with steps and warnings. */
  Rescue add() {
    return new Rescue(
        found.sessions(),
        found.evidence(),
        found.run(),
        found.root(),
        found.agent(),
        found.boxes(),
        found.missing(),
        found.unknown(),
        steps(),
        found.waits() ? warnings() : List.of());
  }

  private List<String> steps() {
    List<String> steps = new ArrayList<>();
    if (!found.waits()) {
      if (found.lost()) {
        steps.add("Run the VMs that are lost anew, from their disks: holdfast vm run NAME");
      }
      return steps;
    }
    if (!unbound.isEmpty()) {
      steps.add(
          "Bind what an agent needs below "
              + found.root()
              + ": "
              + unbound.stream()
                  .map(name -> "mount -o rbind /" + name + " " + found.root().resolve(name))
                  .collect(Collectors.joining("; ")));
    }
    boolean lacks = found.boxes().stream().anyMatch(box -> !box.missing().isEmpty());
    if (lacks || !found.missing().isEmpty()) {
      steps.add("Install, mount or make what is missing, as listed above");
    }
    agent(steps);
    steps.add("Look again: holdfast rescue" + run());
    return steps;
  }

  private void agent(List<String> steps) {
    if (found.agent().isPresent()) {
      if (found.agent().get().vms().isEmpty()) {
        steps.add("Wait until the agent answers: holdfast status");
        return;
      }
      steps.add("Have the agent try again: holdfast update retry");
      List<String> given =
          found.boxes().stream()
              .filter(box -> box.place() == Place.NOT_BACK)
              .map(Box::name)
              .toList();
      if (!given.isEmpty()) {
        steps.add(
            "Only if a VM cannot be mended: holdfast vm stop NAME gives it up, so that the update"
                + " can end");
      }
      return;
    }
    String start = "holdfast agent" + run();
    if (!found.root().equals(ROOT)) {
      steps.add("Start the agent on that root: chroot " + found.root() + " " + start);
    } else if (initrd) {
      steps.add(
          "Mount the real root, then continue the boot: sessions that no agent has retrieved stay in"
              + " the kernel, and the agent of the real root takes them");
      steps.add(
          "Only if the guests must run before the boot can go on: mount a root with QEMU and their"
              + " images at DIR, and do what `holdfast rescue --root DIR` says");
      return;
    } else {
      steps.add(
          "Start the agent: systemctl start holdfast.service where it is a service, else " + start);
    }
    steps.add(
        "A VM that the agent cannot bring back stays stored: mend what `holdfast vm list` says of"
            + " it, then holdfast update retry");
  }

  private String run() {
    return found.run().equals(RUN) ? "" : " --run " + found.run();
  }

  private List<String> warnings() {
    List<String> warnings = new ArrayList<>();
    warnings.add(
        "Do not restart the machine and do not load another kernel (reboot, kexec): that discards"
            + " all that waits");
    if (!storing.isEmpty()) {
      String processes = storing.stream().map(String::valueOf).collect(Collectors.joining(", "));
      warnings.add(
          "Do not end process "
              + processes
              + ": what it stores, or the guest that it runs, ends with it");
      if (beforeSwitch) {
        warnings.add(
            "Do not continue the boot while processes store or run VMs: systemd ends all processes"
                + " of an initrd when it switches to the real root");
      }
    }
    return warnings;
  }
}
