package io.holdfast.testbed.scenarios;

import io.holdfast.linux.Linux;
import io.holdfast.testbed.Outside;
import io.holdfast.testbed.SkippedException;
import io.holdfast.testbed.Testbed;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;

/** A root file system with systemd as its first program, for scenarios about that. */
final class SystemdRoot {
  static final String INIT = "/usr/lib/systemd/systemd";

  private SystemdRoot() {}

  /** What scripts on it have in common. */
  private static final String COMMON =
      """
      export LC_ALL=C
      exec 2>/dev/ttyS1
      report() { echo "$*" >/dev/ttyS1; }
      check() { if [ "$2" = "$3" ]; then report "ok $1 # $3"; else report "not ok $1 # expected $2, got $3"; fi; }
      finish() { report done; sleep 1000; }
      ask() { varlinkctl --json=short --timeout=120 ${more:-} call /run/holdfast/agent.sock "io.holdfast.$1" "$2"; }
      field() { grep -o '"'"$1"'":[^,}]*' | head -n 1 | sed 's/^[^:]*://; s/"//g'; }
      until_true() { for i in $(seq 300); do eval "$1" && return 0; sleep 0.2; done; report "not ok $1 # not within a minute"; finish; }
      """;

  /** For a unit that is stopped with the host, and needs nothing else of it. */
  static final String ALONE =
      """
      DefaultDependencies=no
      Conflicts=shutdown.target
      Before=shutdown.target
      """;

  /**
   * Runs a VM that has nothing but its firmware, which finds nothing to boot from its disk, and
   * waits; /run/vm is what the agent says of it.
   */
  static final String RUN_VM =
      """
      run_vm() {
        ask Vm.Run '{"definition":{"name":"web","qemu":"@QEMU@","memory":67108864,"cpus":1,"cpu":"qemu64",
          "accelerator":"tcg","disks":[{"path":"/run/disk.raw","format":"raw"}],"extra":[]}}' >/run/vm 2>&1 \
          || { report "not ok the VM was started # $(tr '\\n' ' ' </run/vm)"; finish; }
      }
      """;

  /**
   * One with Holdfast and a QEMU on it, as docs/systemd.md installs it; {@code /kernel} is the
   * kernel that is booted, {@code /next-kernel} the next.
   *
   * @param holdfast the command
   */
  record Host(Path root, Path qemu, Path holdfast) {
    /** A script for it. */
    String script(String text) {
      return (COMMON + text)
          .replace("@QEMU@", qemu.toString())
          .replace("@HOLDFAST@", holdfast.toString());
    }

    /**
     * Makes the target that it starts: Holdfast, these units, and a script that is run after them
     * and stopped with the host.
     *
     * @param more lines for the script's service
     */
    void tries(List<String> units, String script, String... more) throws IOException {
      Path folder = root.resolve("etc/systemd/system");
      String wanted = String.join(" ", units);
      Files.writeString(
          folder.resolve("testbed.target"),
          "[Unit]\nWants=holdfast.service holdfast-vms.service try.service " + wanted + "\n");
      Files.writeString(
          folder.resolve("try.service"),
          "[Unit]\n"
              + ALONE
              + "After=holdfast.service "
              + wanted
              + "\n[Service]\nExecStart=/usr/bin/bash /try.sh\n"
              + String.join("\n", more)
              + "\n");
      script("try.sh", RUN_VM + script);
      // What an update that is undone starts again.
      Files.createSymbolicLink(folder.resolve("default.target"), Path.of("testbed.target"));
    }

    /** Puts a script into its root. */
    void script(String name, String text) throws IOException {
      Files.writeString(root.resolve(name), script(text));
    }

    /** Adds a service of which there is only what is done when the host is stopped. */
    void whenStopped(String name, String unit, String script) throws IOException {
      Files.writeString(
          root.resolve("etc/systemd/system").resolve(name + ".service"),
          "[Unit]\n"
              + ALONE
              + unit
              + "\n[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStopSec=infinity\nExecStart=/usr/bin/true\nExecStop=/usr/bin/bash /"
              + name
              + ".sh\n");
      script(name + ".sh", script);
    }
  }

