package io.holdfast.host.qemu;

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
 * @param aliases machine type aliases and what they mean in this binary, such as {@code q35} → {@code pc-q35-7.2}
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

  /** The versioned machine type that a name means in this binary, or nothing if it has none of that name. */
  public Optional<String> machine(String nameOrAlias) {
    String resolved = aliases.getOrDefault(nameOrAlias, nameOrAlias);
    return machines.contains(resolved) ? Optional.of(resolved) : Optional.empty();
  }
}
