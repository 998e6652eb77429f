package io.holdfast.vm.device;

import io.holdfast.linux.Linux;
import io.holdfast.store.Keeper;
import io.holdfast.store.VmId;
import java.nio.file.Path;

/**
 * What backends work with.
 *
 * @param keeper holds what must outlive the agent, under labels {@code KEYS/WHAT@GENERATION…}, with
 *     {@link VmId#keys}: the {@code @} keeps them apart from what is in the VM's box
 * @param directory the VM's own
 */
public record BackendContext(Linux linux, Keeper keeper, VmId id, Path directory) {
  /** The VM's name. */
  public String vm() {
    return id.name();
  }
}
