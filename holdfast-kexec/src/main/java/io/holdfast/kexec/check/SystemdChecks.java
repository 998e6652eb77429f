package io.holdfast.kexec.check;

import io.holdfast.core.participant.Obstacle;
import io.holdfast.kexec.systemd.Systemctl;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * What is in the way of an update of the kernel on a host whose first program is systemd: that has
 * to stop everything but the agent and the VMs, to let them go last, and to take sessions along.
 */
public final class SystemdChecks {
  /** The first that takes descriptor stores along over a kexec. */
  private static final int LEAST = 261;

  private static final String HOOK = "usr/lib/systemd/system-shutdown/holdfast";
  private static final String INSTALL =
      "Install Holdfast's unit and shutdown program as docs/systemd.md says, then `systemctl daemon-reload`"
          + " and `systemctl restart holdfast.service`; VMs live on.";

  /** Where the unit and the programs that come with it have the agent. */
  private static final Path RUN = Path.of("/run/holdfast");

  private static final Path SOCKET = RUN.resolve("agent.sock");

  /** What an initramfs at the end is, and which services put it there, of dracut's and Ubuntu's. */
  private static final String EXIT = "run/initramfs/shutdown";

  private static final List<String> GOING_BACK =
      List.of("dracut-shutdown.service", "finalrd.service");

  /** What a host never stops before its final kill. */
  private static final Set<String> LASTING = Set.of("system.slice", "-.slice", "-.mount");

  private final Systemctl systemctl;
  private final Path root;
  private final String store;
  private final Path run;
  private final Path socket;

  /**
   * @param root of the host's files
   * @param store who keeps descriptors
   * @param run the agent's run directory
   * @param socket where it listens
   */
  public SystemdChecks(Systemctl systemctl, Path root, String store, Path run, Path socket) {
    this.systemctl = systemctl;
    this.root = root;
    this.store = store;
    this.run = run;
    this.socket = socket;
  }

  /**
   * Looks for all of them.
   *
   * @param qemus the processes of the VMs
   */
  public List<Obstacle> obstacles(Set<Integer> qemus) {
    List<Obstacle> found = new ArrayList<>();
    try {
      version(found);
      String group = group("self");
      String unit = group.substring(group.lastIndexOf('/') + 1);
      if (!unit.endsWith(".service") || !store.equals("systemd")) {
        found.add(
            new Obstacle(
                "the agent",
                "it is no service of systemd's with a descriptor store, and would be stopped with the host",
                INSTALL));
        return found;
      }
      unit(unit, found);
      places(unit, found);
      initramfs(found);
      for (int pid : qemus) {
        String its = group(Integer.toString(pid));
        if (!its.equals(group)) {
          found.add(
              new Obstacle(
                  "process " + pid + " of a VM",
                  "it is in " + its + ", not with the agent, and systemd would kill it",
                  "Update its QEMU with `holdfast update vmm`, which starts another one here, or stop it."));
        }
      }
      programs(found);
    } catch (IOException e) {
      found.add(
          new Obstacle(
              "systemd",
              "it does not say what it would do: " + e.getMessage(),
              "See to it that `systemctl show holdfast.service` works."));
    }
    return found;
  }

  /** The programs that systemd calls when it stops know no others. */
  private void places(String unit, List<Obstacle> found) {
    if (!run.equals(RUN) || !socket.equals(SOCKET)) {
      found.add(
          new Obstacle(
              unit,
              "its agent works in "
                  + run
                  + " and listens on "
                  + socket
                  + ": what stops the host for an update knows only "
                  + RUN
                  + " and "
                  + SOCKET
                  + ", and guests would be lost",
              "Take HOLDFAST_RUN, HOLDFAST_SOCKET, --run and --socket out of its drop-ins."));
    }
  }

