package io.holdfast.vm.qemu;

import io.holdfast.varlink.json.JsonObject;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * What one QEMU binary can do, as it said itself.
 *
 * @param path absolute path of the binary
 * @param version such as {@code 7.2.22}
 * @param package_ the distributor's addition to the version, empty if none
 * @param machines every machine type it has, without aliases
 * @param aliases machine type aliases and what they mean in this binary, such as {@code q35} →
 *     {@code pc-q35-7.2}
 * @param capabilities its migration capabilities
 */
public record QemuBinary(
    String path,
    String version,
    String package_,
    List<String> machines,
    Map<String, String> aliases,
    List<String> capabilities) {
  public QemuBinary {
    machines = List.copyOf(machines);
    aliases = Map.copyOf(aliases);
    capabilities = List.copyOf(capabilities);
  }

  /**
   * The versioned machine type that a name means in this binary, or nothing if it has none of that
   * name.
   */
  public Optional<String> machine(String nameOrAlias) {
    String resolved = aliases.getOrDefault(nameOrAlias, nameOrAlias);
    return machines.contains(resolved) ? Optional.of(resolved) : Optional.empty();
  }

  /** Whether it is of this version or a later one. */
  public boolean atLeast(int major, int minor) {
    String[] parts = version.split("\\.", -1);
    int ours = Integer.parseInt(parts[0]);
    return ours > major || (ours == major && Integer.parseInt(parts[1]) >= minor);
  }

  /** Whether a machine type names a version, and so means the same machine in every QEMU. */
  public static boolean versioned(String machine) {
    return machine.matches(".*-[0-9]+\\.[0-9]+");
  }

  /** Whether both are of one version, up to fixes: their unversioned machine types are the same. */
  public boolean sameMachinesAs(QemuBinary other) {
    return release(version).equals(release(other.version));
  }

  private static String release(String version) {
    return version.substring(0, Math.max(0, version.lastIndexOf('.')));
  }

  /** As it is in a VM's record; docs/design.md names the keys. */
  public JsonObject toJson() {
    return JsonObject.of(
        "path", path,
        "version", version,
        "package", package_,
        "machines", machines,
        "aliases", aliases,
        "capabilities", capabilities);
  }

  /**
   * Reads what {@link #toJson} wrote.
   *
   * @throws io.holdfast.varlink.json.JsonException if a key is missing or of another type
   */
  public static QemuBinary fromJson(JsonObject json) {
    Map<String, String> aliases = new HashMap<>();
    JsonObject named = json.object("aliases");
    named.keys().forEach(alias -> aliases.put(alias, named.string(alias)));
    return new QemuBinary(
        json.string("path"),
        json.string("version"),
        json.string("package"),
        json.array("machines").strings(),
        aliases,
        json.array("capabilities").strings());
  }
}