  /** Makes one with Holdfast on it. */
  static Host host(Outside out) throws IOException {
    Path qemu =
        AgentUnderSystemd.folder(
            "HOLDFAST_QEMU_OTHER",
            "`tools/qemu-newer` gets a QEMU that brings its own libraries, which this needs");
    Path installed = Testbed.find().resolveSibling("target/holdfast");
    if (!Files.exists(installed.resolve("systemd/holdfast-vms.service"))) {
      throw new SkippedException("Holdfast is not built; `tools/dist` does that");
    }
    Path root = prepare(out);
    install(
        out,
        root,
        List.of(qemu.resolveSibling(""), installed, Path.of(System.getProperty("java.home"))));
    units(root, installed);
    Path units = root.resolve("etc/systemd/system");
    // What a whole system starts besides, which default dependencies bring along, is not shown here
    // and takes minutes under emulation.
    Files.createDirectories(units.resolve("holdfast-vms.service.d"));
    Files.writeString(units.resolve("holdfast-vms.service.d/alone.conf"), "[Unit]\n" + ALONE);
    // The VM's disk, which is gone with each kernel.
    Files.createDirectories(units.resolve("holdfast.service.d"));
    Files.writeString(
        units.resolve("holdfast.service.d/disk.conf"),
        """
        [Service]
        ExecStartPre=/usr/bin/truncate -s 16M /run/disk.raw
        """);
    Files.copy(out.kernel().image(), root.resolve("kernel"));
    Files.copy(out.next().image(), root.resolve("next-kernel"));
    return new Host(root, qemu, installed.resolve("bin/holdfast"));
  }

  /** Makes one in the run's folder, for this run alone. */
  static Path prepare(Outside out) throws IOException {
    if (Linux.system().effectiveUser() != 0) {
      throw new SkippedException(
          "a root file system of its own, with its owners, needs root: run it as root");
    }
    Path root = out.run().resolve("root");
    Path made;
    try {
      String[] said =
          out.command(List.of(Testbed.find().resolve("systemd/build").toString())).split("\n", -1);
      made = Path.of(said[said.length - 1]);
    } catch (IOException e) {
      throw new SkippedException(String.valueOf(e.getMessage()));
    }
    String _ = out.command(List.of("cp", "-a", made.toString(), root.toString()));
    // As if nothing were new in /usr: else each boot makes the linker's cache and the like again.
    for (String folder : List.of("etc", "var")) {
      Files.writeString(root.resolve(folder).resolve(".updated"), "");
    }
    String version = version(root);
    out.note("systemd " + version);
    out.check("systemd is 261 or newer", Integer.parseInt(version.replaceAll("\\D.*", "")) >= 261);
    out.root(root);
    return root;
  }

  /**
   * Puts things of the machine outside into it, under the paths that they have outside: a root file
   * system's own files, as they are where something is installed. Linked where that can be done, so
   * nothing inside may change them.
   */
  static void install(Outside out, Path root, List<Path> paths) throws IOException {
    for (Path path : paths) {
      Path from = path.toAbsolutePath().normalize();
      Path to = Path.of(root + from.toString());
      Files.createDirectories(to.getParent());
      try {
        String _ = out.command(List.of("cp", "-al", from.toString(), to.toString()));
      } catch (IOException _) {
        String _ = out.command(List.of("rm", "-rf", to.toString()));
        String _ = out.command(List.of("cp", "-a", from.toString(), to.toString()));
      }
    }
  }

  /** Installs Holdfast's units and its shutdown program as docs/systemd.md says. */
  static void units(Path root, Path installed) throws IOException {
    Path units = root.resolve("etc/systemd/system");
    for (String unit : List.of("holdfast.service", "holdfast-vms.service")) {
      Files.copy(installed.resolve("systemd").resolve(unit), units.resolve(unit));
    }
    Path programs = root.resolve("usr/lib/systemd/system-shutdown");
    Files.createDirectories(programs);
    Files.copy(
        installed.resolve("systemd/system-shutdown"),
        programs.resolve("holdfast"),
        StandardCopyOption.COPY_ATTRIBUTES);
  }

  private static String version(Path root) throws IOException {
    try (var libraries =
        Files.newDirectoryStream(root.resolve("usr/lib/x86_64-linux-gnu/systemd"))) {
      for (Path library : libraries) {
        String name = library.getFileName().toString();
        if (name.startsWith("libsystemd-shared-")) {
          return name.replaceAll("libsystemd-shared-(.*)\\.so", "$1");
        }
      }
    }
    throw new IOException("no systemd in " + root);
  }
}
