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