  /**
   * Where systemd goes back into an initramfs at the end (systemd-shutdown(8)), that kills what is
   * left and makes the reboot call in its own way, after the guests have been handed over.
   */
  private void initramfs(List<Obstacle> found) throws IOException {
    String why =
        "systemd would go back into an initramfs before its reboot call, which ends the agent: guests"
            + " would be lost";
    if (Files.exists(root.resolve(EXIT))) {
      found.add(new Obstacle("/" + EXIT, why, "Remove it: rm /run/initramfs/shutdown."));
    }
    for (String unit : GOING_BACK) {
      String state =
          systemctl.show(unit, List.of("ActiveState")).getOrDefault("ActiveState", "inactive");
      if (state.equals("active")) {
        found.add(
            new Obstacle(
                unit,
                why,
                "If no file system of the host needs that to be taken down: systemctl mask --now "
                    + unit
                    + ", then rm -f /run/initramfs/shutdown."));
      }
    }
  }

  private void version(List<Obstacle> found) throws IOException {
    String version = systemctl.run("show", "--property=Version", "--value").strip();
    String number = version.replaceAll("\\D.*", "");
    if (number.isEmpty() || Integer.parseInt(number) < LEAST) {
      found.add(
          new Obstacle(
              "systemd",
              "it is version " + version + ", which can't take sessions along over a kexec",
              "Get systemd " + LEAST + " or newer."));
    }
  }

  private void unit(String unit, List<Obstacle> found) throws IOException {
    Map<String, String> its =
        systemctl.show(
            unit,
            List.of(
                "DefaultDependencies",
                "SurviveFinalKillSignal",
                "FileDescriptorStorePreserve",
                "KillMode",
                "Conflicts",
                "Requires",
                "Requisite",
                "BindsTo",
                "PartOf",
                "WantedBy",
                "RequiredBy",
                "UpheldBy"));
    Map.of(
            "DefaultDependencies", "no",
            "SurviveFinalKillSignal", "yes",
            "FileDescriptorStorePreserve", "yes",
            "KillMode", "process")
        .forEach(
            (setting, needed) -> {
              String value = its.getOrDefault(setting, "unknown");
              if (!value.equals(needed)) {
                found.add(
                    new Obstacle(
                        unit,
                        "it has "
                            + setting
                            + "="
                            + value
                            + ", and needs "
                            + needed
                            + ": systemd would stop it with the host, or lose what it keeps",
                        INSTALL));
              }
            });
    if (List.of("WantedBy", "RequiredBy", "UpheldBy").stream()
        .allMatch(each -> words(its.getOrDefault(each, "")).isEmpty())) {
      found.add(
          new Obstacle(
              unit,
              "nothing starts it when the host starts: on the next kernel guests would stand still until"
                  + " somebody does",
              "systemctl enable " + unit));
    }
    Set<String> conflicts = words(its.getOrDefault("Conflicts", ""));
    conflicts.retainAll(Set.of("shutdown.target", "kexec.target", "umount.target", "final.target"));
    if (!conflicts.isEmpty()) {
      found.add(
          new Obstacle(
              unit, "it conflicts with " + conflicts + ", so systemd would stop it", INSTALL));
    }
    Set<String> bound = new TreeSet<>();
    List.of("Requires", "Requisite", "BindsTo", "PartOf")
        .forEach(each -> bound.addAll(words(its.getOrDefault(each, ""))));
    bound.removeAll(LASTING);
    if (!bound.isEmpty()) {
      found.add(
          new Obstacle(
              unit,
              "it requires " + bound + ", and would be stopped with that",
              "Say Wants= and After= instead of Requires=, WantsMountsFor= instead of RequiresMountsFor=."));
    }
  }

  private static Set<String> words(String text) {
    Set<String> words = new TreeSet<>(List.of(text.strip().split("\\s+")));
    words.remove("");
    return words;
  }

  private void programs(List<Obstacle> found) {
    if (!Files.isExecutable(root.resolve(HOOK))) {
      found.add(
          new Obstacle(
              "/" + HOOK,
              "there is no such program, which systemd calls before its reboot call: guests would be lost",
              INSTALL));
    }
    if (!Files.isExecutable(root.resolve("usr/bin/varlinkctl"))) {
      found.add(
          new Obstacle(
              "/usr/bin/varlinkctl",
              "there is no such program, by which systemd's shutdown talks to the agent",
              "Install all of systemd's own commands."));
    }
  }

  /** The cgroup of a process. */
  private String group(String process) throws IOException {
    String text = Files.readString(root.resolve("proc/" + process + "/cgroup")).strip();
    return text.substring(text.lastIndexOf("::") + 2);
  }
}
